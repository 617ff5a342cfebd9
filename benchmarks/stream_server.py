"""A chat server without a model that streams as fast as it can, and knows when it sent what.

It works in steps, as an engine does: in each, every request in flight gets one token, in one event
and one write. A client that reads too slowly slows it down. With ``--step-ms`` the steps have a
pace. Answers have between half and all of the tokens asked for, so that they do not end together.
The first token names the request (``n17``), so that a client's record of it can be found.

    python benchmarks/stream_server.py --port 8100

``GET /log`` returns the requests since the last call: number, when it had arrived, and when each
token was sent, in seconds of ``time.perf_counter``, which all processes of a machine share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from array import array
from dataclasses import dataclass, field
from typing import Any

MODEL = "stream"
DEFAULT_TOKENS = 128
# A client that has so much unread gets nothing more until it reads.
BEHIND_BYTES = 1 << 16
HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def framed(event: object) -> bytes:
    """An event of a stream in a chunk of its own."""
    text = event if isinstance(event, str) else json.dumps(event)
    data = f"data: {text}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


def delta(text: str | None, reason: str | None = None) -> dict[str, Any]:
    content = {} if text is None else {"content": text}
    return {
        "id": "chatcmpl-stream",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "delta": content, "logprobs": None, "finish_reason": reason}],
    }


WORD = framed(delta(" word"))
LAST = framed(delta(None, "length"))
DONE = framed("[DONE]") + b"0\r\n\r\n"


@dataclass(slots=True)
class Stream:
    """One request: its number, when it arrived, when each token was sent."""

    number: int
    wanted: int
    prompt: int
    transport: asyncio.Transport
    arrived: float
    client_id: str
    sent: array[float] = field(default_factory=lambda: array("d"))

    def send(self) -> bool:
        """Sends the next token; False once that was the last one."""
        first = not self.sent
        self.sent.append(time.perf_counter())
        self.transport.write(framed(delta(f"n{self.number}")) if first else WORD)
        if len(self.sent) < self.wanted:
            return True
        counts = {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.wanted,
            "total_tokens": self.prompt + self.wanted,
        }
        usage = framed({**delta(None), "choices": [], "usage": counts})
        self.transport.write(LAST + usage + DONE)
        return False


class Engine:
    """Gives every stream one token a step."""

    def __init__(self, step_seconds: float, remembers: bool) -> None:
        self.step_seconds = step_seconds
        self.remembers = remembers
        self.streams: list[Stream] = []
        self.log: list[Stream] = []
        self.started = 0
        self.work = asyncio.Event()

    def add(self, stream: Stream) -> None:
        self.streams.append(stream)
        if self.remembers:
            self.log.append(stream)
        self.work.set()

    async def run(self) -> None:
        while True:
            await self.work.wait()
            begun = time.perf_counter()
            self.streams = [stream for stream in self.streams if self.step(stream)]
            if not self.streams:
                self.work.clear()
            left = self.step_seconds - (time.perf_counter() - begun)
            await asyncio.sleep(max(0.0, left))

    def step(self, stream: Stream) -> bool:
        if stream.transport.is_closing():
            return False
        if stream.transport.get_write_buffer_size() > BEHIND_BYTES:
            return True
        return stream.send()


class Connection(asyncio.Protocol):
    """HTTP/1.1 as far as a benchmark client needs it: one request after another."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.transport: asyncio.Transport
        self.unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.unread += data
        while (end := self.unread.find(b"\r\n\r\n")) >= 0:
            head = self.unread[:end].decode("latin-1").split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in head[1:])
            size = int(fields.get("content-length", 0))
            if len(self.unread) < end + 4 + size:
                return
            body, self.unread = self.unread[end + 4 : end + 4 + size], self.unread[end + 4 + size :]
            method, path, _ = head[0].split(" ")
            self.answer(method, path, body, fields.get("x-request-id", ""))

    def answer(self, method: str, path: str, body: bytes, client_id: str) -> None:
        if method == "POST" and path == "/v1/chat/completions":
            asked = json.loads(body)
            wanted = asked.get("max_completion_tokens") or asked.get("max_tokens") or DEFAULT_TOKENS
            if not asked.get("stream"):
                self.reply({"id": "1", "choices": [{"index": 0, "message": {"content": "ready"}}]})
                return
            self.transport.write(HEAD)
            prompt = sum(len(str(message["content"]).split()) for message in asked["messages"])
            number, self.engine.started = self.engine.started, self.engine.started + 1
            now, length = time.perf_counter(), wanted - 37 * number % wanted // 2
            self.engine.add(Stream(number, length, prompt, self.transport, now, client_id))
        elif path == "/v1/models":
            self.reply({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        elif path == "/log":
            log, self.engine.log = self.engine.log, []
            self.reply(
                [
                    {"number": s.number, "id": s.client_id, "at": s.arrived, "sent": list(s.sent)}
                    for s in log
                ]
            )
        elif path == "/health":
            self.reply({})
        else:
            self.reply({"detail": "Not Found"}, b"404 Not Found")

    def reply(self, content: object, status: bytes = b"200 OK") -> None:
        data = json.dumps(content).encode()
        self.transport.write(
            b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (status, len(data), data)
        )


async def serve(port: int, engine: Engine) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(engine), "127.0.0.1", port, backlog=1024)
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    steps = asyncio.create_task(engine.run())
    async with server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await stopped.wait()
    steps.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--step-ms", type=float, default=0.0, help="shortest time of a step")
    parser.add_argument("--forget", action="store_true", help="keep no log, for hours of load")
    options = parser.parse_args()
    asyncio.run(serve(options.port, Engine(options.step_ms / 1e3, not options.forget)))


if __name__ == "__main__":
    main()
