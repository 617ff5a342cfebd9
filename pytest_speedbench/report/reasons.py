"""Why cases were judged as they were: each reason once, with the cases that it holds for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_speedbench.compare.verdict import FAILING, Outcome
from pytest_speedbench.quantities import some_of

_MOST_NAMED = 4
# What differs between reasons of one kind: 'about 97 more samples', 'sample math-3, turn 0', and
# in what a saved case differs, 'slice qa (here math), bs 1 (here 8)'.
_NUMBER = re.compile(r"[-+]?\d[\d.,e-]*")
_DIFFERENCES = re.compile(r"[^,;()]+ \(here [^)]*\)(?:, [^,;()]+ \(here [^)]*\))*")


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason of a verdict.

    Attributes:
        text: one sentence.
        outcome: of the verdict.
        names: what it holds for as it is.
        alike: what else has the same reason with other numbers.
    """

    text: str
    outcome: Outcome
    names: tuple[str, ...]
    alike: tuple[str, ...] = ()

    @property
    def likewise(self) -> str:
        """Names those with other numbers; empty without such."""
        return f" (likewise {some(self.alike)})" if self.alike else ""

    def __str__(self) -> str:
        return f"{self.outcome}: {some(self.names)}: {self.text}{self.likewise}"


def each_once(found: Iterable[tuple[str, str, Outcome]]) -> list[Reason]:
    """The reasons of ``found``, which are (name, text, outcome): those that fail first, else in
    their order. Of texts that differ in their numbers alone, the first stands for all."""
    kinds: dict[tuple[str, Outcome], dict[str, list[str]]] = {}
    for name, text, outcome in found:
        kinds.setdefault((kind_of(text), outcome), {}).setdefault(text, []).append(name)
    reasons = []
    for (_, outcome), texts in kinds.items():
        (text, names), *others = texts.items()
        alike = tuple(name for _, more in others for name in more)
        reasons.append(Reason(text, outcome, tuple(names), alike))
    return sorted(reasons, key=lambda reason: reason.outcome not in FAILING)


def kind_of(text: str) -> str:
    """What a reason has in common with those that differ in numbers and names alone."""
    return _NUMBER.sub("0", _DIFFERENCES.sub("", text))


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return some_of(names, _MOST_NAMED)
