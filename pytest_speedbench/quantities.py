"""How settings, changes, estimated counts and long lists are written in every report and message:
``0.8``, ``-2.00%``, ``[-3.10%, -0.90%]``, ``about 24,000``, ``a, b and 7 more``."""

from __future__ import annotations

from collections.abc import Sequence


def exact(value: float) -> str:
    """A setting such that different ones differ: 0.8 → ``0.8``, 1.0 → ``1``, 20261130 →
    ``20261130``."""
    short = f"{value:g}"
    return short if isinstance(value, float) and float(short) == value else repr(value)


def change_of(ratio: float, digits: int = 2) -> str:
    """The ratio new / old as a change: 0.98 → ``-2.00%``; what rounds to nothing is ``+0.00%``."""
    return f"{round(ratio - 1, digits + 2) + 0.0:+.{digits}%}"


def rate(per_second: float) -> str:
    """Tokens a second, to a tenth below 1,000: ``592.3``, ``13,206``."""
    return f"{per_second:,.{1 if round(per_second, 1) < 1000 else 0}f}"


def about(count: int) -> int:
    """An estimated count in two digits, rounded up: 23,299 → 24,000."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // unit) * unit


def span_of(low: float | None, high: float | None, digits: int = 2) -> str:
    """Both limits of a ratio as changes; empty where one is not known, or both print the same."""
    if low is None or high is None:
        return ""
    ends = change_of(low, digits), change_of(high, digits)
    return "" if ends[0] == ends[1] else f"[{', '.join(ends)}]"


def some_of(names: Sequence[str], most: int) -> str:
    """The first ``most`` names, and how many more there are."""
    shown, more = ", ".join(names[:most]), len(names) - most
    return f"{shown} and {more} more" if more > 0 else shown
