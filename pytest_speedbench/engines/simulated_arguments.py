"""The engine arguments of the simulated engine, and the values that each may have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection

from pytest_speedbench.engines.protocol import EngineConfig
from pytest_speedbench.errors import EngineError

REPORTS = ("steps", "totals", "counters", "nothing")
_SCHEDULE = re.compile(r"\d+:\d+(,\d+:\d+)*", re.ASCII)
_SHARES = frozenset(
    ("divergence", "batch_ties", "bias", "fade", "cache_fade", "cache_ties", "loops", "empties")
)
_COUNTS = ("defect_at", "evict_at", "die_at", "hang_at", "fail_every", "foreign")
_FROM_1 = ("max_model_len", "tensor_parallel_size")
_AT_LEAST_0 = ("spread", "tokens", "draft_ms", "batch_ms")
_ANY = ("rise", "decay", "miscount", "speculation_off")
NUMBERS = frozenset({*_SHARES, *_COUNTS, *_FROM_1, *_AT_LEAST_0, *_ANY, "step_ms"})
ARGUMENTS = ("acceptance", "acceptance.*", "build", "reports", "schedule", *sorted(NUMBERS))
"""Every engine argument; ``acceptance.*`` stands for the acceptance of one category or drafter."""


def refuse_values(config: EngineConfig) -> None:
    """Refuses values that an argument cannot have.

    Raises:
        EngineError: the message names the argument, its value and what was expected.
    """
    for name, value in config.args:
        expected = _expected(name, str(value))
        if expected:
            raise EngineError(f"--speed-engine-arg {name}={value}: expected {expected}")


def _expected(name: str, text: str) -> str:
    """What ``name`` may be, where ``text`` is not it."""
    if name.partition(".")[0] == "acceptance":
        known = all(_is_number(part, lambda n: 0 <= n <= 1) for part in text.split(":"))
        return "" if known else "numbers from 0 to 1, such as 0.6 or 0.8:0.6"
    if name == "reports":
        return "" if text in REPORTS else f"one of {', '.join(REPORTS)}"
    if name == "schedule":
        return "" if _SCHEDULE.fullmatch(text) else "BS:DL pairs, such as 1:3,4:0"
    for names, what, allowed in _NUMBERS_BY_KIND:
        if name in names and not _is_number(text, allowed):
            return what
    return ""


def _is_number(text: str, allowed: Callable[[float], bool]) -> bool:
    try:
        number = float(text)
    except ValueError:
        return False
    return math.isfinite(number) and allowed(number)


_NUMBERS_BY_KIND: tuple[tuple[Collection[str], str, Callable[[float], bool]], ...] = (
    (_SHARES, "a number from 0 to 1", lambda number: 0 <= number <= 1),
    (_COUNTS, "an integer >= 0", lambda n: n >= 0 and n.is_integer()),
    (_FROM_1, "an integer >= 1", lambda n: n >= 1 and n.is_integer()),
    (_AT_LEAST_0, "a number >= 0", lambda number: number >= 0),
    (("step_ms",), "a number above 0", lambda number: number > 0),
    (_ANY, "a number", lambda number: True),
)
