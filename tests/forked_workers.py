"""Workers of pytest-xdist forked from the process of the test: 0.3 s instead of 1 s or more.

What is forked runs the same code in a process of its own, from the first line that execnet sends
on; only the start of its interpreter and its imports are saved. Those are tested by every session
in a process of its own that has workers: ``tests/plugin/test_interrupted.py``,
``tests/engines/test_conformance.py``, ``tests/session/test_xdist_couplings.py``.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any, NoReturn

import forked_engines
from execnet import gateway_io
from execnet.gateway_base import Popen2IO

from pytest_speedbench.engines.process import parent


class ForkedWorker:
    """A forked process with what execnet and the plugin use of ``subprocess.Popen``."""

    def __init__(self) -> None:
        requests, to_worker = os.pipe()
        from_worker, answers = os.pipe()
        with warnings.catch_warnings():
            # Python 3.12 warns where there are threads, such as xdist's own; the child needs none.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            _serve(requests, answers)
        os.close(requests)
        os.close(answers)
        self.stdin = os.fdopen(to_worker, "wb")
        self.stdout = os.fdopen(from_worker, "rb")

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


class ForkedIO(gateway_io.Popen2IOMaster):
    """In place of the connection to a started interpreter."""

    def __init__(self, args: list[str], execmodel: Any) -> None:
        self.popen = worker = ForkedWorker()
        Popen2IO.__init__(self, worker.stdin, worker.stdout, execmodel=execmodel)


def _serve(requests: int, answers: int) -> NoReturn:
    """What the interpreter that execnet starts does; never returns into the test."""
    code = 1
    try:
        os.dup2(requests, 0)
        os.dup2(answers, 1)
        os.closerange(3, 1024)  # a pipe that two workers hold has no end
        gc.freeze()  # collecting what the test has left would copy all of its memory
        sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w")
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        parent._start = forked_engines._start_interpreter
        _forget_modules_of(Path.cwd())
        exec(eval(sys.stdin.readline()), {})
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _forget_modules_of(folder: Path) -> None:
    """The controller has loaded conftest files of the project, which a worker loads itself."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(f"{folder}{os.sep}"):
            del sys.modules[name]
