"""Processes forked from that of the test: 0.3 s instead of 1 s or more.

What is forked runs the same code in a process of its own; only the start of an interpreter and its
imports are saved. Those are tested by ``tests/engines/test_conformance.py`` and
``tests/session/test_xdist_couplings.py``.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import forked_engines
import pytest
from execnet import gateway_io
from execnet.gateway_base import Popen2IO


class Forked:
    """A forked process that runs ``main``, with what is used of ``subprocess.Popen``.

    Args:
        main: returns the exit code.
        streams: file descriptors of its standard input, output and error.
        kept: others that stay open.
    """

    def __init__(self, main: Callable[[], int], streams: tuple[int, int, int], *kept: int) -> None:
        self.returncode: int | None = None
        with warnings.catch_warnings():
            # Python 3.12 warns where there are threads, such as xdist's own; the child needs none.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _run(main, streams, kept)

    def poll(self) -> int | None:
        return self._collect(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        if timeout is None:
            self._collect(0)
        else:
            end = time.monotonic() + timeout
            while self.poll() is None:
                if time.monotonic() > end:
                    raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
                time.sleep(0.02)
        assert self.returncode is not None
        return self.returncode

    def _collect(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start_session(output: Path, *arguments: str) -> Forked:
    """A session of pytest in the working folder; what it prints goes to a file."""
    with open(os.devnull) as nothing, output.open("wb") as file:
        streams = (nothing.fileno(), file.fileno(), file.fileno())
        return Forked(lambda: int(pytest.main([*arguments])), streams)


def _start_engine(descriptors: tuple[int, int, int], *engine: Any) -> Forked:
    def main() -> int:
        forked_engines.run(descriptors, *engine)
        return 0

    log = descriptors[-1]
    return Forked(main, (0, log, log), *descriptors)


class ForkedIO(gateway_io.Popen2IOMaster):
    """In place of execnet's connection to the interpreter that it starts for a worker of xdist."""

    def __init__(self, args: list[str], execmodel: Any) -> None:
        requests, to_worker = os.pipe()
        from_worker, answers = os.pipe()
        self.popen = Forked(_serve, (requests, answers, 2))
        os.close(requests)
        os.close(answers)
        streams = os.fdopen(to_worker, "wb"), os.fdopen(from_worker, "rb")
        Popen2IO.__init__(self, *streams, execmodel=execmodel)


def _serve() -> int:
    """What the interpreter that execnet starts does."""
    exec(eval(sys.stdin.readline()), {})
    return 0


def _run(main: Callable[[], int], streams: tuple[int, ...], kept: tuple[int, ...]) -> NoReturn:
    """Never returns into the test."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for low, high in pairwise(sorted((2, *kept, 1024))):
            os.closerange(low + 1, high)  # a pipe that two workers hold has no end
        gc.freeze()  # collecting what the test has left would copy all of its memory
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        forked_engines.fork = _start_engine
        _forget_modules_of(Path.cwd())
        code = main()
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stderr.flush()
        os._exit(code)


def _forget_modules_of(folder: Path) -> None:
    """Files of the project under test that are loaded here, the process loads itself."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(f"{folder}{os.sep}"):
            del sys.modules[name]
