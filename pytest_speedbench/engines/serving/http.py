"""One server over HTTP: requests, event streams, and what its error responses mean.

All traffic runs on one event loop in one thread, so that 512 open streams cost no thread each.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from pytest_speedbench.errors import EngineDied, EngineError

if TYPE_CHECKING:
    import aiohttp

_T = TypeVar("_T")
_CONNECT_SECONDS = 10.0
_EXCERPT = 300
_FIX_KEY = "set OPENAI_API_KEY, or --speed-engine-arg api_key=…, to a key that the server accepts"
_FIX_LOAD = (
    "the server accepts fewer concurrent requests than were sent: lower --speed-bs, or raise its "
    "limit"
)


class RequestRefused(EngineError):
    """The server cannot run this request, but goes on with others."""


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server. ``key`` is sent as a bearer token and never shown."""

    url: str
    key: str = field(default="", repr=False)

    def hide(self, text: str) -> str:
        """``text`` without the key."""
        return text.replace(self.key, "***") if self.key else text


def parse_url(url: str) -> str:
    """The root of a server from what the user gave; a trailing ``/v1`` is left out.

    Raises:
        EngineError: not an http address.
    """
    try:
        parts = urlsplit(url)
        password = bool(parts.username or parts.password)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that do not match, or a port that is not one
        password, known = "@" in url, False
    if password:
        raise EngineError("--speed-url holds a password; give it as --speed-engine-arg api_key=…")
    if not known:
        raise EngineError(f"--speed-url={url}: expected an address such as http://localhost:8000")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


class Http:
    """A client of one server. Methods that are not ``async`` may be called from any thread.

    Args:
        timeout: seconds without data on an open connection.
        reuse: whether a connection takes several requests.
    """

    def __init__(self, address: Address, timeout: float, *, reuse: bool = True) -> None:
        self.address = address
        self.timeout = timeout
        self.reuse = reuse
        self.closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="http")
        self._thread.start()
        self._session: aiohttp.ClientSession = self.wait(self._open())

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        limits = aiohttp.ClientTimeout(
            total=None, sock_connect=min(self.timeout, _CONNECT_SECONDS), sock_read=self.timeout
        )
        headers = {"Authorization": f"Bearer {self.address.key}"} if self.address.key else {}
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

    def get_json(self, path: str) -> Any:
        """The parsed response.

        Raises:
            EngineError: an error response, or not JSON; EngineDied: no response.
        """
        return self._parsed(path, self.wait(self._ask("GET", path, None)))

    def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """Like :meth:`get_json`, with a body."""
        return self._parsed(path, self.wait(self._ask("POST", path, body)))

    async def ask_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """Like :meth:`post_json`, for callers on the event loop."""
        return self._parsed(path, await self._ask("POST", path, body))

    def get_text(self, path: str) -> str:
        return self.wait(self._ask("GET", path, None)).decode(errors="replace")

    def status(self, path: str) -> int | None:
        """The HTTP status of ``path``; None if no server responds."""
        return self.wait(self._status(path))

    def find_json(self, path: str) -> Any | None:
        """Like :meth:`get_json`; None if the server does not have ``path``."""
        return self.get_json(path) if self.status(path) == 200 else None

    async def _status(self, path: str) -> int | None:
        import aiohttp

        limits = aiohttp.ClientTimeout(total=min(self.timeout, _CONNECT_SECONDS))
        try:
            async with self._session.get(self.address.url + path, timeout=limits) as reply:
                await reply.read()
                return reply.status
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> bytes:
        url = self.address.url + path
        with self._explained(path):
            async with (
                asyncio.timeout(self.timeout),
                self._session.request(method, url, json=body) as reply,
            ):
                await self._accepted(path, reply)
                return await reply.read()

    def _parsed(self, path: str, content: bytes) -> Any:
        from pydantic_core import from_json

        try:
            return from_json(content)
        except ValueError:
            raise self.garbage(path, content) from None

    # -- streams ------------------------------------------------------------------------------

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes]:
        """The data of every server-sent event, the closing ``[DONE]`` included.

        Raises:
            EngineError: an error response; EngineDied: no connection, a timeout, a broken stream.
        """
        with self._explained(path):
            async with self._session.post(self.address.url + path, json=body) as reply:
                await self._accepted(path, reply)
                rest = b""
                async for block in reply.content.iter_any():
                    *lines, rest = (rest + block).split(b"\n")
                    for line in lines:
                        if line.startswith(b"data:"):
                            yield line[5:].strip()
                if rest.startswith(b"data:"):
                    yield rest[5:].strip()

    # -- errors -------------------------------------------------------------------------------

    async def _accepted(self, path: str, reply: aiohttp.ClientResponse) -> None:
        if reply.status != 200:
            text = (await reply.content.read(1 << 14)).decode(errors="replace")
            raise self.refusal(path, reply.status, text)

    @contextlib.contextmanager
    def _explained(self, path: str) -> Any:
        """Turns exceptions of aiohttp into one message that names the fix."""
        import aiohttp

        where = f"{self.address.url}{path}"
        try:
            yield
        except aiohttp.ClientConnectorError as error:
            raise EngineDied(
                f"no server answers at {self.address.url} ({error.strerror or error}): start it, "
                "or correct --speed-url"
            ) from error
        except TimeoutError as error:
            raise EngineDied(
                f"{where} sent nothing for {self.timeout:g} s: the server hangs, or has too few "
                "slots and queues requests (raise the limit with --speed-timeout=SECONDS, or lower "
                "--speed-bs)"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineDied(
                f"{where}: the server closed the connection early "
                f"({self.address.hide(str(error)) or type(error).__name__}); see its own log, then "
                "run again"
            ) from error

    def refusal(self, path: str, status: int, text: str) -> EngineError:
        """The error for an HTTP status other than 200; the message names the fix."""
        what = f"HTTP {status} from {self.address.url}{path}"
        if message := self.address.hide(_message(text)):
            what += f": {message}"
        if status in (401, 403):
            return EngineError(f"{what}\n  {_FIX_KEY}")
        if status in (429, 503):
            return EngineError(f"{what}\n  {_FIX_LOAD}")
        if status in (404, 405):
            return EngineError(
                f"{what}\n  the server has no such endpoint or model: correct --speed-url, or give "
                "the server's name of the model with --speed-engine-arg served_model_name=NAME"
            )
        if status >= 500:
            return EngineDied(f"{what}\n  the server failed; see its own log, then run again")
        return RequestRefused(
            f"{what}\n  the server refuses the request; if it exceeds the context length, lower "
            "--speed-max-tokens or choose a split with shorter prompts"
        )

    def error_of_event(self, path: str, error: object) -> EngineError:
        """The error for an event that carries one, with the HTTP status inside it, if any."""
        from pydantic_core import to_json

        status = error.get("code") if isinstance(error, dict) else None
        text = _message(to_json({"error": error}).decode())
        return self.refusal(path, status if isinstance(status, int) else 500, text)

    def garbage(self, path: str, content: bytes) -> EngineError:
        """The error for a response that is not JSON."""
        return EngineError(
            f"{self.address.url}{path} answered with something that is not JSON: "
            f"{self.address.hide(_excerpt(content.decode(errors='replace')))!r}; is --speed-url "
            "the address of an inference server?"
        )

    def unexpected(self, path: str, content: object, reason: object) -> EngineError:
        """The error for JSON of another form than that of the OpenAI API."""
        text = content.decode(errors="replace") if isinstance(content, bytes) else repr(content)
        return EngineError(
            f"{self.address.url}{path} answered in a form that is not that of the OpenAI API "
            f"({reason}): {self.address.hide(_excerpt(text))}"
        )


def _message(text: str) -> str:
    """The message of an error: ``error.message`` (OpenAI), ``detail`` (FastAPI), or the text."""
    from pydantic_core import from_json

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
