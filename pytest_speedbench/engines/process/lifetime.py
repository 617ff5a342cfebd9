"""The life of child processes: they end with their parent, and their last words are kept."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO

_LAST_WORDS = 15
# Engines print banners of many kinds; these lines carry no cause of death.
_NOISE = ("it/s]", "s/it]", "FutureWarning", "DeprecationWarning")


def end_with_parent_thread() -> None:
    """Asks the kernel to kill this process when the thread that started it is gone (Linux)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def end_group_with(lifeline: int) -> None:
    """Kills this process group, and all below it, when the pipe ``lifeline`` is closed.

    The kernel closes it for a parent that died, however it died.
    """

    def wait() -> None:
        os.read(lifeline, 1)
        kill_all(descendants(os.getpid()))
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True, name="lifeline").start()


def watch(lifeline: int, *not_its_own: int) -> None:
    """Splits off a small process that ends this one, and all below it, when ``lifeline`` closes.

    A process and no thread: it works while this one hangs in foreign code. And this one must not
    die first, as with a signal of the kernel: what it has started would be orphans that nobody
    finds. ``not_its_own`` are descriptors that must close with this process.
    """
    watched = os.getpid()
    if os.fork():
        return
    for descriptor in not_its_own:
        os.close(descriptor)
    os.read(lifeline, 1)
    kill_all(pid for pid in descendants(watched) if pid != os.getpid())
    os.killpg(os.getpgrp(), signal.SIGKILL)


def kill_group(pid: int) -> None:
    """Ends the process group that ``pid`` leads, at once; silent where there is none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def adopt_orphans() -> None:
    """Makes this process the parent of all orphans below it (Linux), so that it can find them."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1)


def descendants(pid: int) -> list[int]:
    """Every process below ``pid``, whatever session it has gone to; empty without ``/proc``."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name, in parentheses, may hold anything; state and parent follow it.
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for known in found:
        found += parents.get(known, [])
    return found[1:]


def kill_all(pids: Iterable[int]) -> None:
    """Ends processes at once; silent about those that are gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def how_it_ended(code: int | None) -> str:
    """``by signal SIGSEGV``, or ``with code 1``."""
    if not code or code > 0:
        return f"with code {code}"
    # Nobody but the kernel kills an engine of ours without a word.
    hint = ", as the system does when memory runs out" if -code == signal.SIGKILL else ""
    return f"by signal {signal.Signals(-code).name}{hint}"


def last_words(log: IO[bytes]) -> str:
    """The last telling lines of a child's output, indented; empty where the log is closed."""
    if log.closed:
        return ""
    log.seek(0)
    lines = log.read().decode(errors="replace").replace("\r", "\n").splitlines()
    telling = [line for line in lines if line.strip() and not any(n in line for n in _NOISE)]
    return "\n".join(f"    {line}" for line in telling[-_LAST_WORDS:])
