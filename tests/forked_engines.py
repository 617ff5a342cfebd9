"""Simulated engines forked from a process that has their modules loaded: 0.01 s instead of 0.1 s.

Most runs inside tests start one or two; so do tests of engines that stand-ins replace. What is
forked runs the same code in a process of its own; only the start of its interpreter is saved. That
start is tested in ``tests/engines/test_parent.py`` and by every run in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import multiprocessing.popen_forkserver  # pytester would forget it, and start a server in each run
import multiprocessing.resource_tracker
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from multiprocessing.context import ForkServerProcess
from multiprocessing.reduction import DupFd
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

from pytest_speedbench.engines.process import child, parent
from pytest_speedbench.engines.process.lifetime import end_group_with
from pytest_speedbench.engines.process.wire import Channel

HERE = Path(__file__).parent
SIMULATED = "pytest_speedbench.engines.simulated:SimulatedBackend"
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["engine_server"])
_start_interpreter = parent._start
# Looking for them takes longer than all else that a small engine does.
_packages = cache(child.installed_packages)


class Served:
    """What an engine's parent uses of ``subprocess.Popen``, of a process that the server forked."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid = process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return self._process.exitcode


def start(
    python: str, backend: str, environment: Mapping[str, str] | None, log: Any
) -> tuple[Any, Channel, int | None]:
    """In place of ``parent._start``: other engines start as they always do."""
    if python or backend != SIMULATED:
        return _start_interpreter(python, backend, environment, log)
    return _start_fork(log, backend)


def start_standin(
    python: str, backend: str, environment: Mapping[str, str] | None, log: Any
) -> tuple[Any, Channel, int | None]:
    """The same for an engine whose package is found first on the path."""
    return _start_fork(log, backend, sys.path[0], {**os.environ, **(environment or {})})


def _start_fork(log: Any, *engine: Any) -> tuple[Any, Channel, int | None]:
    ours, theirs = multiprocessing.Pipe()
    lifeline_read, lifeline_write = os.pipe()
    process = fork((theirs.fileno(), lifeline_read, log.fileno()), _packages(), *engine)
    theirs.close()
    os.close(lifeline_read)
    return process, Channel(ours), lifeline_write


def _served(descriptors: Sequence[int], *engine: Any) -> Served:
    arguments = ([*map(_Descriptor, descriptors)], *engine)
    process = _FORKS.Process(target=run, args=arguments, daemon=True)
    # Otherwise each process would first import the program that runs the tests.
    with mock.patch.dict(sys.modules, {"__main__": ModuleType("__main__")}):
        _ensure_server()
        process.start()
    return Served(process)


def _ensure_server() -> None:
    """Starts it where it does not run; what it loads first, it finds on this path alone."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    with mock.patch.dict(os.environ, PYTHONPATH=path):
        multiprocessing.forkserver.ensure_running()


# ``forked.py`` replaces it in its processes: the server is not theirs.
fork: Callable[..., Any] = _served


def stop_server() -> None:
    """Waits until it and its helper have ended: under coverage each writes a file then."""
    multiprocessing.forkserver._forkserver._stop()
    multiprocessing.resource_tracker._resource_tracker._stop()


class _Descriptor:
    """A file descriptor; in the forked process it is the number of its copy there."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (DupFd(self.number),)


def _copied(copy: Any) -> int:
    number: int = copy.detach()
    return number


def run(
    descriptors: Sequence[int],
    packages: dict[str, str],
    backend: str,
    path: str = "",
    variables: Mapping[str, str] = {},
) -> None:
    """An engine, in its process."""
    connection, lifeline, log = descriptors
    child.installed_packages = lambda: packages
    # A simulated engine does not hang in foreign code: a thread will do, and saves another fork.
    child.end_with_lifeline = lambda lifeline, *_: end_group_with(lifeline)
    os.setsid()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(variables)
    if path:
        sys.path.insert(0, path)
    child.main([str(connection), str(lifeline), backend])
