"""Log-probabilities of the target without speculation, which decide what a divergence is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.lossless import (
    Healthy,
    Score,
    calibrated,
    compare_plain,
    default_tolerance,
)
from pytest_speedbench.compare.replay_ties import other_numerics, scored
from pytest_speedbench.engines.protocol import Engine, TokenScore
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.measure.run import Run
from pytest_speedbench.plan.cases import RunKey
from pytest_speedbench.session.bench import Bench


@dataclass
class TargetScores:
    """Scores of the engines without speculation in this session; nothing is asked twice."""

    bench: Bench
    _scores: dict[object, TokenScore] = field(default_factory=dict)
    _healthy: dict[tuple[RunKey, int], Healthy | None] = field(default_factory=dict)

    @contextmanager
    def scores(self, run: RunKey) -> Iterator[Score]:
        """The engine without speculation, as a function of text and candidates."""
        base = run.base()
        with self._target(run) as engine:

            def score(text: Sequence[int], candidates: Sequence[int]) -> TokenScore:
                key = (base.engine, base.model, tuple(text), tuple(candidates))
                if key not in self._scores:
                    self._scores[key] = engine.score(text, len(text), candidates)
                return self._scores[key]

            yield score

    @contextmanager
    def _target(self, run: RunKey) -> Iterator[Engine]:
        """The engine without speculation, up for as long as tests of its runs are left.

        Where the plan has closed it for lack of memory, it is started in the place of all others,
        and closed again.
        """
        bench, config = self.bench, self.bench.inputs.config(run.base())
        reopened = not bench.pool.running(config)
        if reopened:
            bench.show(f"starting {run.engine} without SD")
            bench.pool.close_all()
        try:
            with bench.pool.asking([config]):
                yield bench.engine(run.base())
        finally:
            if reopened:
                bench.pool.close(config)

    def score_replay(self, run: RunKey, measured: Run, baseline: Record | None) -> None:
        """Asks the target about the tokens at which ``measured`` differs from its baseline's text;
        or keeps why it was not asked."""
        replay = measured.replay
        if replay is None or not any(turn.divergences for turn in replay.turns.values()):
            return
        reason = self._not_scored(run, measured, baseline)
        if reason:
            measured.replay = replace(replay, unscored=reason)
            return
        allowed = default_tolerance(measured.setting.engine.dtype)
        with self.scores(run) as score:
            healthy = self.healthy(run, score, self.bench.inputs.tokenizer(run).stop_ids)
            allowed = calibrated(allowed, healthy) if healthy else allowed
            measured.replay = scored(replay, score, allowed)

    def _not_scored(self, run: RunKey, measured: Run, baseline: Record | None) -> str:
        """Why the target is not asked: only its engine without SD is, where that is up."""
        if not can_score(run, measured):
            return f"engine {run.engine} reports no log-probabilities"
        up = self.bench.pool.running(self.bench.inputs.config(run.base()))
        if measured.reference is None or not up:
            return "there is no engine without SD (--speed-rounds)"
        if baseline is None:
            return "the dtypes of the baseline are unknown"
        return other_numerics(baseline, measured.setting)

    def healthy(self, run: RunKey, score: Score, stop_ids: Sequence[int]) -> Healthy | None:
        """The run without SD against another one of the nearest other BS; None without such."""
        arms = self.bench.plain_arms(run)
        own = arms.pop(run.bs, None)
        if own is None or not arms:
            return None
        other = min(arms, key=lambda bs: abs(bs - run.bs))
        key = (run.base(), other)
        if key not in self._healthy:
            self._healthy[key] = compare_plain(
                (run.bs, other), own.turns, arms[other].turns, score, stop_ids
            )
        return self._healthy[key]


def can_score(run: RunKey, measured: Run) -> bool:
    """Whether the engine reports log-probabilities of given tokens."""
    own = measured.setting.engine.scores
    return engine_type(run.engine).scores if own is None else own
