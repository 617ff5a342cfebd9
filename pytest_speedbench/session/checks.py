"""Checks of one case that need no baseline: is the output lossless, does a soak drift?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare import sampled_output as sampling
from pytest_speedbench.compare.cache_neutral import METRIC as CACHE_NEUTRAL
from pytest_speedbench.compare.cache_neutral import cache_neutral_verdict
from pytest_speedbench.compare.drift import METRIC as DRIFT
from pytest_speedbench.compare.drift import drift_verdict
from pytest_speedbench.compare.gate import Levels
from pytest_speedbench.compare.lossless import (
    Divergence,
    Healthy,
    Losslessness,
    Score,
    Tolerance,
    calibrated,
    compare_plain,
    default_tolerance,
    find_divergences,
    given_tolerance,
    judge,
    pair_turns,
)
from pytest_speedbench.compare.never_worse import METRIC as NEVER_WORSE
from pytest_speedbench.compare.never_worse import Pair, never_worse_verdict
from pytest_speedbench.compare.replay_ties import other_numerics, scored
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.engines.protocol import (
    Engine,
    Request,
    Speculation,
    TokenScore,
    Trace,
)
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.errors import EngineError, UsageError
from pytest_speedbench.measure.copies import seeded_copies
from pytest_speedbench.measure.results import ArmResult, Turn
from pytest_speedbench.measure.run import Run
from pytest_speedbench.plan.cases import Case, RunKey
from pytest_speedbench.report.lossless import (
    biased_text,
    defect_text,
    lossless_text,
    sampling_text,
)
from pytest_speedbench.session.bench import Bench
from pytest_speedbench.session.keys import key_of
from pytest_speedbench.session.pruning import PRUNING, PruningCheck, Settle
from pytest_speedbench.stats import AlphaSequence, NoData, compare_tie_rates, comparison
from pytest_speedbench.stats.draft_length import Arm, BestDraftLength, best_of_arms

LOSSLESS = "lossless"
# Outcomes of these say nothing of a comparison with a baseline.
OWN_METRICS = ("assert", LOSSLESS, DRIFT, PRUNING, f"{PRUNING}/*")

CheckResult = tuple[Verdict, str]
"""A verdict, and the message of the failure if it is one."""

PROMPTS = 4


@dataclass
class TargetBook:
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
            yield bench.engine(run.base())
        except EngineError:
            bench.pool.close(config)
            raise
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
        own = measured.setting.engine.scores
        if not (engine_type(run.engine).scores if own is None else own):
            return f"engine {run.engine} reports no log-probabilities"
        up = self.bench.pool.running(self.bench.inputs.config(run.base()))
        if measured.reference is None or not up:
            return "there is no engine without SD (--speed-rounds)"
        if baseline is None:
            return "the types that the baseline computes in are not known"
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


@dataclass
class CaseChecks:
    """The checks of one measured case. ``spending`` gives each its α."""

    book: TargetBook
    case: Case
    run: Run
    key: str
    spending: AlphaSequence
    settle: Settle
    pruning: PruningCheck
    checked_drift: bool = False

    @property
    def _alpha(self) -> float:
        """The α of the check for losslessness."""
        return self.spending.level(LOSSLESS)

    # -- draft length -----------------------------------------------------------------------

    def best_draft_length(self) -> BestDraftLength:
        """The best of the session's draft lengths that differ from the case in nothing else.

        Raises:
            NoData: nothing was timed, or a single draft length without the arm without SD.
        """
        bench, own = self.book.bench, self.case.run
        arms = {}
        for run in bench.inputs.plan:
            length = run.speculation.draft_length
            same = replace(run.speculation, draft_length=own.speculation.draft_length)
            if not length or replace(run, speculation=same) != own:
                continue
            measured = bench.run(run)
            plain = measured.reference.rounds if measured.reference else []
            arms[length] = Arm(
                tuple(r.output_tps for r in measured.arm.rounds),
                tuple(r.output_tps for r in plain),
                measured.arm.alternated,
            )
        return best_of_arms(arms)

    # -- losslessness -----------------------------------------------------------------------

    def lossless(self, tolerance: float | None, copies: int) -> None:
        """Raises GateFailure where the output is not the target's own.

        Raises:
            NoData: nothing to compare with.
            UsageError: a tolerance, or a number of copies, that cannot be used.
        """
        __tracebackhide__ = True
        if not isinstance(copies, int) or copies < sampling.MIN_COPIES:
            raise UsageError(f"copies={copies!r}: expected an integer >= {sampling.MIN_COPIES}")
        dtype = self.run.setting.engine.dtype
        allowed = given_tolerance(tolerance, dtype) if tolerance is not None else None
        reference = self._reference()
        if self.case.run.sampling.greedy:
            result = self._greedy(reference, allowed)
        else:
            result = self._sampled(copies)
        self.settle(*result)

    def _reference(self) -> ArmResult:
        __tracebackhide__ = True
        run = self.case.run
        if not run.speculation.active:
            raise NoData("a run without SD is its own reference: nothing to compare")
        if self.run.reference is not None:
            return self.run.reference
        why, fix = "--speed-rounds=0 leaves it out", "give --speed-rounds=1 or more"
        if run.soak:
            why, fix = "a soak measures one engine alone", "check it in a test without soak"
        elif self.run.arm.early is not None:
            why, fix = "--speed-early leaves it out", "leave --speed-early out"
        raise NoData(f"assert_lossless needs the arm without SD, and {why}: {fix}")

    def _greedy(self, reference: ArmResult, allowed: Tolerance | None) -> CheckResult:
        __tracebackhide__ = True
        turns = self.run.view(self.case.slice).turns
        samples = {turn.sample for turn in turns}
        pairs, skipped = pair_turns(turns, [t for t in reference.turns if t.sample in samples])
        if not pairs:
            raise NoData("no output with SD has the prompt of one without")
        if not all(turn.trace.ids_known for pair in pairs for turn in pair):
            return self._result(Outcome.UNDECIDED, self._texts_alone(pairs))
        stop_ids = self.book.bench.inputs.tokenizer(self.case.run).stop_ids
        divergences = find_divergences(pairs, stop_ids)
        if divergences and not self._can_score:
            reason = (
                f"{len(divergences)} of {len(pairs)} outputs diverge, and engine "
                f"{self.case.run.engine} reports no log-probabilities, so that ties and defects "
                "cannot be distinguished"
            )
            return self._result(Outcome.UNDECIDED, reason)
        found = self._judged(divergences, len(pairs), skipped, stop_ids, allowed)
        outcome = Outcome.PASS
        if found.healthy is not None and found.healthy.far_above:
            outcome = Outcome.UNDECIDED
        if found.defects:
            outcome = Outcome.FAIL
        return self._result(
            outcome, lossless_text(found), defect_text(self.key, found, self._decode)
        )

    def _texts_alone(self, pairs: Sequence[tuple[Turn, Turn]]) -> str:
        equal = sum(ours.trace.text == theirs.trace.text for ours, theirs in pairs)
        return (
            f"engine {self.case.run.engine} gives texts and no token ids: {equal} of {len(pairs)} "
            "are equal; whether tokens are, and where they diverge, is unknown"
        )

    @property
    def _can_score(self) -> bool:
        own = self.run.setting.engine.scores
        return engine_type(self.case.run.engine).scores if own is None else own

    def _result(self, outcome: Outcome, reason: str, text: str = "") -> CheckResult:
        return Verdict(self.key, LOSSLESS, outcome, reason), text

    def _judged(
        self,
        divergences: Sequence[Divergence],
        compared: int,
        skipped: int,
        stop_ids: Sequence[int],
        allowed: Tolerance | None,
    ) -> Losslessness:
        default = default_tolerance(self.run.setting.engine.dtype)
        if not divergences:  # no question, so no engine is needed
            return Losslessness(compared, skipped, (), (), allowed or default)
        with self.book.scores(self.case.run) as score:
            healthy = self.book.healthy(self.case.run, score, stop_ids)
            if allowed is None:
                allowed = calibrated(default, healthy) if healthy else default
            judged = [judge(divergence, score, allowed) for divergence in divergences]
        ties = tuple(j for j in judged if j.tie)
        rates = None
        if healthy is not None:
            rates = compare_tie_rates(
                len(ties), compared, healthy.divergences, healthy.outputs, 1 - self._alpha
            )
        defects = tuple(j for j in judged if not j.tie)
        return Losslessness(compared, skipped, ties, defects, allowed, rates)

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self.book.bench.inputs.tokenizer(self.case.run).decode(token_ids)

    # -- sampling ---------------------------------------------------------------------------

    def _sampled(self, copies: int) -> CheckResult:
        __tracebackhide__ = True
        run = self.case.run
        if not self._can_score:
            reason = f"engine {run.engine} reports no log-probabilities to compare draws with"
            return self._result(Outcome.UNDECIDED, reason)
        turns = [t for t in self.run.view(self.case.slice).turns if t.turn == 0][:PROMPTS]
        drawn = {turn.sample: self._copies(turn, run.speculation, 0, copies) for turn in turns}
        if not all(trace.ids_known for traces in drawn.values() for trace in traces):
            reason = f"engine {run.engine} gives texts and no token ids: no draws to compare"
            return self._result(Outcome.UNDECIDED, reason)
        alpha = self._alpha / (PROMPTS * sampling.POSITIONS)
        with self.book.scores(run) as score:
            found = [
                one
                for turn in turns
                for one in sampling.check_prompt(
                    turn.sample, turn.prompt_ids, drawn[turn.sample], run.sampling, score, alpha
                )
            ]
            rejected = [one for one in found if one.check.rejected]
            healthy = [self._without_sd(one, turns, copies, score, alpha) for one in rejected]
        if not rejected and not any(one.telling for one in found):
            reason = "no drafted position leaves two likely tokens: other samples, or more copies"
            return self._result(Outcome.UNDECIDED, reason)
        words = sampling_text(found, 1 - alpha)
        outcome = Outcome.FAIL if any(p > alpha for p in healthy) else Outcome.PASS
        if rejected and outcome is Outcome.PASS:
            outcome = Outcome.UNDECIDED
            words += "; the engine without SD is rejected as well, so SD is not what differs"
        return self._result(outcome, words, biased_text(self.key, rejected, healthy, self._decode))

    def _copies(
        self, turn: Turn, speculation: Speculation, first_seed: int, copies: int
    ) -> list[Trace]:
        """Short outputs of one prompt under many seeds, long enough for one whole draft."""
        bench, run = self.book.bench, self.case.run
        length = run.speculation.draft_length + sampling.POSITIONS + 1
        drawing = replace(run.sampling, max_tokens=length, min_tokens=0, ignore_eos=True)
        request = Request(
            f"copy/{turn.sample}/{speculation}",
            tuple(turn.prompt_ids),
            drawing,
            bench.inputs.tokenizer(run).stop_ids,
            speculation,
            turn.category,
        )
        arm = replace(run, speculation=speculation)
        seeds = range(first_seed, first_seed + copies)
        return seeded_copies(bench.engine(arm), request, seeds, run.bs)

    def _without_sd(
        self,
        drawn: sampling.Drawn,
        turns: Sequence[Turn],
        copies: int,
        score: Score,
        alpha: float,
    ) -> float:
        """The p-value of the same check without SD, on other seeds; 1 where it says nothing."""
        turn = next(turn for turn in turns if turn.sample == drawn.sample)
        traces = self._copies(turn, Speculation(), copies, copies)
        own = sampling.check_beginning(
            drawn.sample,
            turn.prompt_ids,
            sampling.copies_with(traces, drawn.beginning),
            drawn.beginning,
            self.case.run.sampling,
            score,
            alpha,
        )
        return own.check.p_value if own else 1.0

    # -- prefix cache -----------------------------------------------------------------------

    def cache_neutral(self, margin: float) -> None:
        """Raises GateFailure where AL falls by more than ``margin`` with a warm prefix cache.

        Raises:
            NoData: there was no pass without the cache.
        """
        __tracebackhide__ = True
        settings = self.book.bench.settings
        own = self.spending.level(comparison(CACHE_NEUTRAL, margin))
        levels = Levels(settings.alpha, own, settings.reach)
        run = self.run
        if run.cold is not None:
            run = replace(run, replay=self.book.bench.along_cold(self.case.run))
        self.settle(cache_neutral_verdict(key_of(self.case), run, self.case.slice, margin, levels))

    # -- speed against other draft lengths ---------------------------------------------------

    def never_worse(self, than: Sequence[str | int] | None, margin: float) -> None:
        """Raises GateFailure where the case is slower than one of ``than``.

        Raises:
            NoData: the arms cannot take turns.
            UsageError: an arm that cannot be.
        """
        __tracebackhide__ = True
        run = self.case.run
        if not run.speculation.active:
            raise NoData("a run without SD has no draft length to hold against others")
        args = [name for name, _ in self.book.bench.inputs.config(run).args]
        scheduled = any(name in args for name in engine_type(run.engine).schedules)
        default = ("none", run.speculation.draft_length) if scheduled else ("none",)
        pairs = {
            self._arm_name(name): self._turns(self._arm(name))
            for name in dict.fromkeys(than or default)
        }
        own = self.spending.level(comparison(NEVER_WORSE, margin))
        alpha = self.book.bench.settings.alpha
        self.settle(never_worse_verdict(self.key, pairs, margin, own, alpha))

    def _turns(self, arm: RunKey) -> Pair:
        """The arms of the run itself where it took turns with ``arm``."""
        reference = self.run.reference
        if arm == self.case.run.base() and reference is not None and self.run.arm.alternated:
            return self.run.arm, reference
        return self.book.bench.in_turns(self.case.run, arm)

    def _arm_name(self, name: str | int) -> str:
        return "no SD" if name == "none" else f"static dl{name}"

    def _arm(self, name: str | int) -> RunKey:
        run = self.case.run
        if name == "none":
            return run.base()
        if not isinstance(name, int) or isinstance(name, bool) or name < 1:
            raise UsageError(f"than={name!r}: expected 'none', or a draft length of 1 or more")
        return replace(
            run, speculation=replace(run.speculation, draft_length=name), fixed_length=True
        )

    # -- drift ------------------------------------------------------------------------------

    def no_drift(self, alpha: float | None = None) -> None:
        """Raises GateFailure where AL falls or step time rises over a soak.

        Raises:
            NoData: the run is no soak.
            UsageError: an α that is not a share.
        """
        __tracebackhide__ = True
        points = self.run.view(self.case.slice).drift
        if not points:
            raise NoData("no soak, so no trend: @pytest.mark.speed(soak='30m'), or soak=20 rounds")
        if alpha is not None and not 0 < alpha < 1:
            raise UsageError(f"alpha={alpha!r}: expected a share between 0 and 1, such as 0.01")
        self.checked_drift = True
        own = self.spending.level(DRIFT) if alpha is None else alpha
        self.settle(drift_verdict(self.key, points, own))
