"""One server over HTTP: requests and event streams.

All traffic runs on one event loop in one thread, so that 512 open streams cost no thread each.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from pydantic import TypeAdapter, ValidationError

from pytest_speedbench.engines.serving.address import Address
from pytest_speedbench.engines.serving.arrivals import ArrivalClock
from pytest_speedbench.engines.serving.event_stream import EventStream
from pytest_speedbench.engines.serving.server_errors import ServerErrors
from pytest_speedbench.errors import EngineError

if TYPE_CHECKING:
    import aiohttp

_T = TypeVar("_T")
_M = TypeVar("_M")
_CONNECT_SECONDS = 10.0
# An event of a stream; SGLang repeats the whole output so far in each.
_EVENT_BYTES = 4 << 20
# Any other response; llama.cpp sends the probabilities of a whole vocabulary.
_BODY_BYTES = 64 << 20
_ERROR_BYTES = 1 << 14
_REDIRECTS = 3


class Http:
    """A client of one server. Methods that are not ``async`` may be called from any thread.

    Args:
        timeout: seconds for a whole response, and in a stream between two new tokens.
        reuse: whether a connection takes several requests.
    """

    def __init__(self, address: Address, timeout: float, *, reuse: bool = True) -> None:
        self.address = address
        self.timeout = timeout
        self.reuse = reuse
        self.closed = False
        self.errors = ServerErrors(address)
        self.arrivals = ArrivalClock()
        self._loop = asyncio.SelectorEventLoop(self.arrivals)
        self._thread = threading.Thread(target=self._serve, daemon=True, name="http")
        self._thread.start()
        self._session: aiohttp.ClientSession = self.wait(self._open())

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        # Everything else ends when it makes no progress, whatever it sends: see `_ask` and
        # `Load`.
        limits = aiohttp.ClientTimeout(total=None, sock_connect=min(self.timeout, _CONNECT_SECONDS))
        # A compressed stream would hold tokens back, and may inflate without bounds.
        headers = {"Accept-Encoding": "identity"}
        if self.address.key:
            headers["Authorization"] = f"Bearer {self.address.key}"
        return aiohttp.ClientSession(
            # As many connections as requests in flight; no proxy between a load and its server.
            # Idle ones are dropped before the server drops them (uvicorn: after 5 s).
            connector=(
                aiohttp.TCPConnector(limit=0, keepalive_timeout=1.0)
                if self.reuse
                else aiohttp.TCPConnector(limit=0, force_close=True)
            ),
            timeout=limits,
            headers=headers,
            read_bufsize=1 << 18,
            auto_decompress=False,
            trace_configs=[_when_sent()],
        )

    def wait(self, work: Coroutine[Any, Any, _T], timeout: float | None = None) -> _T:
        """Runs a coroutine on the event loop and returns its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def call(self, function: Any, *arguments: object) -> None:
        """Schedules a function on the event loop."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def close(self) -> None:
        """Ends all connections and the thread. Closing twice is allowed."""
        if self.closed:
            return
        self.closed = True
        with contextlib.suppress(TimeoutError):
            self.wait(self._end(), _CONNECT_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CONNECT_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._session.close()

    # -- requests -----------------------------------------------------------------------------

    def get(self, path: str, form: type[_M]) -> _M:
        """The response as ``form``: a pydantic model, or any type that pydantic validates.

        Raises:
            EngineError: an error response, not JSON, or of another form; EngineDied: no response.
        """
        return self._parse(path, self.wait(self._ask("GET", path, None)), form)

    def post(self, path: str, body: Mapping[str, Any], form: type[_M]) -> _M:
        """Like :meth:`get`, with a body."""
        return self._parse(path, self.wait(self._ask("POST", path, body)), form)

    async def ask(self, path: str, body: Mapping[str, Any], form: type[_M]) -> _M:
        """Like :meth:`post`, for callers on the event loop."""
        return self._parse(path, await self._ask("POST", path, body), form)

    def find(self, path: str, form: type[_M]) -> _M | None:
        """Like :meth:`get`; None if the server does not have ``path``."""
        return self.get(path, form) if self.status(path) == 200 else None

    def get_text(self, path: str) -> str:
        return self.wait(self._ask("GET", path, None)).decode(errors="replace")

    def check(self, path: str) -> None:
        """Checks that ``path`` answers, within ten seconds at most.

        Raises:
            EngineError: as :meth:`get`, for anything but HTTP 200.
        """
        self.wait(self._ask("GET", path, None, min(self.timeout, _CONNECT_SECONDS)))

    def status(self, path: str) -> int | None:
        """The HTTP status of ``path``; None if no server responds."""
        return self.wait(self.ask_status(path))

    async def ask_status(self, path: str) -> int | None:
        import aiohttp

        try:
            async with (
                asyncio.timeout(min(self.timeout, _CONNECT_SECONDS)),
                self._request("GET", path, None) as reply,
            ):
                await self._read_body(path, reply)
                return reply.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, limit: float | None = None
    ) -> bytes:
        seconds = limit or self.timeout
        with self.errors.explained(path, seconds, adjustable=limit is None):
            async with (
                asyncio.timeout(seconds),
                self._request(method, path, body) as reply,
            ):
                await self._check_status(path, reply)
                return await self._read_body(path, reply)

    @contextlib.asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        sent: Callable[[], None] | None = None,
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """One response. A redirect within the origin is followed; never one to another, which would
        be measured instead and might be sent the key."""
        url = self.address.url + path
        for _ in range(_REDIRECTS):
            async with self._session.request(
                method, url, json=body, allow_redirects=False, trace_request_ctx=sent
            ) as reply:
                target = reply.headers.get("Location", "")
                if reply.status // 100 != 3 or not target:
                    with _ends_with_its_connection(reply):
                        yield reply
                    return
            target = urljoin(url, target)
            if urlsplit(target)[:2] != urlsplit(url)[:2]:
                raise self.errors.redirected(path, target)
            url = target
        raise EngineError(f"{self.address.url}{path} redirects without an end: correct --speed-url")

    async def _read_body(self, path: str, reply: aiohttp.ClientResponse) -> bytes:
        self._check_coding(path, reply)
        found = bytearray()
        async for block in reply.content.iter_any():
            found += block
            if len(found) > _BODY_BYTES:
                raise self.errors.too_much(path, "a response", _BODY_BYTES)
        return bytes(found)

    def _check_coding(self, path: str, reply: aiohttp.ClientResponse) -> None:
        coding = reply.headers.get("Content-Encoding", "identity")
        if coding.lower() != "identity":
            raise self.errors.compressed(path, coding)

    def _parse(self, path: str, content: bytes, form: type[_M]) -> _M:
        try:
            return TypeAdapter(form).validate_json(content)
        except ValidationError as error:
            raise self.errors.invalid(path, content, error) from None

    # -- streams ------------------------------------------------------------------------------

    async def stream(
        self, path: str, body: Mapping[str, Any], sent: Callable[[], None]
    ) -> AsyncGenerator[list[bytes]]:
        """The data of the server-sent events that arrived together, the closing ``[DONE]``
        included; the caller limits the time without progress. ``sent`` is called when the
        connection is there and the request is on its way.

        Raises:
            EngineError: an error response, or an event of more than 4 MiB; EngineDied: no
                connection, a broken stream.
        """
        with self.errors.explained(path, self.timeout):
            async with self._request("POST", path, body, sent) as reply:
                await self._check_status(path, reply)
                self._check_coding(path, reply)
                events = EventStream()
                while block := await reply.content.readany():
                    found = events.feed(block)
                    if events.held > _EVENT_BYTES:
                        raise self.errors.too_much(path, "an event", _EVENT_BYTES)
                    if found:
                        yield found
                if found := events.end():
                    yield found
                if events.foreign:
                    raise self.errors.no_events(path, events.foreign)

    async def _check_status(self, path: str, reply: aiohttp.ClientResponse) -> None:
        if reply.status != 200:
            text = (await reply.content.read(_ERROR_BYTES)).decode(errors="replace")
            raise self.errors.refusal(path, reply.status, text, page=reply.method == "GET")


@contextlib.contextmanager
def _ends_with_its_connection(reply: aiohttp.ClientResponse) -> Iterator[None]:
    """Ends the reading of a body whose connection was closed because it is not HTTP: aiohttp
    (3.14) closes it, but leaves the reader to wait."""
    import aiohttp

    connection = reply.connection
    protocol = connection.protocol if connection else None
    if protocol is None:  # the whole response has arrived
        yield
        return

    def closed(_: object = None) -> None:
        if not reply.content.is_eof() and reply.content.exception() is None:
            why = protocol.exception()
            message = getattr(why, "message", str(why))
            reply.content.set_exception(
                aiohttp.ClientResponseError(reply.request_info, reply.history, message=message)
            )

    closing = protocol.closed
    if closing is None:  # closed already
        closed()
        yield
        return
    closing.add_done_callback(closed)
    try:
        yield
    finally:
        closing.remove_done_callback(closed)
        # The connection lives on, and asyncio would log how it ended if nobody asked.
        closing.remove_done_callback(_ask_why)
        closing.add_done_callback(_ask_why)


def _ask_why(closing: asyncio.Future[None]) -> None:
    if not closing.cancelled():
        closing.exception()


def _when_sent() -> aiohttp.TraceConfig:
    """Calls what a request gives as its context when its headers are sent."""
    import aiohttp

    async def on_headers(session: aiohttp.ClientSession, context: Any, _: object) -> None:
        if context.trace_request_ctx is not None:
            context.trace_request_ctx()

    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(on_headers)
    return trace
