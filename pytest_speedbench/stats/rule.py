"""What a gate promises."""

from __future__ import annotations

from dataclasses import dataclass

REACH = 0.12
SHARED = 0.9
# Part of a false fail's α for wrong tokens, where a text is replayed: half of what whole outputs
# have elsewhere.
DEFECTS_PART = (1 - SHARED) / 2


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
        shared: part of each α for tokens that both runs share (common prefixes, replay) where they
            may give the verdict; the rest is for whole outputs. Bets pay for a smaller part only
            by its logarithm, and shared tokens are the sharper by far.
        healthy_divergence: share of outputs that diverge between healthy runs, where known; more
            than that withhold a pass by replay.
        min_coverage: below this share of tokens replay cannot give a pass.
        min_clusters: fewer samples give no verdict.

    Raises:
        ValueError: a value outside its range, naming what is allowed.
    """

    margin: float
    alpha: float = 0.01
    fail_alpha: float | None = None
    reach: float = REACH
    shared: float = SHARED
    healthy_divergence: float | None = None
    min_coverage: float = 0.9
    min_clusters: int = 8

    def __post_init__(self) -> None:
        """Check ranges."""
        if not 0 < self.margin < 1:
            raise ValueError(
                f"margin must lie between 0 and 100%, both excluded, got {self.margin!r}:"
                " no sample shows a loss of exactly nothing, and no acceptance length falls by"
                " all of it; 0.02 (2%) is usual"
            )
        for name in ("alpha", "fail_alpha", "shared"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value!r}")
        for name in ("reach", "healthy_divergence", "min_coverage"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in 0 … 1, got {value!r}")

    @property
    def fail_level(self) -> float:
        """`fail_alpha`, or `alpha` where none is set."""
        return self.alpha if self.fail_alpha is None else self.fail_alpha
