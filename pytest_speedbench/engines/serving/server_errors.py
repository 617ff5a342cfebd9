"""What a server's responses mean where they are not what was asked for.

Every error names the address and what fixes it; the server's own words are shortened, and secrets
in them hidden.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from pytest_speedbench.engines.serving.address import Address
from pytest_speedbench.engines.serving.failures import AnswerFailed, RequestRefused
from pytest_speedbench.engines.serving.schema import describe
from pytest_speedbench.errors import EngineDied, EngineError

_EXCERPT = 300
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


@dataclass(frozen=True, slots=True)
class ServerErrors:
    """The errors of the server at ``address``."""

    address: Address

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

    def of_event(self, path: str, error: object) -> EngineError:
        """The error for an event that carries one: by the HTTP status inside it, if any."""
        code = str(error.get("code") if isinstance(error, dict) else None)
        text = _message(to_json({"error": error}).decode())
        if _STATUS.fullmatch(code):
            return self.refusal(path, int(code), text)
        message = self.address.hide(text)
        return AnswerFailed(
            f"{self.address.url}{path} sent an error in its stream: {message}\n  the server "
            "failed; see its own log, then run again",
            f"error: {message}",
        )

    def stalled(
        self, path: str, tokens: int, timeout: float, *, finished: bool, alone: bool
    ) -> EngineDied:
        """The error for a stream without progress for ``timeout`` seconds, after ``tokens``, and a
        finish reason where it is ``finished``; ``alone`` where other streams went on."""
        where, limit = f"{self.address.url}{path}", f"{timeout:g} s"
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
        no_object = not first["loc"] and first["type"] in _NO_OBJECT
        if first["type"] == "json_invalid" or (no_object and not content.lstrip().startswith(b"{")):
            return self.not_json(path, content)
        return self.another_form(path, content, describe(error))

    def not_json(self, path: str, content: bytes) -> EngineError:
        """The error for a response that is not JSON, or not an object."""
        return EngineError(
            f"{self.address.url}{path} answered with something that is not JSON: "
            f"{self.address.hide(_excerpt(content.decode(errors='replace')))!r}; is --speed-url "
            "the address of an inference server?"
        )

    def another_form(self, path: str, content: object, reason: object) -> EngineError:
        """The error for JSON of another form than that of the server's API."""
        text = content.decode(errors="replace") if isinstance(content, bytes) else repr(content)
        return EngineError(
            f"{self.address.url}{path} answered in a form that is not that of its API "
            f"({self.address.hide(str(reason))}): {self.address.hide(_excerpt(text))}"
        )

    def no_events(self, path: str, begin: bytes) -> AnswerFailed:
        """The error for a stream that begins with ``begin``, no event."""
        return AnswerFailed(
            f"{self.address.url}{path} answered with something that is not a stream of events, "
            f"although the request has stream=true: "
            f"{self.address.hide(_excerpt(begin.decode(errors='replace')))!r}; is --speed-url the "
            "address of an inference server, and does a proxy before it pass streams on?",
            "not a stream of events",
        )

    def compressed(self, path: str, coding: str) -> EngineError:
        """The error for a compressed response."""
        return EngineError(
            f"{self.address.url}{path} is compressed ({_excerpt(coding)}), although the request "
            "does not accept it, and this delays tokens: switch compression off in the proxy "
            "before the server, or connect to the server itself"
        )

    def redirected(self, path: str, target: str) -> EngineError:
        """The error for a redirect to ``target``, another server."""
        scheme, place = urlsplit(target)[:2]
        origin = f"{scheme}://{place.rpartition('@')[2]}"
        return EngineError(
            f"{self.address.url}{path} redirects to another server, {_excerpt(origin)}, which is "
            "not followed: give the address of the server itself with --speed-url"
        )

    def too_much(self, path: str, what: str, limit: int) -> EngineError:
        """The error for ``what`` of more than ``limit`` bytes."""
        return EngineError(
            f"{self.address.url}{path} sent {what} of more than {limit >> 20} MiB, the limit: is "
            "--speed-url the address of an inference server?"
        )

    @contextlib.contextmanager
    def explained(self, path: str, limit: float, *, adjustable: bool = True) -> Iterator[None]:
        """Turns exceptions of aiohttp into one message that names the fix. ``limit`` is the time
        limit in seconds; it is ``adjustable`` where it is that of ``--speed-timeout``."""
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
            raise_it = "raise the limit with --speed-timeout=SECONDS"
            fix = raise_it if adjustable else "see its own log"
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
