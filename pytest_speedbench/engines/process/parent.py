"""The parent side of a library engine: starts the child process, talks to it and ends it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pytest_speedbench.engines.process import interpreter
from pytest_speedbench.engines.process.lifetime import (
    descendants,
    how_it_ended,
    kill_all,
    kill_group,
    last_output,
    with_output,
)
from pytest_speedbench.engines.process.outbox import Outbox
from pytest_speedbench.engines.process.wire import (
    PROTOCOL,
    Channel,
    ProtocolError,
    read_counters,
    read_info,
    read_score,
    read_traces,
)
from pytest_speedbench.engines.protocol import (
    Counters,
    EngineConfig,
    EngineInfo,
    Request,
    TokenScore,
    Trace,
)
from pytest_speedbench.errors import EngineDied, EngineError

T = TypeVar("T")
_CHILD = "pytest_speedbench.engines.process.child"
_CLOSE_SECONDS = 5.0
_MESSAGE_CHARACTERS = 4000


class ChildEngine:
    """A library engine in a child process; implements ``Engine``.

    Args:
        backend: ``module:callable`` that builds the backend from an ``EngineConfig``.
        timeout: seconds that the engine may take to start, and to send nothing while it works.
    """

    info: EngineInfo

    def __init__(
        self,
        config: EngineConfig,
        backend: str,
        timeout: float,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.config = config
        self.timeout = timeout
        self.in_flight = 0
        """Requests, and questions such as those for counters, that are not yet answered."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by kill()
        self._process, self._connection, self._lifeline = _start(
            config.python, backend, environment, self._log
        )
        self._connection.limit(timeout)
        self._outbox = Outbox(self._connection)
        self._last_message = time.monotonic()
        try:
            self._send(("start", PROTOCOL, replace(config, python="")))
            self.info = self._wait_for("ready", read_info)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def submit(self, requests: Sequence[Request], *, first: bool = False) -> None:
        if not self.in_flight:
            self._last_message = time.monotonic()
        self.in_flight += len(requests)
        self._send(("submit", list(requests), first))

    def hold(self, batch_size: int) -> None:
        self._send(("hold", batch_size))

    def collect(self, timeout: float) -> list[Trace]:
        deadline = time.monotonic() + timeout
        while self.in_flight:
            message = self._receive(deadline - time.monotonic())
            if message is None:
                return []
            if message[0] == "traces":
                traces = self._read(read_traces, message[1])
                self.in_flight -= len(traces)
                return traces
        return []

    def cancel(self, request_ids: Sequence[str]) -> None:
        self._send(("cancel", list(request_ids)))

    def counters(self) -> Counters | None:
        return self._answer(("counters",), read_counters)

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        return self._answer(("score", list(token_ids), position, list(candidates)), read_score)

    def _answer(self, question: Sequence[object], read: Callable[[Any], T]) -> T:
        self._send(question)
        self.in_flight += 1
        reply = self._wait_for("reply", read)
        self.in_flight -= 1
        return reply

    def close(self) -> None:
        """Asks the child to end; kills it if it does not end in time.

        With requests in flight it is killed at once: they were interrupted, and a step may be long.
        """
        if self._process.poll() is None and not self.in_flight:
            self._outbox.put(("close",))
            self._let_end()
        self.kill()

    def _let_end(self) -> None:
        """Gives the child time to clean up and end by itself."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_CLOSE_SECONDS)

    def kill(self) -> None:
        """Kills the child and everything it started."""
        if self._process.poll() is None:  # processes that left the group are still below it
            kill_all(descendants(self._process.pid))
        kill_group(self._process.pid)
        self._process.wait()
        self._outbox.close()
        self._connection.close()
        self._log.close()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None

    def last_output(self) -> str:
        """The last lines of the engine's standard output and error."""
        return last_output(self._log)

    def _send(self, message: Sequence[object]) -> None:
        if not self.in_flight:  # an idle engine sends nothing: the time limit starts now
            self._last_message = time.monotonic()
        if self._log.closed:
            raise self._death()
        self._outbox.put(message)

    def _wait_for(self, kind: str, read: Callable[[Any], T]) -> T:
        while True:
            message = self._receive(self.timeout)
            if message is not None and message[0] == kind:
                return self._read(read, message[1])

    def _read(self, read: Callable[[Any], T], data: Any) -> T:
        try:
            return read(data)
        except ProtocolError as error:
            raise self._unreadable(error) from error

    def _receive(self, timeout: float) -> list[Any] | None:
        """The next message, or None after ``timeout`` seconds within the engine's time limit."""
        time_left = self._last_message + self.timeout - time.monotonic()
        try:
            if not self._connection.poll(max(0.0, min(timeout, time_left))):
                if time.monotonic() - self._last_message >= self.timeout:
                    raise self._hang()
                return None
            message = self._connection.recv()
        except BlockingIOError as error:
            raise self._hang() from error
        except (EOFError, OSError) as error:
            raise self._death() from error
        except ProtocolError as error:
            raise self._unreadable(error) from error
        self._last_message = time.monotonic()
        if message[0] == "refused":
            self.in_flight = 0
            raise EngineError(_shortened(message[1]))
        if message[0] == "error":
            self._let_end()
            self.kill()
            raise EngineError(_shortened(message[1]))
        return message

    def _death(self) -> EngineDied:
        self._let_end()
        code = self._process.poll()
        output = self.last_output()
        self.kill()
        what = f"engine {self.config.engine} ended {how_it_ended(code, output)}"
        return EngineDied(with_output(what, output))

    def _unreadable(self, error: ProtocolError) -> EngineDied:
        output = self.last_output()
        self.kill()
        what = (
            f"engine {self.config.engine} sent a message that cannot be read ({error}) and was "
            "killed"
        )
        return EngineDied(with_output(what, output))

    def _hang(self) -> EngineDied:
        output = self.last_output()
        self.kill()
        what = (
            f"engine {self.config.engine} sent nothing for {self.timeout:g} s and was killed "
            "(raise the limit with --speed-timeout=SECONDS)"
        )
        return EngineDied(with_output(what, output))


def _shortened(message: str) -> str:
    """A message of an engine, which may quote whole arrays and configurations."""
    if len(message) <= _MESSAGE_CHARACTERS:
        return message
    return f"{message[:_MESSAGE_CHARACTERS]}…"


def open_child(
    backend: str, environment: interpreter.Environment | None = None
) -> Callable[[EngineConfig, float], ChildEngine]:
    """The ``open`` of an ``EngineType`` whose backend is ``module:callable``.

    ``environment`` returns the variables that its process needs. It is called where the process
    will run, so for the interpreter of another environment it must be a function of a module.
    """

    def start(config: EngineConfig, timeout: float) -> ChildEngine:
        if config.python:
            wanted = interpreter.survey(config, environment).environment
        else:
            wanted = dict(environment(config)) if environment else {}
        return ChildEngine(config, backend, timeout, wanted | dict(config.environment))

    return start


def _start(
    python: str, backend: str, environment: Mapping[str, str] | None, log: Any
) -> tuple[subprocess.Popen[bytes], Channel, int | None]:
    ours, theirs = multiprocessing.Pipe()
    lifeline_read, lifeline_write = os.pipe()
    command, variables = [sys.executable, "-m", _CHILD], dict(os.environ)
    if python:
        python = interpreter.find_interpreter(python)
        command = interpreter.command(python, _CHILD)
        variables = interpreter.variables(python)
    try:
        process = subprocess.Popen(
            [*command, str(theirs.fileno()), str(lifeline_read), backend],
            pass_fds=(theirs.fileno(), lifeline_read),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**variables, **(environment or {})},
            # Its own process group: it can be killed as a whole and gets no Ctrl-C.
            start_new_session=True,
        )
    finally:
        theirs.close()
        os.close(lifeline_read)
    return process, Channel(ours), lifeline_write
