"""An S3 server for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of moto's server, which takes one request at a time here: otherwise two clients
    could create the same object, as it looks for it and writes it in two steps."""
    moto = pytest.importorskip("moto.server", reason="tox installs moto[server] and s3fs")
    pytest.importorskip("s3fs")
    running = moto.ThreadedMotoServer(port=0)
    running.start()
    server, lock = running._server, threading.Lock()
    answer = server.app

    def answer_alone(*request: Any) -> Any:
        with lock:
            return answer(*request)

    server.app = answer_alone
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()
