"""One server over HTTP: plain questions, event streams, and what its refusals mean.

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

from pydantic_core import from_json, to_json

from pytest_speedbench.errors import EngineDied, EngineError

if TYPE_CHECKING:
    import aiohttp

_T = TypeVar("_T")
_CONNECT_SECONDS = 10.0
_EXCERPT = 300
_KEY_MEND = "set OPENAI_API_KEY, or --speed-engine-arg api_key=…, to a key that the server accepts"
_BUSY_MEND = (
    "it takes fewer requests at a time than were sent: lower --speed-bs, or raise the server's own "
    "limit"
)


class RequestRefused(EngineError):
    """The server cannot run this request; others it can."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is. ``key`` is sent as a bearer token and shown nowhere."""

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
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise EngineError(f"--speed-url={url}: want an address such as http://localhost:8000")
    if parts.username or parts.password:
        raise EngineError("--speed-url holds a password; give it as --speed-engine-arg api_key=…")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


class Http:
    """Asks one server. Every method that takes no ``async`` may be called from any thread.

    Args:
        timeout: the longest silence, in seconds, on an open connection.
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
        """The result of a coroutine that runs on the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def call(self, function: Any, *arguments: object) -> None:
        """Runs a plain function on the loop, soon."""
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

    # -- plain questions ----------------------------------------------------------------------

    def get_json(self, path: str) -> Any:
        """The parsed answer.

        Raises:
            EngineError: a refusal, or no JSON; EngineDied: no answer.
        """
        return self._parsed(path, self.wait(self._ask("GET", path, None)))

    def post_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """As :meth:`get_json`, for a question with a body."""
        return self._parsed(path, self.wait(self._ask("POST", path, body)))

    async def ask_json(self, path: str, body: Mapping[str, Any]) -> Any:
        """As :meth:`post_json`, for those who already are on the loop."""
        return self._parsed(path, await self._ask("POST", path, body))

    def get_text(self, path: str) -> str:
        return self.wait(self._ask("GET", path, None)).decode(errors="replace")

    def status(self, path: str) -> int | None:
        """The HTTP status of ``path``; None where nobody answers."""
        return self.wait(self._status(path))

    def find_json(self, path: str) -> Any | None:
        """As :meth:`get_json`; None where the server does not have ``path``."""
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
        try:
            return from_json(content)
        except ValueError:
            raise self.garbage(path, content) from None

    # -- streams ------------------------------------------------------------------------------

    async def stream(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[bytes]:
        """The data of every server-sent event, the closing ``[DONE]`` included.

        Raises:
            EngineError: a refusal; EngineDied: refused connections, silence, a broken stream.
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

    # -- what went wrong ----------------------------------------------------------------------

    async def _accepted(self, path: str, reply: aiohttp.ClientResponse) -> None:
        if reply.status != 200:
            text = (await reply.content.read(1 << 14)).decode(errors="replace")
            raise self.refusal(path, reply.status, text)

    @contextlib.contextmanager
    def _explained(self, path: str) -> Any:
        """Turns what the library raises into one message with its mend."""
        import aiohttp

        where = f"{self.address.url}{path}"
        try:
            yield
        except aiohttp.ClientConnectorError as error:
            raise EngineDied(
                f"no server answers at {self.address.url} ({error.strerror or error}): start it, "
                "or mend --speed-url"
            ) from error
        except TimeoutError as error:
            raise EngineDied(
                f"{where} said nothing for {self.timeout:g} s: the server hangs, or holds requests "
                "back for want of slots (a longer limit: --speed-timeout=SECONDS; fewer requests: "
                "--speed-bs)"
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise EngineDied(
                f"{where}: the server closed the connection half way "
                f"({self.address.hide(str(error)) or type(error).__name__}); see its own log, then "
                "run again"
            ) from error

    def refusal(self, path: str, status: int, text: str) -> EngineError:
        """What an HTTP status other than 200 means, and its mend."""
        said = f"HTTP {status} from {self.address.url}{path}"
        if words := self.address.hide(_message(text)):
            said += f": {words}"
        if status in (401, 403):
            return EngineError(f"{said}\n  {_KEY_MEND}")
        if status in (429, 503):
            return EngineError(f"{said}\n  {_BUSY_MEND}")
        if status in (404, 405):
            return EngineError(
                f"{said}\n  the server has no such page or model: mend --speed-url, or name the "
                "model as the server does, --speed-engine-arg served_model_name=NAME"
            )
        if status >= 500:
            return EngineDied(f"{said}\n  the server failed; see its own log, then run again")
        return RequestRefused(
            f"{said}\n  the server refuses the request; --speed-max-tokens, the split's length and "
            "the server's own context must fit together"
        )

    def told_error(self, path: str, error: object) -> EngineError:
        """The error for an event that carries one; the status is inside, if anywhere."""
        status = error.get("code") if isinstance(error, dict) else None
        text = _message(to_json({"error": error}).decode())
        return self.refusal(path, status if isinstance(status, int) else 500, text)

    def garbage(self, path: str, content: bytes) -> EngineError:
        """The error for an answer that is no JSON."""
        return EngineError(
            f"{self.address.url}{path} answered with something that is no JSON: "
            f"{self.address.hide(_excerpt(content.decode(errors='replace')))!r}; is --speed-url "
            "really the address of an inference server?"
        )


def _message(text: str) -> str:
    """The words of an error body: OpenAI's ``error.message``, FastAPI's ``detail``, or its text."""
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
