"""Readers of option values: from text (command line, ini file) and from Python or TOML values.

A reader is called with the value and ``text``: whether a number or a switch may be given as text.
It returns the value in the type of its :class:`~pytest_speedbench.plan.settings.Settings` field or
raises ValueError, whose message says what is expected.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, TypeAlias

from pytest_speedbench.errors import did_you_mean

Reader: TypeAlias = Callable[[object, bool], Any]

ALL_SAMPLES = 0
"""The value of ``samples`` for every sample of a slice."""
MOST = 2**31 - 1
"""Engines keep counts of tokens and requests in 32 bits."""
MOST_SEED = 2**63 - 1
LEAST_TEMPERATURE = 0.01
"""vLLM raises a temperature below it, other than 0, without a word."""
ACCEPTANCE_LENGTH = "acceptance_length"
GATED_METRICS = (ACCEPTANCE_LENGTH, "speedup", "output_tps")
_ON, _OFF = ("on", "true", "yes", "1"), ("off", "false", "no", "0")


def name(value: object, text: bool) -> str:
    """A name, a path or another text that is not empty."""
    if not isinstance(value, str):
        raise ValueError(f"expected text, got a value of type {type(value).__name__}")
    if not value.strip():
        raise ValueError("it is empty")
    return value.strip()


def page(value: object, text: bool) -> str:
    """The path of an HTML page."""
    path = name(value, text)
    if not path.lower().endswith((".html", ".htm")):
        raise ValueError("expected a path that ends in .html; a browser prints the page as PDF")
    return path


def markdown(value: object, text: bool) -> str:
    """The path of a Markdown file, under any name that does not say another format."""
    path = name(value, text)
    if path.lower().endswith((".html", ".htm", ".pdf", ".json", ".xml")):
        raise ValueError("expected a path that ends in .md; this is the Markdown summary")
    return path


def reference(value: object, text: bool) -> str:
    """The name of a saved run; empty for the latest comparable one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # pytest-benchmark numbers its runs
    return "" if value == "" else name(value, text)


def integer(least: int, hint: str = "", most: int = MOST) -> Reader:
    """Reader of integers from ``least`` to ``most``; ``hint`` follows what is expected."""

    def read(value: object, text: bool) -> int:
        if text and isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                value = None
        if isinstance(value, int) and not isinstance(value, bool):
            if least <= value <= most:
                return value
            if value > most:
                raise ValueError(f"expected an integer <= {most}")
        raise ValueError(f"expected an integer >= {least}{hint}")

    return read


def number(value: object, text: bool) -> float:
    """A finite number >= 0."""
    found = _float(value, text)
    if not 0 <= found < math.inf:
        raise ValueError("expected a number >= 0")
    return found


def temperature(value: object, text: bool) -> float:
    """0, or a finite number that every engine samples at."""
    found = number(value, text)
    if 0 < found < LEAST_TEMPERATURE:
        raise ValueError(f"expected 0, which is greedy, or a number >= {LEAST_TEMPERATURE}")
    return found


def seconds(value: object, text: bool) -> float:
    """A finite number of seconds > 0."""
    found = _float(value, text)
    if not 0 < found < math.inf:
        raise ValueError("expected seconds, a number > 0")
    return found


def _float(value: object, text: bool) -> float:
    """The number, or NaN, which no range holds."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    if isinstance(value, str) and not text:
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan


def samples(value: object, text: bool) -> int:
    """A number of samples, or ``all``."""
    if value == "all":
        return ALL_SAMPLES
    found: int = integer(1, ", or all")(value, text)
    return found


def switch(value: object, text: bool) -> bool:
    """True or false; in text, one of several names for on and off."""
    if isinstance(value, bool):
        return value
    if not text:
        raise ValueError("expected True or False")
    name = str(value).strip().lower() if isinstance(value, int | str) else ""
    if name not in (*_ON, *_OFF):
        pairs = ", ".join(map("/".join, zip(_ON, _OFF, strict=True)))
        raise ValueError(f"expected on or off, or their like: {pairs}")
    return name in _ON


def choice(*allowed: str) -> Reader:
    """Reader of one of ``allowed``."""

    def read(value: object, text: bool) -> str:
        if not isinstance(value, str) or value.strip() not in allowed:
            raise ValueError(f"expected one of {', '.join(allowed)}{did_you_mean(value, allowed)}")
        return value.strip()

    return read


def length(value: object, text: bool) -> str:
    """A length in tokens: ``2k``, or 2048 as a number or as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    raise ValueError("expected a length in tokens, such as 2k or 2048")


def probability(value: object, text: bool) -> float:
    """A number above 0, at most 1."""
    found = _float(value, text)
    if not 0 < found <= 1:
        raise ValueError("expected a probability: above 0, at most 1")
    return found


def share(value: object, text: bool = True) -> float:
    """``2%`` or ``0.02`` → 0.02; strictly between 0 and 1."""
    found = _percent(value, text)
    if math.isnan(found):
        raise ValueError("expected a share, such as 2% or 0.02")
    if not 0 < found < 1:
        raise ValueError("expected a share above 0 and below 100%, such as 2% or 0.02")
    return found


def share_or_zero(value: object, text: bool = True) -> float:
    """A share, or 0: nothing is assumed."""
    found = _percent(value, text)
    if not 0 <= found < 1:
        raise ValueError("expected a share of at least 0 and below 100%, such as 12% or 0.12")
    return found


def whole_share(value: object, text: bool) -> float:
    """A share, 0 and 100% included."""
    found = _percent(value, text)
    if not 0 <= found <= 1:
        raise ValueError("expected a share from 0 to 100%, such as 5% or 0.05")
    return found


def _percent(value: object, text: bool) -> float:
    if isinstance(value, str) and value.strip().endswith("%"):
        return _float(value.strip()[:-1], text) / 100
    return _float(value, text)


def margin(value: object, text: bool) -> tuple[str, float]:
    """``acceptance_length/math:5%``, or the pair of both → metric (with category) and share."""
    key, share_of = _pair(value, ":", "METRIC[/CATEGORY]:MARGIN, such as acceptance_length:2%")
    metric, slash, category = key.partition("/")
    if metric not in GATED_METRICS or (slash and not category):
        raise ValueError(
            f"expected METRIC[/CATEGORY]:MARGIN, such as acceptance_length:2%, with METRIC one of "
            f"{', '.join(GATED_METRICS)}{did_you_mean(metric, GATED_METRICS)}"
        )
    return key, share(share_of, text)


def column(value: object, text: bool) -> tuple[str, str]:
    """``prompt=body``, or the pair of both → our field name and the file's column."""
    expected = "FIELD=COLUMN, such as prompt=body,id=ticket"
    ours, theirs = _pair(value, "=", expected)
    if not isinstance(theirs, str) or not theirs.strip():
        raise ValueError(f"expected {expected}")
    return ours, theirs.strip()


def argument(value: object, text: bool) -> tuple[str, object]:
    """``KEY=VALUE``, or the pair of both; a VALUE in text is read as JSON where it is JSON."""
    key, found = _pair(value, "=", "KEY=VALUE, such as max_model_len=4096")
    if isinstance(value, str) and isinstance(found, str):
        try:
            return key, json.loads(found)
        except (json.JSONDecodeError, RecursionError):
            return key, found
    return key, found


def duration(value: object, text: bool) -> float:
    """``90s``, ``20m``, ``2h``, or a number of seconds, as seconds."""
    from pytest_speedbench.plan.soak import parse_duration  # only a budget needs it

    return parse_duration(value)


def soak(value: object, text: bool) -> Any:
    """How long one engine repeats its samples: a time or a number of rounds."""
    from pytest_speedbench.plan.soak import parse_soak  # only a soak needs it

    return parse_soak(value)


def environments(value: object, text: bool) -> Any:
    """Environment variables of the engine, one set or several."""
    from pytest_speedbench.plan.environment import read_environments  # few tests set any

    return read_environments(value, text)


def _pair(value: object, sign: str, expected: str) -> tuple[str, object]:
    """Key and value of ``KEY<sign>VALUE`` or of an item of a dict; no empty key."""
    key: object = ""
    found: object = ""
    if isinstance(value, tuple) and len(value) == 2:
        key, found = value
    elif isinstance(value, str):
        # A file's column may hold "=", a category may hold ":"; neither is in the other part.
        parts = value.partition(sign) if sign == "=" else value.rpartition(sign)
        key, found = (parts[0], parts[2]) if parts[1] else ("", "")
    if not isinstance(key, str) or not key.strip():
        raise ValueError(f"expected {expected}")
    return key.strip(), found
