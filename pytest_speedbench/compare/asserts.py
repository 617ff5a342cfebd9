"""Numbers in asserts: ``assert speed.acceptance_length >= 2.4`` fails only on evidence.

An estimate is compared with a number by its bound at the case's α. When the interval at that level
holds the number, the comparison is *undecided*: ``--speed-inconclusive`` says what that does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Real
from typing import NoReturn

from pytest_speedbench.errors import count_of
from pytest_speedbench.measure.metrics import METRICS
from pytest_speedbench.quantities import about
from pytest_speedbench.stats import Estimate


@dataclass(frozen=True, slots=True)
class Judgement:
    """How the comparisons of one case are decided.

    Attributes:
        alpha: what is asserted → bound on the probability of a false verdict of that assert.
        undecided: called with every undecided comparison, returns what it counts as.
        failed: called with every comparison that is false.
    """

    alpha: Callable[[str], float]
    undecided: Callable[[str], bool]
    failed: Callable[[str], None] = lambda text: None


class Measured(Estimate):
    """An estimate of a metric that a test compares with a number.

    ``>=``, ``>``, ``<=`` and ``<`` are false only on evidence: by the bound at the case's share of
    α. Where the interval at that level holds the number, the comparison is *undecided*.

    Attributes:
        name: name of the metric.
        value: the number, in ``unit``.
        low: lower bound; None where there are too few independent units.
        high: upper bound; None together with ``low``.
        n: number of independent units: samples, or rounds for timing.
        level: probability that ``low`` to ``high`` covers the truth, 0.95.
        unit: such as ``tokens/step`` or ``s``; empty for ratios.
        higher_is_better: whether a larger value is better.

    Raises:
        TypeError: it is compared with another estimate, by ``==``, or used as a truth value.
    """

    name: str
    _at_level: Callable[[float], Estimate]
    _judgement: Judgement
    _explain: Callable[[], str]

    __hash__ = None  # type: ignore[assignment]  # equality is refused, so there is no hash

    __array_ufunc__ = None  # numbers of numpy leave the comparison to this class

    def __init__(
        self,
        name: str,
        at_level: Callable[[float], Estimate],
        judgement: Judgement,
        explain: Callable[[], str] = lambda: "",
    ) -> None:
        found = at_level(0.95)
        super().__init__(
            found.value,
            found.low,
            found.high,
            found.n,
            found.level,
            found.unit,
            found.higher_is_better,
        )
        own = {"name": name, "_at_level": at_level, "_judgement": judgement, "_explain": explain}
        vars(self).update(own)  # the base class is frozen

    def __float__(self) -> float:
        return self.value

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else str(self)

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit and self.unit != "x" else self.unit
        if self.low is None or self.high is None:
            return f"{self.value:.3f}{unit} (n {self.n}, too few for an interval)"
        return f"{self.value:.3f}{unit} [{self.low:.3f}, {self.high:.3f}] (n {self.n})"

    __repr__ = __str__

    def __ge__(self, number: float) -> bool:
        __tracebackhide__ = True
        return self._above(number, ">=")

    def __gt__(self, number: float) -> bool:
        __tracebackhide__ = True
        return self._above(number, ">")

    def __le__(self, number: float) -> bool:
        __tracebackhide__ = True
        return self._below(number, "<=")

    def __lt__(self, number: float) -> bool:
        __tracebackhide__ = True
        return self._below(number, "<")

    def __eq__(self, other: object) -> NoReturn:
        __tracebackhide__ = True
        raise TypeError(
            f"{self.name} is an estimate and equals no number exactly; compare with >= or <=, or "
            "look at .value"
        )

    __ne__ = __eq__

    def __bool__(self) -> NoReturn:
        __tracebackhide__ = True
        raise TypeError(f"{self.name} is an estimate, always true: compare it with a number")

    def _above(self, number: float, sign: str) -> bool:
        __tracebackhide__ = True
        _check_number(self.name, number)
        low, high = self._bounds(sign, number)
        if high is not None and high < number:
            return self._failed(sign, number)
        return (low is not None and low >= number) or self._undecided(sign, number)

    def _below(self, number: float, sign: str) -> bool:
        __tracebackhide__ = True
        _check_number(self.name, number)
        low, high = self._bounds(sign, number)
        if low is not None and low > number:
            return self._failed(sign, number)
        return (high is not None and high <= number) or self._undecided(sign, number)

    def _alpha(self, sign: str, number: float) -> float:
        return self._judgement.alpha(f"{self.name} {sign} {number!r}")

    def _bounds(self, sign: str, number: float) -> tuple[float | None, float | None]:
        """One-sided bounds, each wrong with probability α at most."""
        estimate = self._at_level(1 - 2 * self._alpha(sign, number))
        return estimate.low, estimate.high

    def _failed(self, sign: str, number: float) -> bool:
        __tracebackhide__ = True
        self._judgement.failed(f"{self.name} {sign} {number:g}: {self}")
        return False

    def _undecided(self, sign: str, number: float) -> bool:
        __tracebackhide__ = True
        at_alpha = "".join(f", {text}" for text in self._at_alpha(sign, number))
        missing = "".join(f"; {text}" for text in self._wanted(sign, number))
        text = f"{self.name} {sign} {number:g}: {self}{at_alpha}{missing}"
        return self._judgement.undecided(text)

    def explain(self, sign: str, number: float) -> list[str]:
        """Lines for the message of a failed assert."""
        lines = [f"{self.name} {sign} {number:g}: measured {self.value:.3f}", str(self)]
        lines += [*self._at_alpha(sign, number), *self._wanted(sign, number)]
        lines += self._explain().splitlines()
        return [lines[0], *(f"  {line}" for line in lines[1:])]

    def _at_alpha(self, sign: str, number: float) -> Iterator[str]:
        """The interval that the assert is decided by: at its own level it is the wider one."""
        low, high = self._bounds(sign, number)
        if low is not None and high is not None:
            alpha = self._alpha(sign, number)
            yield f"at this assert's α = {alpha:.2g} it lies in [{low:.3f}, {high:.3f}]"

    def _wanted(self, sign: str, number: float) -> Iterator[str]:
        """How much more would decide it."""
        missing = self.samples_missing(sign, number)
        if missing is not None:
            of_run = self.name in METRICS and METRICS[self.name].scope == "run"
            unit = "more round" if of_run else "more sample"
            yield f"about {count_of(about(missing), unit)} like these would settle it"

    def samples_missing(self, sign: str, number: float) -> int | None:
        """How many more units would move the bound past ``number``; None where it is decided or
        no number would do."""
        low, high = self._bounds(sign, number)
        gap = abs(self.value - number)
        if low is None or high is None or not low < number <= high or not gap:
            return None
        half = (high - low) / 2
        return max(1, math.ceil(self.n * ((half / gap) ** 2 - 1)))


def _check_number(name: str, number: object) -> None:
    __tracebackhide__ = True
    if isinstance(number, Measured):
        raise TypeError(
            f"{name} is compared with another estimate; for two runs use "
            "speed.assert_no_regression(), which pairs them sample by sample"
        )
    if not isinstance(number, Real) or math.isnan(number):
        raise TypeError(f"{name} is compared with {number!r}; give a number")
