"""A server that is started here: it starts, or reports why not, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_speedbench.engines import EngineConfig, EngineDied, EngineError, EngineInfo
from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.engines.serving.answer import Answer
from pytest_speedbench.engines.serving.client import ServerEngine, open_server
from pytest_speedbench.engines.serving.dialect import Dialect
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.metrics import MetricNames
from pytest_speedbench.engines.serving.process import Launch

from ..test_parent import alive, wait_until_gone
from .test_client import drain, requests

TIMEOUT = 30.0

# A server with a child in a session of its own: the kind that survives careless endings.
SERVER = textwrap.dedent(
    """
    import os, subprocess, sys, time
    from http.server import BaseHTTPRequestHandler, HTTPServer

    sleeper = "import time; time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", sleeper], start_new_session=True)
    print("loading the weights", flush=True)

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

        def do_GET(self):
            body = f"{os.getpid()} {child.pid}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            print("a kernel failed", flush=True)
            os.kill(os.getpid(), 9)

    HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
    """
)


class Plain(Dialect):
    metrics_path = ""

    def connect(self, http: Http) -> EngineInfo:
        pids = [int(pid) for pid in http.get_text("/").split()]
        return EngineInfo("plain", "1", "cpu", "float32", {"pids": pids})

    def trace(self, answer: Answer) -> Trace:
        return answer.trace("stop")


def start(program: str = SERVER, timeout: float = TIMEOUT, **args: object) -> ServerEngine:
    def launch(config: EngineConfig, port: int) -> Launch:
        return Launch([sys.executable, "-c", program, str(port)], {"MARK": "1"})

    config = EngineConfig("plain", "m", args=tuple(args.items()))
    return open_server(Plain, launch)(config, timeout)


def pids(engine: ServerEngine) -> list[int]:
    found = engine.info.details["pids"]
    assert isinstance(found, list)
    return found


@pytest.fixture
def engine() -> Iterator[ServerEngine]:
    found = start()
    yield found
    found.close()


def test_closing_ends_the_server_and_all_its_children(engine: ServerEngine) -> None:
    assert all(alive(pid) for pid in pids(engine))
    engine.close()
    engine.close()
    assert not alive(pids(engine)[0])
    for pid in pids(engine):
        wait_until_gone(pid)


def test_it_starts_again_after_it_was_closed() -> None:
    for _ in range(2):
        engine = start()
        assert alive(pids(engine)[0])
        engine.close()


def test_two_run_side_by_side(engine: ServerEngine) -> None:
    other = start()
    assert other.http.address.url != engine.http.address.url
    other.close()
    assert alive(pids(engine)[0])


def test_one_that_ignores_the_request_to_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_speedbench.engines.serving.process._CLOSE_SECONDS", 0.5)
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER
    engine = start(stubborn)
    engine.close()
    for pid in pids(engine):
        wait_until_gone(pid)


def test_a_server_that_does_not_start_is_reported_with_its_last_output() -> None:
    with pytest.raises(EngineError, match=r"ended with code 3; its last output:\n    no weights"):
        start("import sys; print('no weights'); sys.exit(3)")


def test_a_command_that_does_not_exist() -> None:
    open_it = open_server(Plain, lambda config, port: Launch(["/no/such/server"]))
    with pytest.raises(EngineError, match=r"/no/such/server: No such file"):
        open_it(EngineConfig("plain", "m"), TIMEOUT)


def test_a_start_that_takes_too_long_is_ended() -> None:
    slow = "import time; print('compiling', flush=True); time.sleep(600)"
    with pytest.raises(EngineDied, match=r"not ready after 2 s [\s\S]*compiling"):
        start(slow, timeout=2)


def test_a_server_that_dies_at_work_is_reported_with_its_last_output(engine: ServerEngine) -> None:
    engine.submit(requests(1))
    with pytest.raises(
        EngineDied, match=r"engine plain ended by signal SIGKILL[^;]*; [\s\S]*a kernel failed"
    ):
        drain(engine, 1)


def test_a_server_that_dies_when_it_is_ready_is_reported_with_its_last_output() -> None:
    dies = "if self.path == '/': print('no such head', flush=True); os._exit(4)"
    program = SERVER.replace("def do_GET(self):", f"def do_GET(self):\n        {dies}")
    with pytest.raises(EngineDied, match=r"plain ended with code 4; [\s\S]*no such head"):
        start(program)


def test_a_server_that_died_idle_is_reported_with_its_last_output() -> None:
    engine = start()
    engine.dialect.metrics_path, engine.dialect.metrics = "/metrics", MetricNames(drafts="x")
    os.kill(pids(engine)[0], signal.SIGTERM)
    wait_until_gone(pids(engine)[0])
    for _ in range(2):
        with pytest.raises(
            EngineDied, match=r"engine plain ended by signal SIGTERM; [\s\S]*loading the weights"
        ):
            engine.counters()
    engine.close()


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=rf"port {port} cannot be used .*--speed-url http"):
            start(port=port)


def test_the_port_that_was_asked_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    engine = start(port=port)
    assert engine.http.address.url.endswith(f":{port}")
    engine.close()


def test_nothing_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    program = (
        "import time; from tests.engines.serving.test_process import start, pids\n"
        "engine = start(); print(*pids(engine), engine.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert parent.stdout is not None
    started = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(started) == 3
    assert all(alive(pid) for pid in started)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for pid in started:
        wait_until_gone(pid)


def test_ctrl_c_of_the_terminal_does_not_reach_the_server(engine: ServerEngine) -> None:
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGINT)
    time.sleep(0.2)
    assert engine.http.status("/health") == 200
