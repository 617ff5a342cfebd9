"""What is wrong with data that pydantic refused: what, where, expected and got, in our words."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

_CLASS = re.compile(r" or (?:an )?instance of \w+$")
_FEW = 4
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "an object",
    "finite_number": "a finite number",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "a number above {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_type": "an integer",
    "less_than": "a number below {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "an object",
    "string_type": "text",
    "too_long": "a length of at most {max_length}",
    "too_short": "a length of at least {min_length}",
}
"""By pydantic's name of an error; of another one its own message is shown."""


def problem(error: Mapping[str, Any]) -> str:
    """One of the errors of a ``ValidationError``: ``expected an integer, got 'x'``.

    Messages of our own validators stand as they are.
    """
    kind, given = error["type"], error["input"]
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if kind == "missing":
        few = isinstance(given, dict) and 0 < len(given) <= _FEW
        return f"missing, there is only {', '.join(map(reprlib.repr, given))}" if few else "missing"
    if kind in _EXPECTED:
        limits = {name: str(n).removesuffix(".0") for name, n in error.get("ctx", {}).items()}
        expected = f"expected {_EXPECTED[kind].format(**limits)}"
    else:
        expected = _CLASS.sub("", str(error["msg"]))
    return f"{expected}, got {reprlib.repr(given)}"


def place(location: Sequence[int | str]) -> str:
    """Where it is, without pydantic's own names of branches, which no user knows."""
    return ".".join(str(part) for part in location if not str(part).startswith(("list[", "dict[")))
