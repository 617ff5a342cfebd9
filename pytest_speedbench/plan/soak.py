"""``soak="30m"`` or ``soak=20``: how long one engine repeats its samples.

Collection imports this module, so it imports nothing that takes time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# With fewer rounds, no order is rare enough to be evidence (stats.drift.MIN_ROUNDS).
MIN_ROUNDS = 4
_MOST_ROUNDS = 1_000_000
_MOST_SECONDS = 1e9  # thirty years
_UNITS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True)
class Soak:
    """A number of ``rounds``, or as many as fit in ``seconds``; false if neither is given."""

    rounds: int = 0
    seconds: float = 0.0
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.rounds or self.seconds)

    def __str__(self) -> str:
        return self.text


NO_SOAK = Soak()


def parse_soak(value: object) -> Soak:
    """Parse ``"90s"``, ``"30m"``, ``"2h"`` or a number of rounds.

    Raises:
        ValueError: anything else; the message says what is expected.
    """
    if isinstance(value, int) and MIN_ROUNDS <= value <= _MOST_ROUNDS:  # not True, which is 1
        return Soak(rounds=value, text=str(value))
    seconds = _seconds(value)
    if not 0 < seconds < _MOST_SECONDS:
        raise ValueError(
            f"expected a time such as '90s', '30m' or '2h', or a number of rounds >= {MIN_ROUNDS}, "
            f"at most {_MOST_ROUNDS}"
        )
    return Soak(seconds=seconds, text=str(value).replace(" ", ""))


def parse_duration(value: object) -> float:
    """Parse ``"90s"``, ``"20m"``, ``"2h"`` or a number of seconds.

    Raises:
        ValueError: anything else; the message says what is expected.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = value
    else:
        seconds = _seconds(value)
    if not 0 < seconds < _MOST_SECONDS:
        raise ValueError("expected a time such as '90s', '20m' or '2h'")
    return float(seconds)


def _seconds(value: object) -> float:
    """The seconds of ``"30m"``; 0 for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([smh])", value) if isinstance(value, str) else None
    return float(found[1]) * _UNITS[found[2]] if found else 0.0
