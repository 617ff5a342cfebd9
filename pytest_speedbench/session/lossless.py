"""Is the output of one case the target's own?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_speedbench.compare import sampled_output as sampling
from pytest_speedbench.compare.lossless import (
    Divergence,
    Losslessness,
    Score,
    Tolerance,
    calibrated,
    default_tolerance,
    find_divergences,
    given_tolerance,
    judge,
    pair_turns,
)
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.engines.protocol import Request, Speculation, Trace
from pytest_speedbench.errors import NoData, UsageError
from pytest_speedbench.measure.copies import seeded_copies
from pytest_speedbench.measure.results import ArmResult, Turn
from pytest_speedbench.measure.run import Run
from pytest_speedbench.plan.cases import Case
from pytest_speedbench.report.lossless import (
    biased_text,
    defect_text,
    lossless_text,
    sampling_text,
)
from pytest_speedbench.session.target_scores import TargetScores, can_score
from pytest_speedbench.stats import AlphaSequence, compare_tie_rates

LOSSLESS = "lossless"
PROMPTS = 4
"""Prompts that are sampled many times."""

CheckResult = tuple[Verdict, str]
"""A verdict, and the message of the failure if it is one."""


@dataclass(frozen=True, slots=True)
class LosslessCheck:
    """The check of one measured case against the arm without SD. ``spending`` gives its α, if the
    check comes to need it."""

    target: TargetScores
    case: Case
    run: Run
    key: str
    spending: AlphaSequence

    @property
    def _alpha(self) -> float:
        return self.spending.level(LOSSLESS)

    def result(self, tolerance: float | None, copies: int) -> CheckResult:
        """Compares token by token where output is greedy, otherwise in distribution.

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
            return self._greedy(reference, allowed)
        return self._sampled(copies)

    def _reference(self) -> ArmResult:
        __tracebackhide__ = True
        run = self.case.run
        if not run.speculation.active:
            raise NoData("a run without SD is its own reference: nothing to compare")
        if self.run.reference is not None:
            return self.run.reference
        raise NoData(f"assert_lossless needs the arm without SD{self._why_no_reference()}")

    def _why_no_reference(self) -> str:
        """Why there is no arm without SD, and what to do."""
        side = self.run.setting.side
        if self.case.run.soak:
            return ", and a soak measures one engine alone: check it in a test without soak"
        if self.run.arm.early is not None:
            return ", and --speed-early leaves it out: leave --speed-early out"
        if side is not None and side.no_plain:
            return f": {side.no_plain}"
        if self.target.bench.settings.rounds:
            return (
                ", and a server at --speed-url needs a second one without SD beside it: "
                "--speed-engine-arg reference_url=URL"
            )
        return ", and --speed-rounds=0 leaves it out: give --speed-rounds=1 or more"

    def _greedy(self, reference: ArmResult, allowed: Tolerance | None) -> CheckResult:
        __tracebackhide__ = True
        turns = self.run.view(self.case.slice).turns
        samples = {turn.sample for turn in turns}
        pairs, skipped = pair_turns(turns, [t for t in reference.turns if t.sample in samples])
        if not pairs:
            raise NoData("no output with SD has the prompt of one without")
        if not all(turn.trace.ids_known for pair in pairs for turn in pair):
            return self._result(Outcome.UNDECIDED, self._texts_alone(pairs))
        stop_ids = self.target.bench.inputs.tokenizer(self.case.run).stop_ids
        divergences = find_divergences(pairs, stop_ids)
        if divergences and not can_score(self.case.run, self.run):
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
        texts = [[(t.trace.reasoning, t.trace.text) for t in pair] for pair in pairs]
        equal = sum(ours == theirs for ours, theirs in texts)
        return (
            f"engine {self.case.run.engine} gives text but no token ids: {equal} of {len(pairs)} "
            "are equal; whether tokens are, and where they diverge, is unknown"
        )

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
        with self.target.scores(self.case.run) as score:
            healthy = self.target.healthy(self.case.run, score, stop_ids)
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
        return Losslessness(
            compared=compared,
            skipped=skipped,
            ties=ties,
            defects=defects,
            tolerance=allowed,
            healthy=rates,
        )

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self.target.bench.inputs.tokenizer(self.case.run).decode(token_ids)

    # -- sampling ---------------------------------------------------------------------------

    def _sampled(self, copies: int) -> CheckResult:
        __tracebackhide__ = True
        run = self.case.run
        if not can_score(self.case.run, self.run):
            reason = f"engine {run.engine} reports no log-probabilities to compare draws with"
            return self._result(Outcome.UNDECIDED, reason)
        turns = [t for t in self.run.view(self.case.slice).turns if t.turn == 0][:PROMPTS]
        drawn = {turn.sample: self._copies(turn, run.speculation, 0, copies) for turn in turns}
        if not all(trace.ids_known for traces in drawn.values() for trace in traces):
            reason = f"engine {run.engine} gives text but no token ids: no draws to compare"
            return self._result(Outcome.UNDECIDED, reason)
        alpha = self._alpha / (PROMPTS * sampling.POSITIONS)
        with self.target.scores(run) as score:
            found = [
                one
                for turn in turns
                for one in sampling.check_prompt(
                    turn.sample,
                    turn.prompt_ids,
                    drawn[turn.sample],
                    run.sampling,
                    score,
                    alpha,
                    self._next_tokens(turn, copies),
                )
            ]
            rejected = [one for one in found if one.check.rejected]
            healthy = [self._without_sd(one, turns, copies, score, alpha) for one in rejected]
        if not rejected and not any(one.informative for one in found):
            reason = "no drafted position has two likely tokens: use other samples, or more copies"
            return self._result(Outcome.UNDECIDED, reason)
        text = sampling_text(found, 1 - alpha)
        outcome = Outcome.FAIL if any(p > alpha for p in healthy) else Outcome.PASS
        if rejected and outcome is Outcome.PASS:
            outcome = Outcome.UNDECIDED
            text += "; the engine without SD is rejected as well, so SD is not what differs"
        return self._result(outcome, text, biased_text(self.key, rejected, healthy, self._decode))

    def _copies(
        self, turn: Turn, speculation: Speculation, first_seed: int, copies: int
    ) -> list[Trace]:
        """Short outputs of one prompt under many seeds, long enough for one whole draft."""
        length = self.case.run.speculation.draft_length + sampling.POSITIONS + 1
        seeds = range(first_seed, first_seed + copies)
        return self._outputs(turn, turn.prompt_ids, speculation, seeds, length)

    def _next_tokens(self, turn: Turn, copies: int) -> sampling.Draw:
        """What the engine without SD goes on with after a text, under seeds that no copy has."""
        seeds = range(2 * copies, 2 * copies + math.ceil(sampling.PILOT_SHARE * copies))

        def draw(text: Sequence[int]) -> set[int]:
            traces = self._outputs(turn, text, Speculation(), seeds, 1)
            return {token for trace in traces for token in trace.token_ids}

        return draw

    def _outputs(
        self,
        turn: Turn,
        text: Sequence[int],
        speculation: Speculation,
        seeds: Sequence[int],
        length: int,
    ) -> list[Trace]:
        """``length`` tokens after ``text`` under each of ``seeds``."""
        bench, run = self.target.bench, self.case.run
        drawing = replace(run.sampling, max_tokens=length, min_tokens=0, ignore_eos=True)
        request = Request(
            f"copy/{turn.sample}/{len(text)}/{speculation}",
            tuple(text),
            drawing,
            bench.inputs.tokenizer(run).stop_ids,
            speculation,
            turn.category,
        )
        arm = replace(run, speculation=speculation)
        with bench.pool.asking(bench.needed(arm)):
            engine, most = bench.engine(arm), bench.settings.max_failed
            return seeded_copies(engine, request, seeds, run.bs, most)

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
            self._next_tokens(turn, copies),
        )
        return own.check.p_value if own else 1.0
