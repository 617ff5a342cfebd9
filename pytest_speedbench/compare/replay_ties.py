"""Where a build differs from the baseline's text: numerical ties, or tokens that are wrong."""

from __future__ import annotations

from dataclasses import replace

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.lossless import Divergence, Score, Tolerance, judge
from pytest_speedbench.measure.results import Replay, ReplayDivergence, RunSetting

# Asking for one takes a forward pass over the whole text.
MOST_SCORED = 100
_NUMERICS = ("quantization", "kv_cache_dtype")


def other_numerics(baseline: Record, setting: RunSetting) -> bool:
    """Whether the two builds compute in different types, so that a tie of the one need not be one
    of the other."""
    there, here = baseline.engine, setting.engine
    return there.dtype != here.dtype or any(
        there.details.get(name) != here.details.get(name) for name in _NUMERICS
    )


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
        defects = [d.position for d in asked if not judge(_question(key, d), score, allowed).tie]
        turns[key] = replace(turn, divergences=(), scored=len(asked), defects=tuple(defects))
    return replace(replay, turns=turns)


def _question(key: tuple[str, int], found: ReplayDivergence) -> Divergence:
    sample, turn = key
    text = tuple(found.text)
    return Divergence(sample, turn, found.position, text, (), found.token, found.expected)
