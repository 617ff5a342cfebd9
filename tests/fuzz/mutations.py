"""Damage to JSON: values changed anywhere, of the same type or of another."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from pytest_speedbench.errors import SpeedbenchError

Path = tuple[str | int, ...]
OTHERS = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1.5, 10**30, -(10**30), math.nan, math.inf),
        *("", "x", "1 2 3", "-1", "\x1b[31m\u202e\ud800", [], {}, [1], [[]], {"": None}),
    ]
)


def share(percent: int) -> settings:
    """Of the examples of the profile: few in a normal run, many with --hypothesis-profile=fuzz."""
    return settings(max_examples=settings.default.max_examples * percent // 100)


def paths(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place in ``value`` but the root; of lists the first two items."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else ()
    for key, item in items or enumerate(value[:2] if isinstance(value, list) else ()):
        yield from paths(item, (*path, key))


@st.composite
def damaged(draw: st.DrawFn, whole: Any) -> Any:
    """``whole`` with up to three values changed, removed or repeated."""
    data = copy.deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        _damage(draw, data, draw(st.sampled_from(list(paths(data)))))
    return data


def _damage(draw: st.DrawFn, data: Any, path: Path) -> None:
    *above, last = path
    for key in above:
        data = data[key]
    match draw(st.sampled_from(["alike", "alike", "other", "gone"])):
        case "alike":
            data[last] = copy.deepcopy(draw(_alike(data[last])))  # may be damaged once more
        case "other":
            data[last] = copy.deepcopy(draw(OTHERS))
        case "gone":
            del data[last]


def _alike(value: Any) -> st.SearchStrategy[Any]:
    """Values of the same type."""
    match value:
        case bool():
            return st.booleans()
        case int():
            return st.integers()
        case float():
            return st.floats()
        case str():
            return st.text(max_size=8) | st.just(value[::-1]) | st.just(value * 2)
        case list():
            return st.sampled_from([value[:1], value[1:], value * 2, value[::-1]])
        case dict():
            return st.sampled_from([{}, {**value, "unknown": 1}, dict(list(value.items())[1:])])
    return OTHERS


def encoded(data: Any) -> bytes:
    """As JSON; NaN and infinity as pytest-benchmark writes them."""
    return json.dumps(data).encode()


def refused(error: Exception) -> None:
    """A refusal says something, and only what can be printed."""
    text = str(error).replace("\n", "").replace("\t", "")
    assert text
    if isinstance(error, SpeedbenchError):
        assert text.isprintable()
