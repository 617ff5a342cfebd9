"""What a gate promises, and what it knows of the baseline before the new run starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.betting import Bets, bet_ladder
from pytest_speedbench.stats.data import RequestTrace, clusters, steps_of
from pytest_speedbench.stats.pairing import Evidence

# Losses come in whole steps: however small the margin, one sample may lose several by chance.
FEWEST_STEPS = 8.0
REACH = 0.12


@dataclass(frozen=True, slots=True)
class Rule:
    """Margin and error rates of one comparison.

    Attributes:
        margin: δ, the loss of AL that is still accepted, 0 < δ < 1.
        alpha: bound on P(false pass) of this case; not divided over a session.
        fail_alpha: bound on P(false fail), and on P(false improved): this case's part of the
            session's α, see `divide_alpha`. None: `alpha`.
        reach: the smallest share of samples that a loss as large as the margin is taken to spread
            over: no one sample has more than 1/reach times its share of it. 0 assumes nothing and
            needs more samples (docs/gate-statistics.md has both figures).
        prefix_share: part of each α for the common prefix; the rest is the whole outputs'.
            Bets pay for a smaller share only by ln(1/share), and the prefix is the sharper by far.
        healthy_parting: share of outputs that part between healthy runs, where known.
        min_coverage: below this share of tokens the prefix alone cannot give a pass.
        min_clusters: fewer samples give no verdict.

    Raises:
        ValueError: a value outside its range, naming what is allowed.
    """

    margin: float
    alpha: float = 0.01
    fail_alpha: float | None = None
    reach: float = REACH
    prefix_share: float = 0.9
    healthy_parting: float | None = None
    min_coverage: float = 0.3
    min_clusters: int = 8

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 < self.margin < 1:
            raise ValueError(
                f"margin must lie between 0 and 100 %, both excluded, got {self.margin!r}:"
                " no sample shows a loss of exactly nothing, and no acceptance length falls by"
                " all of it; 0.02 (2 %) is usual"
            )
        for name in ("alpha", "fail_alpha", "prefix_share"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value!r}")
        for name in ("reach", "healthy_parting", "min_coverage"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in 0 … 1, got {value!r}")

    @property
    def fail_level(self) -> float:
        """`fail_alpha`, or `alpha` where none is set."""
        return self.alpha if self.fail_alpha is None else self.fail_alpha


@dataclass(frozen=True, slots=True)
class Scale:
    """What the baseline says about the size of one sample, before anything new is run.

    Attributes:
        al: micro AL over the slice, tokens per step.
        steps: mean decoding steps of a sample.
        max_extra: most steps a sample can gain, where every draft is rejected.
        max_steps: most steps of a sample, and so the most it can save.
    """

    al: float
    steps: float
    max_extra: float
    max_steps: float


def scale_of(baseline: Sequence[RequestTrace]) -> Scale:
    """Scale from the baseline's traces of the slice.

    Raises:
        NoData: no decoding step, or an engine that does not tell how many there were.
    """
    groups = clusters(baseline).values()
    tokens = [sum(trace.decode_tokens for trace in turns) for turns in groups]
    steps = [sum(map(steps_of, turns)) for turns in groups]
    if not sum(steps):
        raise NoData("the baseline has no decoding step")
    extra = max(t - d for t, d in zip(tokens, steps, strict=True))
    return Scale(sum(tokens) / sum(steps), sum(steps) / len(steps), max(1, extra), max(steps))


def bets_of(rule: Rule, scale: Scale, evidence: Evidence, *, against_loss: bool) -> Bets:
    """The bets for one direction, fixed before the first sample.

    `against_loss` bets that AL has not fallen (pass, improved): what can ruin it is a sample that
    lost much, so the largest loss bounds the stakes. The other direction is bounded by the largest
    gain.
    """
    limit = scale.max_extra if against_loss else scale.max_steps
    if evidence != "prefix":
        # Lengths differ: a whole output can add or lack its own size on either side.
        limit = scale.max_extra + scale.max_steps
    if rule.reach == 0:
        return bet_ladder(limit, limit, 1.0)
    first = min(limit, max(FEWEST_STEPS, rule.margin * scale.steps / rule.reach))
    return bet_ladder(first, limit, 0.3 if evidence == "prefix" else 1.0)
