"""Tokens drawn at a temperature with speculation, against the target's own probabilities.

Copies of one prompt that differ in their seed are draws from one distribution. The prefill's token
is drawn without a draft and says nothing, so the tokens looked at are those of the first two
verified positions, each among the copies that begin alike, with the most common beginning. At the
first, a draft is accepted or replaced; at the second, the next draft is, or the bonus token or a
new step takes its turn.

The tokens worth asking the target about are named by a quarter of the copies, the pilot, and by
draws of the engine without SD, which show what SD never draws. So the choice of cells does not
depend on the draws that are tested.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pytest_speedbench.compare.lossless import Score
from pytest_speedbench.engines.protocol import Sampling, TokenScore, Trace
from pytest_speedbench.errors import NoData
from pytest_speedbench.measure.check import align_drafts
from pytest_speedbench.stats.ties import MIN_EXPECTED, DistributionCheck, first_token_check

POSITIONS = 2
PILOT_SHARE = 0.25
MIN_COPIES = 32
_DRAWS = 100_000
_MOST_DRAWS = 1_000_000
_DRAWS_PER_REJECTION = 10
_MOST_NAMED = 0.999
# Nats, and shares: what two computations of the same log-probabilities may differ by.
_ROUNDING = 0.02

Draw = Callable[[Sequence[int]], Iterable[int]]
"""Next tokens after a text, drawn by the engine without SD."""


def _no_draws(text: Sequence[int]) -> Iterable[int]:
    return ()


@dataclass(frozen=True, slots=True)
class Drawn:
    """One position of one prompt: what was drawn, what was expected, and the verdict.

    ``beginning`` are the output tokens before it; ``tokens`` holds (token, times drawn, expected
    times), likeliest first.
    """

    sample: str
    beginning: tuple[int, ...]
    tokens: tuple[tuple[int, int, float], ...]
    check: DistributionCheck

    @property
    def position(self) -> int:
        return len(self.beginning)

    @property
    def informative(self) -> bool:
        """Whether another token than the likeliest was to be expected often enough to be missed."""
        return self.check.n - max(expected for _, _, expected in self.tokens) >= MIN_EXPECTED


def check_prompt(
    sample: str,
    prompt: Sequence[int],
    traces: Sequence[Trace],
    sampling: Sampling,
    score: Score,
    alpha: float,
    draw: Draw = _no_draws,
) -> list[Drawn]:
    """Tests both positions of one prompt, each at ``alpha``; those that say nothing are left out.

    A position says nothing where no step had a draft, or too few copies begin alike. Tokens that
    ``draw`` gives are expected too, though no copy has them.
    """
    found = []
    for offset in range(POSITIONS):
        position = traces[0].prefill_tokens + offset
        starts = Counter(tuple(t.token_ids[:position]) for t in traces if t.tokens > position)
        if not starts:
            continue
        beginning = starts.most_common(1)[0][0]
        alike = copies_with(traces, beginning)
        if _never_drafted(alike, position):
            continue
        drawn = check_beginning(sample, prompt, alike, beginning, sampling, score, alpha, draw)
        if drawn is not None:
            found.append(drawn)
    return found


def copies_with(traces: Sequence[Trace], beginning: tuple[int, ...]) -> list[Trace]:
    """The traces that continue ``beginning``."""
    n = len(beginning)
    return [t for t in traces if t.tokens > n and tuple(t.token_ids[:n]) == beginning]


def check_beginning(
    sample: str,
    prompt: Sequence[int],
    alike: Sequence[Trace],
    beginning: tuple[int, ...],
    sampling: Sampling,
    score: Score,
    alpha: float,
    draw: Draw = _no_draws,
) -> Drawn | None:
    """Tests the token that copies of the same ``beginning`` go on with; None if it says nothing."""
    if len(alike) < MIN_COPIES:
        return None
    position, pilot = len(beginning), math.ceil(PILOT_SHARE * len(alike))
    text = (*prompt, *beginning)
    asked = {trace.token_ids[position] for trace in alike[:pilot]}.union(draw(text))
    drawn = Counter(trace.token_ids[position] for trace in alike[pilot:])
    reported = score(text, sorted(asked))
    probabilities = as_sampled(reported, sampling)
    counts = dict(drawn)
    if not _all_known(sampling):
        counts = {token: count for token, count in drawn.items() if token in probabilities}
    try:
        check = first_token_check(counts, probabilities, level=1 - alpha, draws=draws_for(alpha))
    except NoData:
        return None
    rows = sorted(
        ((token, counts.get(token, 0), p * check.n) for token, p in probabilities.items()),
        key=lambda row: -max(row[1:]),
    )
    return Drawn(sample, beginning, tuple(rows), check)


def _never_drafted(traces: Sequence[Trace], position: int) -> bool:
    """Whether the engine reports that no step at ``position`` had a draft."""
    reported = []
    for trace in traces:
        drafts = align_drafts(trace)
        if drafts is None:
            return False
        reached, drafted = trace.prefill_tokens, 0
        for size, proposed in zip(trace.steps, drafts[0], strict=True):
            reached, drafted = reached + size, proposed
            if reached > position:
                break
        reported.append(drafted > 0)
    return not any(reported)


def as_sampled(reported: TokenScore, sampling: Sampling) -> dict[int, float]:
    """Probabilities of some tokens under temperature and filters.

    At temperature 1 without a filter they are the target's own, and what they leave over belongs to
    the tokens not named. Otherwise the sum over the vocabulary is unknown: then they are those
    among the named tokens alone, and sum to 1; a token that a filter leaves out has 0.
    """
    logprobs, temperature = reported.logprobs, sampling.temperature
    if _all_known(sampling):
        weights = {token: math.exp(value) for token, value in logprobs.items()}
        # Log-probabilities are rounded too: a little is always left to the tokens not named.
        excess = max(1.0, math.fsum(weights.values()) / _MOST_NAMED)
        return {token: weight / excess for token, weight in weights.items()}
    out = left_out(reported, sampling)
    most = max(logprobs.values())
    weights = {
        token: 0.0 if token in out else math.exp((value - most) / temperature)
        for token, value in logprobs.items()
    }
    total = math.fsum(weights.values())
    return {token: weight / total for token, weight in weights.items()} if total else weights


def _all_known(sampling: Sampling) -> bool:
    """Whether the target's probabilities are those that tokens are drawn with."""
    return sampling.temperature == 1.0 and not sampling.filters


def left_out(reported: TokenScore, sampling: Sampling) -> set[int]:
    """The named tokens that the filters leave out for certain, in whatever order they apply.

    Of the tokens not named only what is left of the probability is known. So ``top_k`` and
    ``top_p`` leave out what has too many, or too likely, named tokens before it. Above temperature
    1 the share of the others has no useful bound, and ``top_p`` leaves out nothing for certain.
    """
    named = sorted(reported.logprobs.items(), key=lambda item: -item[1])
    sharpness = 1.0 / sampling.temperature
    powers = {token: math.exp(value * sharpness) for token, value in named}
    unnamed = max(0.0, 1.0 - math.fsum(math.exp(value) for _, value in named))
    # No other token has a larger power than its probability times this, at temperatures up to 1.
    largest = math.exp(reported.top_logprob * (sharpness - 1.0))
    total = math.fsum(powers.values()) + unnamed * largest
    out = set()
    for token, value in named:
        before = [other for other, theirs in named if theirs > value + _ROUNDING]
        mass = math.fsum(powers[other] for other in before) / total
        ratio = math.exp((value - reported.top_logprob) * sharpness)
        if (
            (sampling.top_k and len(before) >= sampling.top_k)
            or (sampling.temperature <= 1.0 and mass > sampling.top_p + _ROUNDING)
            or ratio < sampling.min_p * (1.0 - _ROUNDING)
        ):
            out.add(token)
    return out


def draws_for(alpha: float) -> int:
    """Monte Carlo draws enough for a p-value well below ``alpha``."""
    return min(_MOST_DRAWS, max(_DRAWS, math.ceil(_DRAWS_PER_REJECTION / alpha)))
