"""One server over HTTP: requests, event streams, and what its error responses mean.

All traffic runs on one event loop in one thread, so that 512 open streams cost no thread each.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urljoin, urlsplit

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from pytest_speedbench.engines.serving.address import Address
from pytest_speedbench.engines.serving.arrivals import ArrivalClock
from pytest_speedbench.engines.serving.event_stream import EventStream
from pytest_speedbench.engines.serving.failures import AnswerFailed, RequestRefused
from pytest_speedbench.engines.serving.schema import describe
from pytest_speedbench.errors import EngineDied, EngineError

if TYPE_CHECKING:
    import aiohttp

_T = TypeVar("_T")
_M = TypeVar("_M")
_CONNECT_SECONDS = 10.0
_EXCERPT = 300
# An event of a stream; SGLang repeats the whole output so far in each.
_EVENT_BYTES = 4 << 20
# Any other response; llama.cpp sends the probabilities of a whole vocabulary.
_BODY_BYTES = 64 << 20
_ERROR_BYTES = 1 << 14
_REDIRECTS = 3
_STATUS = re.compile("[45][0-9]{2}")
# pydantic's words for another value where an object was expected.
_NO_OBJECT = ("model_type", "dict_type", "list_type")
_FIX_KEY = "set OPENAI_API_KEY, or --speed-engine-arg api_key=…, to a key that the server accepts"
_FIX_LOAD = (
    "the server accepts fewer concurrent requests than were sent: lower --speed-bs, or raise its "
    "limit"
)


_FIX_READY = (
    "the server is loading, overloaded, or has failed: see its own log, wait until this address "
    "answers with 200, then run again"
)


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
        return self._parsed(path, self.wait(self._ask("GET", path, None)), form)

    def post(self, path: str, body: Mapping[str, Any], form: type[_M]) -> _M:
        """Like :meth:`get`, with a body."""
        return self._parsed(path, self.wait(self._ask("POST", path, body)), form)

    async def ask(self, path: str, body: Mapping[str, Any], form: type[_M]) -> _M:
        """Like :meth:`post`, for callers on the event loop."""
        return self._parsed(path, await self._ask("POST", path, body), form)

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
                await self._body(path, reply)
                return reply.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, limit: float | None = None
    ) -> bytes:
        limit = limit or self.timeout
        with self._explained(path, limit):
            async with (
                asyncio.timeout(limit),
                self._request(method, path, body) as reply,
            ):
                await self._accepted(path, reply)
                return await self._body(path, reply)

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
            url = self._same_origin(path, url, urljoin(url, target))
        raise EngineError(f"{self.address.url}{path} redirects without an end: correct --speed-url")

    def _same_origin(self, path: str, url: str, target: str) -> str:
        if urlsplit(target)[:2] != urlsplit(url)[:2]:
            scheme, place = urlsplit(target)[:2]
            origin = f"{scheme}://{place.rpartition('@')[2]}"
            raise EngineError(
                f"{self.address.url}{path} redirects to another server, "
                f"{_excerpt(origin)}, which is not followed: give the address of the server itself "
                "with --speed-url"
            )
        return target

    async def _body(self, path: str, reply: aiohttp.ClientResponse) -> bytes:
        self._uncompressed(path, reply)
        found = bytearray()
        async for block in reply.content.iter_any():
            found += block
            if len(found) > _BODY_BYTES:
                raise self._too_much(path, "a response", _BODY_BYTES)
        return bytes(found)

    def _uncompressed(self, path: str, reply: aiohttp.ClientResponse) -> None:
        coding = reply.headers.get("Content-Encoding", "identity")
        if coding.lower() != "identity":
            raise EngineError(
                f"{self.address.url}{path} is compressed ({_excerpt(coding)}), although the "
                "request does not accept it, and this delays tokens: switch compression off in "
                "the proxy before the server, or connect to the server itself"
            )

    def _too_much(self, path: str, what: str, limit: int) -> EngineError:
        return EngineError(
            f"{self.address.url}{path} sent {what} of more than {limit >> 20} MiB, the limit: is "
            "--speed-url the address of an inference server?"
        )

    def _parsed(self, path: str, content: bytes, form: type[_M]) -> _M:
        try:
            return TypeAdapter(form).validate_json(content)
        except ValidationError as error:
            raise self.invalid(path, content, error) from None

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
        with self._explained(path, self.timeout):
            async with self._request("POST", path, body, sent) as reply:
                await self._accepted(path, reply)
                self._uncompressed(path, reply)
                events = EventStream()
                while block := await reply.content.readany():
                    found = events.feed(block)
                    if events.held > _EVENT_BYTES:
                        raise self._too_much(path, "an event", _EVENT_BYTES)
                    if found:
                        yield found
                if found := events.end():
                    yield found
                if events.foreign:
                    raise self._no_events(path, events.foreign)

    def _no_events(self, path: str, begin: bytes) -> AnswerFailed:
        return AnswerFailed(
            f"{self.address.url}{path} answered with something that is not a stream of events, "
            f"although the request has stream=true: "
            f"{self.address.hide(_excerpt(begin.decode(errors='replace')))!r}; is --speed-url the "
            "address of an inference server, and does a proxy before it pass streams on?",
            "not a stream of events",
        )

    # -- errors -------------------------------------------------------------------------------

    async def _accepted(self, path: str, reply: aiohttp.ClientResponse) -> None:
        if reply.status != 200:
            text = (await reply.content.read(_ERROR_BYTES)).decode(errors="replace")
            raise self.refusal(path, reply.status, text, page=reply.method == "GET")

    @contextlib.contextmanager
    def _explained(self, path: str, limit: float) -> Any:
        """Turns exceptions of aiohttp into one message that names the fix."""
        import aiohttp

        where = f"{self.address.url}{path}"
        try:
            yield
        except aiohttp.ClientConnectorError as error:
            raise AnswerFailed(
                f"no server answers at {self.address.url} ({error.strerror or error}): start it, "
                "or correct --speed-url",
                "no connection",
            ) from error
        except TimeoutError as error:
            fix = "see its own log"
            if limit == self.timeout:
                fix = "raise the limit with --speed-timeout=SECONDS"
            raise EngineDied(
                f"{where} did not answer within {limit:g} s: the server hangs, or is busy ({fix})"
            ) from error
        except aiohttp.ClientResponseError as error:  # endless headers, chunks without a size
            raise AnswerFailed(
                f"{where} answered with something that is not HTTP "
                f"({self.address.hide(_excerpt(error.message))}); is --speed-url the address of "
                "an inference server?",
                "not HTTP",
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            why = self.address.hide(str(error)) or type(error).__name__
            raise AnswerFailed(
                f"{where}: the server closed the connection early ({why}); see its own log, then "
                "run again",
                "connection closed",
            ) from error

    def refusal(self, path: str, status: int, text: str, *, page: bool = False) -> EngineError:
        """The error for an HTTP status other than 200, of a request or a ``page``; the message
        names the fix."""
        what = f"HTTP {status} from {self.address.url}{path}"
        if message := self.address.hide(_message(text)):
            what += f": {message}"
        if status in (401, 403):
            return EngineError(f"{what}\n  {_FIX_KEY}")
        reason = f"HTTP {status}: {message}" if message else f"HTTP {status}"
        if status in (429, 503):
            return AnswerFailed(f"{what}\n  {_FIX_READY if page else _FIX_LOAD}", reason)
        if status in (404, 405):
            return EngineError(
                f"{what}\n  the server has no such endpoint or model: correct --speed-url, or give "
                "the server's name of the model with --speed-engine-arg served_model_name=NAME"
            )
        if status >= 500 or status == 408:
            return AnswerFailed(
                f"{what}\n  the server failed; see its own log, then run again", reason
            )
        return RequestRefused(
            f"{what}\n  the server refuses the request; if it exceeds the context length, lower "
            "--speed-max-tokens or choose a split with shorter prompts"
        )

    def error_of_event(self, path: str, error: object) -> EngineError:
        """The error for an event that carries one, with the HTTP status inside it, if any."""
        code = str(error.get("code") if isinstance(error, dict) else None)
        text = _message(to_json({"error": error}).decode())
        return self.refusal(path, int(code) if _STATUS.fullmatch(code) else 500, text)

    def stalled(self, path: str, tokens: int, *, finished: bool, alone: bool) -> EngineDied:
        """The error for a stream without progress for too long, after ``tokens`` of them, and a
        finish reason where it is ``finished``; ``alone`` where other streams went on."""
        where, limit = f"{self.address.url}{path}", f"{self.timeout:g} s"
        message, reason = (
            f"{where} sent no new token for {limit}, after {tokens}: the server hangs, or has too "
            "few slots and queues requests (raise the limit with --speed-timeout=SECONDS, or lower "
            "--speed-bs)",
            f"no new token for {limit}",
        )
        if finished:
            message, reason = (
                f"{where} sent a finish reason, and did not end the stream within {limit}: it has "
                "neither [DONE] nor an end, as behind a proxy that keeps connections open; connect "
                "to the engine directly",
                f"no end for {limit} after the finish reason",
            )
        return AnswerFailed(message, reason) if alone else EngineDied(message)

    def invalid(self, path: str, content: bytes, error: ValidationError) -> EngineError:
        """The error for a response that is not JSON, or of another form than expected."""
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid" or (not first["loc"] and first["type"] in _NO_OBJECT):
            return self.garbage(path, content)
        return self.unexpected(path, content, describe(error))

    def garbage(self, path: str, content: bytes) -> EngineError:
        """The error for a response that is not JSON, or not an object."""
        return EngineError(
            f"{self.address.url}{path} answered with something that is not JSON: "
            f"{self.address.hide(_excerpt(content.decode(errors='replace')))!r}; is --speed-url "
            "the address of an inference server?"
        )

    def unexpected(self, path: str, content: object, reason: object) -> EngineError:
        """The error for JSON of another form than that of the server's API."""
        text = content.decode(errors="replace") if isinstance(content, bytes) else repr(content)
        return EngineError(
            f"{self.address.url}{path} answered in a form that is not that of its API "
            f"({self.address.hide(str(reason))}): {self.address.hide(_excerpt(text))}"
        )


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


def _message(text: str) -> str:
    """The message of an error: ``error.message`` (OpenAI), ``detail`` (FastAPI), or the text."""

    try:
        found = from_json(text)
    except ValueError:
        return _excerpt(text)
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and key in found:
            found = found[key]
    return _excerpt(found if isinstance(found, str) else str(found))


def _excerpt(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _EXCERPT else f"{line[:_EXCERPT]}…"
