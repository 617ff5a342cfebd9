"""A server started here: a free port, waiting until it is ready, its last output, shutdown."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_speedbench.engines.process.lifetime import (
    descendants,
    how_it_ended,
    kill_all,
    kill_group,
    last_output,
    with_output,
)
from pytest_speedbench.engines.protocol import EngineConfig
from pytest_speedbench.errors import EngineDied, EngineError
from pytest_speedbench.secrets import is_secret_name

HOST = "127.0.0.1"
_POLL_SECONDS = 0.2
_CLOSE_SECONDS = 5.0
_DEATH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Launch:
    """A command that starts a server; ``environment`` is added to ours."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class ServerProcess:
    """A started server, in its own session; it ends at the latest with this process.

    Args:
        launch: builds the command for a port.
        timeout: seconds that the server may take to start.

    Raises:
        EngineError: the port that the user chose is taken, or an argument is a secret.
    """

    def __init__(
        self, config: EngineConfig, launch: Callable[[EngineConfig, int], Launch], timeout: float
    ) -> None:
        self.engine = config.engine
        self.timeout = timeout
        port = _port(config.option("port"))
        self.url = f"http://{HOST}:{port}"
        wanted = launch(config, port)
        refuse_visible_secrets(config, wanted.command)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        read, write = os.pipe()
        self._lifeline: int | None = write
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "pytest_speedbench.engines.serving.supervisor",
                    str(read),
                    *wanted.command,
                ],
                pass_fds=(read,),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **wanted.environment, **dict(config.environment)},
                start_new_session=True,
            )
        finally:
            os.close(read)

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Waits for the server to come up.

        Raises:
            EngineError: the server ended; EngineDied: it is not ready in time. The message ends
                with its last output.
        """
        deadline = time.monotonic() + self.timeout
        while not ready():
            code = self._process.poll()
            if code is not None:
                output = last_output(self._log)
                how = _how_server_ended(code, output)
                what = f"engine {self.engine} does not start, its server ended {how}"
                raise EngineError(with_output(what, output))
            if time.monotonic() > deadline:
                what = (
                    f"engine {self.engine} was not ready after {self.timeout:g} s (raise the limit "
                    "with --speed-timeout=SECONDS)"
                )
                raise EngineDied(with_output(what, last_output(self._log)))
            time.sleep(_POLL_SECONDS)

    def death(self, what: str) -> EngineDied:
        """The error for a server that failed with ``what``: how it ended, and its last output."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_DEATH_SECONDS)
        code, output = self._process.poll(), last_output(self._log)
        if code is not None:
            what = f"engine {self.engine} ended {_how_server_ended(code, output)}"
        return EngineDied(with_output(what, output))

    def close(self) -> None:
        """Asks the server to end; kills it and its children if they do not end in time."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_CLOSE_SECONDS)
        if self._process.poll() is None:
            kill_all(descendants(self._process.pid))
        kill_group(self._process.pid)
        self._process.wait()
        self._log.close()
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None


def refuse_visible_secrets(config: EngineConfig, command: Sequence[str]) -> None:
    """Refuses a command that holds a secret: every user of the machine can read it.

    Raises:
        EngineError: the message names the argument and the way around.
    """
    for name, value in config.args:
        if is_secret_name(name) and any(str(value) in word for word in command):
            raise EngineError(
                f"engine argument {name} would be in the list of processes, which every user of "
                "this machine can read: leave it out, and set the environment variable that the "
                "server reads, such as HF_TOKEN"
            )


def _how_server_ended(code: int, output: str) -> str:
    """``by signal SIGKILL``, or ``with code 1``; :mod:`~.supervisor` reports a signal as 128 + its
    number."""
    number = code - 128
    return how_it_ended(-number if number in signal.valid_signals() else code, output)


def _port(asked: object) -> int:
    """The port that the user chose, if it is free; without one any free port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(str(asked or 0))))
        except (OSError, ValueError, OverflowError) as error:
            raise EngineError(
                f"port {asked} cannot be used ({error}): choose another with --speed-engine-arg "
                "port=NUMBER, or leave it out for a free one; to measure the server that runs "
                f"there: --speed-url http://{HOST}:{asked}"
            ) from error
        port: int = probe.getsockname()[1]
        return port
