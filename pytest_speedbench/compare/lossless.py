"""Greedy output with speculation against greedy output without: equal, tied, or defective.

Two correct runs of one model may diverge where two tokens are so nearly equal that another order of
additions decides between them. At the first token that differs, the target itself is asked: both
tokens within the tolerance of its best one is a tie, anything else is a defect.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from pytest_speedbench.engines.protocol import TokenScore, Trace
from pytest_speedbench.errors import EngineError, NoData, UsageError
from pytest_speedbench.measure.results import Turn
from pytest_speedbench.stats.ties import (
    DEFAULT_ULPS,
    FRACTION_BITS,
    Dtype,
    RateComparison,
    calibrated_ulps,
    tolerance,
)

# In units in the last place of the logits. Half precision is summed in single precision and rounded
# now and then, so a few units are much; single precision is summed in itself, over thousands of
# terms, and loses more.
ULPS: dict[Dtype, float] = {"bfloat16": DEFAULT_ULPS, "float16": DEFAULT_ULPS, "float32": 64.0}
# For engines that report log-probabilities but no logits: the usual size of a chosen token's.
ASSUMED_MAGNITUDE = 20.0
# A wrong token in a run without SD must not teach the gate to accept wrong tokens.
MOST_CALIBRATED = 4.0
# Asking for one takes a forward pass over the whole text; this many show what is usual.
MOST_CALIBRATING = 100

Score = Callable[[Sequence[int], Sequence[int]], TokenScore]
"""(text so far, candidates) → their log-probabilities by the target without speculation."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where two outputs of one prompt diverge. A token is None where that output has ended."""

    sample: str
    turn: int
    position: int
    prompt: tuple[int, ...]
    shared: tuple[int, ...]
    speculative: int | None
    plain: int | None


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The gap (nats) up to which two tokens are a tie: ``nats``, or so many ulps of ``dtype`` at
    the logits' magnitude. ``source`` says where it comes from."""

    dtype: Dtype
    ulps: float
    source: str
    nats: float | None = None

    def at(self, magnitude: float | None) -> float:
        if self.nats is not None:
            return self.nats
        return tolerance(magnitude or ASSUMED_MAGNITUDE, self.dtype, self.ulps)

    def describe(self, magnitude: float | None) -> str:
        """The tolerance at ``magnitude``, and how it came about."""
        if self.nats is not None:
            return f"{self.nats:.3g} nats, {self.source}"
        size = "an assumed " if not magnitude else ""
        size += f"{magnitude or ASSUMED_MAGNITUDE:.3g}"
        return (
            f"{self.at(magnitude):.3g} nats: {self.ulps:.3g} ulps of {self.dtype} at logits of "
            f"{size}, {self.source}"
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """A divergence and how the target scores it. ``gap`` is in nats, between the target's best
    token and the less likely of the two; infinite where one output just ended."""

    divergence: Divergence
    gap: float
    tolerance: float
    score: TokenScore | None

    @property
    def tie(self) -> bool:
        return self.gap <= self.tolerance

    @property
    def magnitude(self) -> float | None:
        return self.score.magnitude if self.score else None


@dataclass(frozen=True, slots=True)
class Losslessness:
    """What a comparison of outputs has found.

    Attributes:
        compared: outputs that had the same prompt in both arms.
        skipped: later turns whose history differed, so that they say nothing.
        ties, defects: the divergences, judged.
        tolerance: what a tie is.
        healthy: this run's rate of ties against that of two runs without SD; None without those.
    """

    compared: int
    skipped: int
    ties: tuple[Judged, ...]
    defects: tuple[Judged, ...]
    tolerance: Tolerance
    healthy: RateComparison | None = None

    @property
    def equal(self) -> int:
        return self.compared - len(self.ties) - len(self.defects)


def known_dtype(name: str) -> Dtype:
    """The engine's dtype; bfloat16, the coarsest, where its rounding is not known."""
    return cast("Dtype", name) if name in FRACTION_BITS else "bfloat16"


def default_tolerance(dtype_name: str) -> Tolerance:
    dtype = known_dtype(dtype_name)
    unknown = f" (the engine's dtype is {dtype_name!r})" if dtype != dtype_name else ""
    return Tolerance(dtype, ULPS[dtype], f"the default of this dtype{unknown}")


def given_tolerance(nats: object, dtype_name: str) -> Tolerance:
    """A tolerance that the caller has named.

    Raises:
        UsageError: not a number >= 0.
    """
    __tracebackhide__ = True
    if (
        isinstance(nats, bool)
        or not isinstance(nats, int | float)
        or not (nats >= 0 and math.isfinite(nats))
    ):
        raise UsageError(f"tolerance={nats!r}: expected nats, a number >= 0, such as 0.05")
    return Tolerance(known_dtype(dtype_name), 0.0, "as asked", float(nats))


def first_difference(left: Sequence[int], right: Sequence[int]) -> int | None:
    """The first position at which two outputs differ; one that goes on differs where the other
    ends. None for equal ones."""
    for position, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return position
    return None if len(left) == len(right) else min(len(left), len(right))


def pair_turns(
    with_sd: Sequence[Turn], plain: Sequence[Turn]
) -> tuple[list[tuple[Turn, Turn]], int]:
    """(with SD, without) for every turn whose history is the same in both, and how many are not."""
    others = {(turn.sample, turn.turn): turn for turn in plain}
    pairs, skipped = [], 0
    for turn in sorted(with_sd, key=lambda t: t.turn):
        other = others.get((turn.sample, turn.turn))
        if other is None or list(turn.prompt_ids) != list(other.prompt_ids):
            skipped += 1
        else:
            pairs.append((turn, other))
    return pairs, skipped


def find_divergences(
    pairs: Iterable[tuple[Turn, Turn]], stop_ids: Sequence[int] = ()
) -> list[Divergence]:
    """Where the outputs of each pair diverge; equal ones are left out."""
    found = []
    for turn, other in pairs:
        ours, theirs = _output(turn.trace, stop_ids), _output(other.trace, stop_ids)
        at = first_difference(ours, theirs)
        if at is None:
            continue
        found.append(
            Divergence(
                sample=turn.sample,
                turn=turn.turn,
                position=at,
                prompt=tuple(turn.prompt_ids),
                shared=tuple(ours[:at]),
                speculative=ours[at] if at < len(ours) else None,
                plain=theirs[at] if at < len(theirs) else None,
            )
        )
    return found


def _output(trace: Trace, stop_ids: Sequence[int]) -> Sequence[int]:
    """The output with its stop token, also where the engine leaves that out."""
    ids = trace.token_ids
    if trace.finish_reason == "stop" and stop_ids and (not ids or ids[-1] not in stop_ids):
        return [*ids, stop_ids[0]]
    return ids


def judge(divergence: Divergence, score: Score, allowed: Tolerance) -> Judged:
    """Asks the target about both tokens.

    Raises:
        EngineError: it answers with NaN.
    """
    if divergence.speculative is None or divergence.plain is None:
        return Judged(divergence, math.inf, allowed.at(None), None)
    reported = score(
        (*divergence.prompt, *divergence.shared), (divergence.speculative, divergence.plain)
    )
    logprobs = (reported.logprobs[divergence.speculative], reported.logprobs[divergence.plain])
    gap = max(reported.top_logprob, *logprobs) - min(logprobs)
    if math.isnan(gap):
        raise EngineError(
            f"sample {divergence.sample!r}, position {divergence.position}: the engine without SD "
            f"scores with {logprobs}, best {reported.top_logprob}; are its weights damaged?"
        )
    return Judged(divergence, gap, allowed.at(reported.magnitude), reported)


@dataclass(frozen=True, slots=True)
class Healthy:
    """Two runs without SD at different BS: how often they diverge, and by what gaps (nats)."""

    batch_sizes: tuple[int, int]
    outputs: int
    divergences: int
    gaps: tuple[float, ...]
    magnitudes: tuple[float, ...]


def compare_plain(
    batch_sizes: tuple[int, int],
    one: Sequence[Turn],
    other: Sequence[Turn],
    score: Score,
    stop_ids: Sequence[int],
) -> Healthy | None:
    """What two runs without SD show; None where they share no prompt."""
    pairs, _ = pair_turns(one, other)
    if not pairs:
        return None
    divergences = find_divergences(pairs, stop_ids)
    unused = Tolerance("bfloat16", 0.0, "", 0.0)  # only the gaps are read
    judged = [judge(divergence, score, unused) for divergence in divergences[:MOST_CALIBRATING]]
    reported = [j for j in judged if math.isfinite(j.gap)]
    return Healthy(
        batch_sizes,
        len(pairs),
        len(divergences),
        tuple(j.gap for j in reported),
        tuple(j.magnitude or ASSUMED_MAGNITUDE for j in reported),
    )


def calibrated(default: Tolerance, healthy: Healthy) -> Tolerance:
    """The tolerance that covers what two healthy runs show: at least the default, at most 4 times
    it."""
    own, other = healthy.batch_sizes
    where = f"{healthy.outputs} outputs without SD at BS {own} and BS {other}"
    try:
        ulps = calibrated_ulps(healthy.gaps, healthy.magnitudes, default.dtype, default.ulps)
    except NoData:
        return Tolerance(default.dtype, default.ulps, f"{default.source}; {where} are equal")
    most = MOST_CALIBRATED * default.ulps
    if ulps > most:
        return Tolerance(
            default.dtype,
            most,
            f"the most that calibration allows; {where} differ by up to {ulps:.3g} ulps",
        )
    return Tolerance(default.dtype, ulps, f"calibrated on {where}")
