"""The address of a server, and the key that opens it."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from pytest_speedbench.engines.protocol import EngineConfig
from pytest_speedbench.errors import EngineError


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a server. ``key`` is sent as a bearer token and never shown."""

    url: str
    key: str = field(default="", repr=False)

    def hide(self, text: str) -> str:
        """``text`` without the key."""
        return text.replace(self.key, "***") if self.key else text


def refuse_addresses(config: EngineConfig) -> None:
    """Refuses addresses that can be none, before a server is asked.

    Raises:
        EngineError: the message names the option.
    """
    if config.url:
        parse_url(config.url)
    if reference := config.option("reference_url"):
        parse_url(str(reference), "--speed-engine-arg reference_url")


def parse_url(url: str, option: str = "--speed-url") -> str:
    """The root of a server from what the user gave by ``option``; a trailing ``/v1`` is left out.

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
        raise EngineError(f"{option} holds a password; give it as --speed-engine-arg api_key=…")
    if not known:
        raise EngineError(f"{option}={url}: expected an address such as http://localhost:8000")
    return url.rstrip("/").removesuffix("/v1").rstrip("/")
