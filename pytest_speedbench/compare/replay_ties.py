"""Where a build differs from the baseline's text: numerical ties, or tokens that are wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from pytest_speedbench.baselines.records import decode_replay
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.degeneration import METRIC
from pytest_speedbench.compare.lossless import (
    ASSUMED_MAGNITUDE,
    Divergence,
    Judged,
    Score,
    Tolerance,
    judge,
)
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.replay import outputs_of
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.errors import RecordError
from pytest_speedbench.measure.replayed import Replay, ReplayDivergence, ReplayedTurn, WrongToken
from pytest_speedbench.measure.results import RunSetting
from pytest_speedbench.stats.ties import STATED_DEFECTS, defects_p_value, ulp

# Asking for one takes a forward pass over the whole text.
MOST_SCORED = 100
_NUMERICS = ("quantization", "kv_cache_dtype")
_MOST_NAMED = 3


def other_numerics(baseline: Record, setting: RunSetting) -> str:
    """Which type the two builds do not compute in alike, so that a tie of the one need not be one
    of the other; empty where there is none."""
    there, here = baseline.engine, setting.engine
    found: dict[str, tuple[object, object]] = {"dtype": (there.dtype, here.dtype)}
    found |= {name: (there.details.get(name), here.details.get(name)) for name in _NUMERICS}
    differ = [f"{name} {old} there, {new} here" for name, (old, new) in found.items() if old != new]
    return ", ".join(differ)


def scored(replay: Replay, score: Score, allowed: Tolerance) -> Replay:
    """``replay`` with the divergences that the target calls no ties, as in ``assert_lossless``.

    At most :data:`MOST_SCORED` are asked about, and none where one of the outputs had ended.

    Raises:
        EngineError: the target answers with NaN.
    """
    turns, left = {}, MOST_SCORED
    for key, turn in replay.turns.items():
        asked = [d for d in turn.divergences if None not in (d.token, d.expected)][:left]
        left -= len(asked)
        judged = [judge(_question(key, d), score, allowed) for d in asked]
        wrong = [found for one in judged if (found := _wrong(one, allowed)) is not None]
        turns[key] = replace(
            turn,
            divergences=(),
            scored=len(asked),
            defects=tuple(one.divergence.position for one in judged if not one.tie),
            wrong=tuple(wrong),
        )
    return replace(replay, turns=turns)


def _question(key: tuple[str, int], found: ReplayDivergence) -> Divergence:
    sample, turn = key
    text = tuple(found.text)
    return Divergence(sample, turn, found.position, text, (), found.token, found.expected)


def _wrong(judged: Judged, allowed: Tolerance) -> WrongToken | None:
    """The new build's token, where the target itself would not have chosen it."""
    divergence, score = judged.divergence, judged.score
    assert score is not None
    assert divergence.speculative is not None
    assert divergence.plain is not None
    own, others = (score.logprobs[t] for t in (divergence.speculative, divergence.plain))
    gap = max(score.top_logprob, own, others) - own
    if gap <= judged.tolerance:
        return None
    return WrongToken(
        position=divergence.position,
        token=divergence.speculative,
        expected=divergence.plain,
        probability=math.exp(own),
        expected_probability=math.exp(others),
        ulps=gap / ulp(judged.magnitude or ASSUMED_MAGNITUDE, allowed.dtype),
    )


def wrong_tokens(case: str, new: Record, match: Match, alpha: float) -> Verdict | None:
    """*Fail* where more samples have a token that their own target would not choose than a healthy
    build's; None where that is not shown, and where ``new`` did not follow this baseline.

    Raises nothing: a damaged record gives no verdict here, and *incomparable* where AL is gated.

    Args:
        case: the key of the case.
        new: the record under test.
        match: its baseline.
        alpha: bound on the probability of a false *fail*.
    """
    if match.record is None or match.incomparable:
        return None
    try:
        replayed = decode_replay(new)
        if not any(turn.wrong for turn in replayed.values()):
            return None
        outputs = {key: output.along for key, output in outputs_of(match.record).items()}
        turns = {k: t for k, t in replayed.items() if outputs.get(k) == t.along}
    except RecordError:
        return None
    asked = {sample for (sample, _), turn in turns.items() if turn.scored}
    found = {key: turn for key, turn in turns.items() if turn.wrong}
    defective = {sample for sample, _ in found}
    p_value = defects_p_value(len(defective), len(asked))
    if p_value >= alpha:
        return None
    reason = (
        f"{len(defective)} of {len(asked)} samples that diverge from the baseline's text have a "
        f"token that the target without SD would not choose, more than {STATED_DEFECTS:.0%} "
        f"(p = {p_value:.1g}, α = {alpha:.2g}): {_named(found)}; the check for it: "
        "speed.assert_lossless()"
    )
    baseline = str(match.run) if match.run else ""
    return Verdict(case, METRIC, Outcome.FAIL, reason, baseline=baseline, alpha=alpha)


def _named(found: Mapping[tuple[str, int], ReplayedTurn]) -> str:
    """The first wrong token of some samples."""
    first = [(sample, turn, min(t.wrong, key=_position)) for (sample, turn), t in found.items()]
    named = [
        f"sample {sample!r}, turn {turn}, output token {wrong.position}: id {wrong.token} "
        f"(probability {wrong.probability:.2g}) where the baseline has id {wrong.expected} "
        f"({wrong.expected_probability:.2g}), {wrong.ulps:.3g} ulps below the best"
        for sample, turn, wrong in first[:_MOST_NAMED]
    ]
    more = len(first) - _MOST_NAMED
    return "; ".join([*named, *([f"and {more} more outputs"] if more > 0 else [])])


def _position(wrong: WrongToken) -> int:
    return wrong.position
