"""The lifetime of child processes: they end with their parent, and their last output is kept."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import IO

_LAST_LINES = 15
# Of a log: what is read at most, and what is quoted at most.
_READ_BYTES, _QUOTED_CHARACTERS = 1 << 16, 4000
# Lines that say nothing about why an engine failed.
_NOISE = ("it/s]", "s/it]", "FutureWarning", "DeprecationWarning")
# The last line of a traceback. An engine prints that of its own child, the cause, before its own,
# which says only that the child failed.
_EXCEPTION = re.compile(r"(?<![\w.])[\w.]*(?:Error|Exception): \S.*")
_CAUSES, _CAUSE_CHARACTERS = 2, 500


def end_with_parent_thread() -> None:
    """Asks the kernel to kill this process when the thread that started it ends (Linux)."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def end_group_with(lifeline: int) -> None:
    """Kills this process group, and all below it, when the pipe ``lifeline`` is closed.

    The kernel closes the pipe when the parent dies, for whatever reason.
    """

    def wait() -> None:
        os.read(lifeline, 1)
        kill_all(descendants(os.getpid()))
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True, name="lifeline").start()


def end_with_lifeline(lifeline: int, *not_its_own: int) -> None:
    """Forks a small process that kills this one, and all below it, when ``lifeline`` closes.

    A process rather than a thread, since it must work while this one hangs in foreign code. A
    signal of the kernel would not do: this process would die first, and what it started would be
    orphans that cannot be found. ``not_its_own`` are descriptors that must close with this process.
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
    """Kills the process group that ``pid`` leads; does nothing if there is none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def adopt_orphans() -> None:
    """Makes this process the parent of orphans below it (Linux), so that they can be found."""
    if sys.platform == "linux":
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1)


def descendants(pid: int) -> list[int]:
    """All processes below ``pid``, of any session; empty without ``/proc``."""
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
    """Kills processes; those that have ended are skipped."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def how_it_ended(code: int | None, output: str = "") -> str:
    """``by signal SIGSEGV``, or ``with code 1``; ``output`` is what the process printed last."""
    if not code or code > 0:
        return f"with code {code}"
    # SGLang kills itself where it fails, with a traceback.
    unexplained = -code == signal.SIGKILL and not _EXCEPTION.search(output)
    hint = ", as the kernel does when memory runs out" if unexplained else ""
    return f"by signal {signal.Signals(-code).name}{hint}"


def with_output(what: str, output: str) -> str:
    """A message on a process that ended, with what it printed last."""
    return f"{what}; its last output:\n{output}" if output else f"{what}; it printed nothing"


def last_output(log: IO[bytes]) -> str:
    """The end of a child's output, indented, without noise; empty if the log is closed.

    At most 15 lines and 4,000 characters: some programs write megabytes without a line break. The
    last exceptions named before them come first.
    """
    if log.closed:
        return ""
    log.seek(max(0, log.seek(0, os.SEEK_END) - _READ_BYTES))
    lines = log.read().decode(errors="replace").replace("\r", "\n").splitlines()
    kept = [line for line in lines if line.strip() and not any(n in line for n in _NOISE)]
    text = "\n".join(f"    {line}" for line in kept[-_LAST_LINES:])
    if len(text) > _QUOTED_CHARACTERS:
        text = f"    …{text[-_QUOTED_CHARACTERS:]}"
    causes = "".join(f"    {cause}\n" for cause in _causes(kept[:-_LAST_LINES], text))
    return f"{causes}    …\n{text}" if causes else text


def _causes(lines: Iterable[str], quoted: str) -> list[str]:
    """The last different exceptions named in ``lines`` and not in what is quoted anyway."""
    matches = (_EXCEPTION.search(line) for line in lines)
    found = dict.fromkeys(match.group()[:_CAUSE_CHARACTERS] for match in matches if match)
    return [cause for cause in found if cause not in quoted][-_CAUSES:]
