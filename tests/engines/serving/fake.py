"""A small real HTTP server that speaks as inference servers do, and misbehaves on demand.

Tests script it: what each page answers, and the events of each stream. It keeps what it was asked.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Unframed(bytes):
    """Sent outside the chunks of the stream, so that it is not HTTP."""


Event = dict[str, Any] | str | bytes | float
"""A JSON event, raw data of one, raw bytes of the stream, or a pause in seconds."""


@dataclass
class Script:
    """What the server answers; tests change it while it runs."""

    events: Callable[[dict[str, Any]], Iterable[Event] | tuple[int, str]] = lambda body: ()
    """Of a stream; or the status and the text of an error response."""
    pages: dict[str, Any] = field(default_factory=dict)
    """GET: path → an object (JSON), text, (status, text), or a function that returns one."""
    redirects: dict[str, str] = field(default_factory=dict)
    """GET: path → where it is to be found."""
    posts: dict[str, Callable[[dict[str, Any]], Any]] = field(default_factory=dict)
    """POST without a stream: path → body → JSON, or (status, text)."""
    status: int = 200
    """Of every stream; anything but 200 is answered with ``refusal``."""
    refusal: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    slots: threading.Semaphore | None = None
    """How many streams it sends at once; the others wait."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    script: Script


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # which would hold a body back for 40 ms after its headers
    server: _Server

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if target := self.server.script.redirects.get(self.path):
            self.send_response(307)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        found = self.server.script.pages.get(self.path, (404, '{"detail":"Not Found"}'))
        self._reply(found() if callable(found) else found)

    def do_POST(self) -> None:
        script = self.server.script
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with script.lock:
            script.asked.append(body)
            script.headers.append(dict(self.headers))
        if not body.get("stream"):
            answer = script.posts.get(self.path)
            self._reply(answer(body) if answer else (404, "{}"))
        elif script.status != 200:
            self._reply((script.status, script.refusal))
        else:
            self._stream(script, script.events(body))

    def _reply(self, found: Any) -> None:
        status, text = found if isinstance(found, tuple) else (200, found)
        data = (text if isinstance(text, str) else json.dumps(text)).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, script: Script, events: Iterable[Event] | tuple[int, str]) -> None:
        if isinstance(events, tuple):
            self._reply(events)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            with script.slots or nullcontext():
                for event in events:
                    self._send(event)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            pass  # the client went away
        finally:
            self.close_connection = True

    def _send(self, event: Event) -> None:
        if isinstance(event, float):
            time.sleep(event)
        elif isinstance(event, Unframed):
            self.wfile.write(event)
        elif isinstance(event, bytes):
            self._send_chunk(event)
        else:
            text = event if isinstance(event, str) else json.dumps(event)
            self._send_chunk(f"data: {text}\n\n".encode())
        self.wfile.flush()

    def _send_chunk(self, data: bytes) -> None:
        if data:  # an empty chunk would be the end
            self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))


@contextmanager
def serving(script: Script, port: int = 0) -> Iterator[str]:
    """Runs the server in a thread, at a free port or the one given; yields its address."""
    server = _Server(("127.0.0.1", port), _Handler)
    server.script = script
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
