"""Hides passwords, keys and tokens in what is written: records, reports, messages.

A secret is known by its name (``hf_token``), by its form (``sk-…``, the user part of an address),
or by its value: that of an environment variable or an engine argument with such a name is hidden
wherever it appears, a server's answer that repeats it included.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

HIDDEN = "[hidden]"
_LEAST_CHARACTERS = 8
"""Of a secret that is looked for by its value: shorter ones are parts of ordinary words."""

_LEAST_AFTER_BEARER = 6  # "Bearer token" is no secret

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SECRET = frozenset(
    ("apikey", "auth", "authorization", "cookie", "credential", "credentials", "passphrase")
).union(("passwd", "password", "pw", "pwd", "secret", "secrets"))
_SECRET_LAST = frozenset(("key", "signature", "token"))
_SECRET_PLURAL = frozenset(("keys", "tokens"))
_OF_KEYS = frozenset(("access", "api", "bearer", "hf", "private", "refresh", "signing"))
# Tokens of a vocabulary: pad_token, decoder_start_token; and seconds_per_token.
_OF_A_VOCABULARY = frozenset(
    ("bonus", "bos", "cls", "draft", "end", "eos", "first", "image", "last", "mask", "next", "pad")
).union(("per", "sep", "start", "stop", "unk"))

_known: set[str] = set()


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether what has this name is a secret: ``api_key``, ``hfToken``, but not ``max_tokens``."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or words == ["pwd"]:  # the shell's working folder
        return False
    before, last = words[-2] if len(words) > 1 else "", words[-1]
    return (
        not _SECRET.isdisjoint(words)
        or (last in _SECRET_LAST and before not in _OF_A_VOCABULARY)
        or (last in _SECRET_PLURAL and before in _OF_KEYS)
    )


def remember(arguments: Iterable[tuple[str, object]], address: str = "") -> None:
    """Hides from now on the values of these arguments that are secret, and those of an address."""
    for name, value in arguments:
        if isinstance(value, Mapping):
            remember((str(key), item) for key, item in value.items())
        elif is_secret_name(name):
            _known.update(_long([str(value)]))
        else:
            _known.update(_long(_secrets_in(str(value))))
    _known.update(_long(_secrets_in(address)))


def _secrets_in(text: str) -> Iterator[str]:
    yield from _forms().findall(text)
    yield from (text[start:end] for start, end in _named_values(text))


def hide_secrets(value: Any, name: str = "") -> Any:
    """The same value with passwords, keys and tokens replaced, at any depth."""
    if is_secret_name(name) and value is not None and not isinstance(value, bool):
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(key): hide_secrets(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_secrets(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return without_secrets(str(value))


def without_secrets(text: str) -> str:
    """The text, in which secrets are replaced. Takes time linear in its length."""
    for secret in sorted(_known | _of_environment(), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return _without_named(_forms().sub(HIDDEN, text))


def shown_address(address: str) -> str:
    """An address without the credentials that its user part or its query may hold."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def _of_environment() -> set[str]:
    return set(_long(os.environ.get(name, "") for name in _secret_names(tuple(os.environ))))


@lru_cache(maxsize=1)
def _secret_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in names if is_secret_name(name))


def _long(values: Iterable[str]) -> list[str]:
    return [value for value in values if len(value) >= _LEAST_CHARACTERS]


# Every repetition that may fail is bounded, so that the time stays linear.
@cache
def _forms() -> re.Pattern[str]:
    """The forms of well-known tokens, and the user part of an address."""
    return re.compile(
        r"(?<![A-Za-z0-9_-])(?:hf_[A-Za-z0-9]{10,}|sk-[\w-]{10,}|gh[pousr]_[A-Za-z0-9]{10,}"
        r"|github_pat_\w{10,}|glpat-[\w-]{10,}|xox[abprs]-[\w-]{10,}|nvapi-[\w-]{10,}"
        r"|AIza[\w-]{30,}|AKIA[0-9A-Z]{16}|eyJ[\w-]{1,4096}\.eyJ[\w-]{1,4096}\.[\w-]*)"
        r"|(?<=://)[^/\s@]{1,512}(?=@)"
    )


@cache
def _names() -> re.Pattern[str]:
    """A name, and the sign between it and its value: ``name=``, ``"name": "``, ``--name ``."""
    return re.compile(
        r"(?<![\w.-])(?:(?P<scheme>Bearer|Basic)(?P<gap> {1,4})"
        r"|(?P<name>[\w.-]{1,64})(?P<sign>['\"]?\s{0,4}[=:]\s{0,4}['\"]?|['\"]?,? ['\"]?))",
        re.I,
    )


@cache
def _values() -> re.Pattern[str]:
    return re.compile(
        r"(?:(?:Bearer|Basic) {1,4})?(?!\[hidden\])(?P<value>[^\s&;#'\",)}\]…]+)", re.I
    )


def _without_named(text: str) -> str:
    """The text, in which what follows the name of a secret is replaced."""
    kept, done = [], 0
    for start, end in _named_values(text):
        kept += [text[done:start], HIDDEN]
        done = end
    return "".join([*kept, text[done:]])


def _named_values(text: str) -> Iterator[tuple[int, int]]:
    """Where the values of secrets start and end: ``X`` in ``api_key=X`` and ``Bearer X``."""
    done = 0
    for found in _names().finditer(text):
        start = found.end()
        if found.start() < done or not _announces(found):
            continue
        value = _values().match(text, start)
        if value is None or len(value["value"]) < _least_after(found):
            continue
        quote = text[start - 1] if text[start - 1] in "'\"" else ""
        end = text.find(quote, start) if quote else -1
        done = value.end() if end < 0 else end
        yield value.start("value"), done


def _least_after(found: re.Match[str]) -> int:
    """Characters that what follows has at least, so that it is no word of a sentence."""
    if found["scheme"]:
        return _LEAST_AFTER_BEARER
    return _LEAST_CHARACTERS if found["sign"].isspace() else 1


def _announces(found: re.Match[str]) -> bool:
    """Whether a secret may follow, and not the rest of a sentence such as *unknown key: foo*."""
    if found["scheme"]:
        return True
    name, sign = found["name"], found["sign"]
    if not is_secret_name(name):
        return False
    last = name.rpartition(".")[2]
    ordinary = last.lower() in _SECRET_LAST
    match sign.strip(" '\""):
        case "=":
            if any(map(str.isspace, sign)):  # key = get(…) is code
                return sign.endswith(("'", '"'))
            return not (ordinary and last.isupper())  # KEY=VALUE, speculative.KEY=VALUE
        case ":":
            return not ordinary or sign.endswith(("'", '"'))
        case ",":
            return not ordinary and sign.startswith(("'", '"'))
    return name.startswith("--")
