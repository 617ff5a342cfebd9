"""Which draft length is fastest at a batch size, and what one run predicts for the others.

The expected tokens of a step follow from acceptance by position (Leviathan et al. 2023, Fast
Inference from Transformers via Speculative Decoding, eq. 1, with a probability of its own for each
position); the cost of a step is taken as linear in the draft length between no speculation and the
measured length.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.delta import t_quantile
from pytest_speedbench.stats.speed import MIN_ROUNDS

LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class BestDraftLength:
    """The fastest draft length, and those that tie with it.

    ``3 in best`` is true where DL 3 is among ``candidates``.

    Attributes:
        value: the draft length with the highest speedup, 0 where none is faster than no SD.
        candidates: ascending; with ``value``, every draft length that is not shown to be slower at
            95%, all comparisons together. 0 stands for no SD.
        speedup: by draft length, geometric mean over rounds against no SD.
        rounds: rounds that the comparison rests on; below 3 nothing is shown to be slower.
    """

    value: int
    candidates: tuple[int, ...]
    speedup: Mapping[int, float]
    rounds: int

    def __contains__(self, draft_length: object) -> bool:
        return draft_length in self.candidates

    def __str__(self) -> str:
        rivals = [_named(dl) for dl in self.candidates if dl != self.value]
        if not rivals:
            return _named(self.value)
        return f"{_named(self.value)}, tied with {', '.join(rivals)}"


@dataclass(frozen=True, slots=True)
class Arm:
    """One draft length as it was measured: output tokens per second of each round.

    Attributes:
        tps: shape (rounds,), with this draft length.
        plain: shape (rounds,), without SD, in the same rounds.
        alternated: whether the two took turns.
    """

    tps: tuple[float, ...]
    plain: tuple[float, ...]
    alternated: bool = True


def best_of_arms(arms: Mapping[int, Arm]) -> BestDraftLength:
    """The best of some draft lengths and no SD.

    Lengths that took turns on the same rounds without SD are paired by round; others are not, and
    then none is shown to be slower.

    Raises:
        NoData: no draft length was timed.
    """
    if not arms:
        raise NoData("no draft length was timed")
    plain = [arm.plain for arm in arms.values()]
    paired = all(arm.alternated for arm in arms.values()) and len(set(plain)) == 1
    tps: dict[int, Sequence[float]] = {dl: arm.tps for dl, arm in arms.items()}
    if all(plain):
        tps[0] = [sum(values) / len(values) for values in zip(*plain, strict=False)]
    rounds = min(map(len, tps.values()))
    return best_draft_length({dl: values[:rounds] for dl, values in tps.items()}, paired=paired)


def best_draft_length(
    tps: Mapping[int, Sequence[float]], *, paired: bool = True
) -> BestDraftLength:
    """Compare draft lengths by round; the best is paired with each other one.

    Args:
        tps: output tokens per second of each round, by draft length; 0 is the arm without SD.
        paired: round k of all lengths belongs together (the arms took turns); otherwise nothing is
            shown to be slower.

    Raises:
        NoData: fewer than two draft lengths, or one without rounds.
        ValueError: lengths of unequal numbers of rounds, or a value that is not positive.
    """
    if len(tps) < 2:
        raise NoData("a best draft length needs at least two, no SD (0) among them")
    logs = {dl: _logs(dl, values) for dl, values in tps.items()}
    rounds = {len(values) for values in logs.values()}
    if len(rounds) > 1:
        raise ValueError(f"draft lengths have different numbers of rounds: {sorted(rounds)}")
    (n,) = rounds
    means = {dl: float(values.mean()) for dl, values in logs.items()}
    best = max(means, key=lambda dl: (means[dl], -dl))
    others = [dl for dl in logs if dl != best]
    # Bonferroni over the comparisons with the best, one-sided.
    level = 1 - 2 * (1 - LEVEL) / len(others)
    rivals = [
        dl for dl in others if not (paired and n >= MIN_ROUNDS and _slower(logs, best, dl, level))
    ]
    base = means.get(0)
    speedup = {dl: math.exp(mean - base) for dl, mean in means.items()} if base is not None else {}
    return BestDraftLength(best, tuple(sorted([best, *rivals])), speedup, n)


def _named(draft_length: int) -> str:
    return f"DL {draft_length}" if draft_length else "no SD"


def _logs(dl: int, values: Sequence[float]) -> Floats:
    if not len(values):
        raise NoData(f"draft length {dl}: no round was timed")
    if not all(value > 0 and math.isfinite(value) for value in values):
        raise ValueError(f"draft length {dl}: tokens per second must be positive and finite")
    return np.log(np.asarray(values, dtype=np.float64))


def _slower(
    logs: Mapping[int, np.ndarray[tuple[int], np.dtype[np.float64]]],
    best: int,
    dl: int,
    level: float,
) -> bool:
    """Whether ``dl`` is shown to be slower than ``best``."""
    gains = logs[best] - logs[dl]
    error = float(gains.std(ddof=1)) / math.sqrt(len(gains))
    return bool(gains.mean() - t_quantile(level, len(gains) - 1) * error > 0)


def predicted_al(acceptance: Sequence[float | None], draft_length: int) -> float:
    """AL at a shorter draft length: 1 + the sum over k of the product of acceptance up to k.

    Args:
        acceptance: P(token k accepted | k - 1 accepted) for k = 1 … the measured draft length; None
            for a position that no draft reached.
        draft_length: 0 … the measured one.

    Raises:
        ValueError: longer than the measured draft length.
    """
    if not 0 <= draft_length <= len(acceptance):
        raise ValueError(
            f"acceptance is known up to position {len(acceptance)}, not {draft_length}"
        )
    total, reach = 1.0, 1.0
    for probability in acceptance[:draft_length]:
        reach *= probability or 0.0
        total += reach
    return total


def predicted_speedup(
    acceptance: Sequence[float | None],
    draft_length: int,
    step_ratio: float,
    *,
    drafting: float = 1.0,
    scheduling: float = 1.0,
) -> float:
    """Speedup at a shorter draft length, from one run at the longest.

    Args:
        acceptance: as for :func:`predicted_al`; its length is the measured draft length.
        draft_length: at least 1.
        step_ratio: step time at the measured draft length over that without SD.
        drafting: share of the steps that have a draft, 1 for methods that always draft.
        scheduling: measured speedup over AL / step_ratio at the longest draft length: what AL and
            step time do not explain.

    Raises:
        ValueError: longer than the measured draft length.
    """
    al = drafting * predicted_al(acceptance, draft_length) + 1 - drafting
    cost = 1 + (step_ratio - 1) * draft_length / len(acceptance)
    return scheduling * al / cost
