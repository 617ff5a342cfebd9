"""Hides passwords, keys and tokens in what is written: records, reports, messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(
    r"(^|[_.-])(token|secret|password|passwd|passphrase|credentials?|auth|authorization|cookie"
    r"|(api|access|secret|private|signing)[_-]?key)$",
    re.I,
)
# The shapes of well-known tokens, the credentials of an address, and what follows such a name.
_SECRET_VALUE = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{10,}|sk-[\w-]{10,}|gh[pousr]_[A-Za-z0-9]{10,}|github_pat_\w{10,}"
    r"|glpat-[\w-]{10,}|xox[abprs]-[\w-]{10,}|nvapi-[\w-]{10,}|AIza[\w-]{30,}|AKIA[0-9A-Z]{16}"
    r"|eyJ[\w-]+\.eyJ[\w-]+\.[\w-]*)"
    r"|(?<=://)[^/\s@]+(?=@)"
    r"|(?P<before>(?:Bearer|Basic) +"
    r"|[?&;-][\w-]*(?:token|secret|password|passwd|key|signature|auth)[= ])[^\s&;#]+",
    re.I,
)


def hide_secrets(value: Any, name: str = "") -> Any:
    """The same value with passwords, keys and tokens replaced, at any depth."""
    if _SECRET_NAME.search(name) and value is not None and not isinstance(value, bool):
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(key): hide_secrets(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_secrets(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _SECRET_VALUE.sub(lambda found: (found["before"] or "") + HIDDEN, str(value))


def shown_address(address: str) -> str:
    """An address without the credentials that its user part or its query may hold."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    host, slash, path = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
