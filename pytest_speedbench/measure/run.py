"""A run: all traces of one engine × model × method × DL × BS over the slices asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from pytest_speedbench.errors import NoData
from pytest_speedbench.measure import metrics
from pytest_speedbench.measure.chains import require_chains
from pytest_speedbench.measure.drafting import speculation_off
from pytest_speedbench.measure.failures import describe_failed
from pytest_speedbench.measure.notes import TIMING_ONLY, run_notes
from pytest_speedbench.measure.replayed import Replay
from pytest_speedbench.measure.results import (
    ArmResult,
    Counted,
    DriftPoint,
    RunSetting,
    Turn,
    total,
)
from pytest_speedbench.splits import ALL

if TYPE_CHECKING:
    from pytest_speedbench.stats import Estimate, RequestTrace
    from pytest_speedbench.stats.context import DepthBucket


@dataclass
class Run:
    """Measured arms: ``arm`` with speculation, ``reference`` without (None: not measured).
    ``replay`` is what went along the baseline's outputs; None where that was not asked for."""

    setting: RunSetting
    arm: ArmResult
    reference: ArmResult | None = None
    replay: Replay | None = None

    def view(self, slice_name: str) -> SliceView:
        """The part of the run that belongs to one category or tier, or to ``all``."""
        turns = [t for t in self.arm.turns if slice_name in (ALL, t.category)]
        return SliceView(self, slice_name, turns)

    @property
    def cold(self) -> Run | None:
        """The pass without the prefix cache as a run of its own; None where there was none."""
        if not self.arm.cold:
            return None
        arm = ArmResult(self.arm.speculation, turns=self.arm.cold, alternated=False)
        return Run(self.setting, arm)

    @property
    def slices(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(turn.category for turn in self.arm.turns))

    @property
    def speculation_off(self) -> str:
        """Why speculation seems to be switched off although it was asked for; empty if it is on."""
        return speculation_off(self.setting, self.arm)

    @property
    def notes(self) -> list[str]:
        """What a reader must know about these numbers."""
        return run_notes(self.setting, self.arm, self.reference, self.replay)

    @property
    def partial(self) -> bool:
        """Whether an early decision left samples out."""
        return self.arm.early is not None and self.arm.early.stopped

    @property
    def looks(self) -> int:
        """How often the run could have stopped: an interval that is asked for once must hold at
        every one of them."""
        return self.arm.early.looks if self.arm.early is not None else 1

    def _check_timed(self) -> None:
        if self.arm.early is not None:
            raise NoData("measured with --speed-early, which decides AL alone and times nothing")

    @property
    def output_tps(self) -> Estimate:
        return self.output_tps_at(0.95)

    def output_tps_at(self, level: float) -> Estimate:
        self._check_timed()
        return metrics.output_tps(self.arm.rounds, level)

    @property
    def reference_tps(self) -> Estimate:
        """Output tokens per second without speculation."""
        return metrics.output_tps(self._reference().rounds)

    @property
    def speedup(self) -> Estimate:
        return self.speedup_at(0.95)

    def speedup_at(self, level: float) -> Estimate:
        """Paired by round; without an interval where the arms did not alternate.

        Raises:
            NoData: the arm without speculation was not measured.
        """
        from pytest_speedbench.stats.speed import paired_speedup

        reference = self._reference()
        estimate = paired_speedup(
            [r.output_tps for r in self.arm.rounds],
            [r.output_tps for r in reference.rounds],
            level,
        )
        if self.arm.alternated:
            return estimate
        return replace(estimate, low=None, high=None)

    def _reference(self) -> ArmResult:
        self._check_timed()
        if self.arm.soak:
            raise NoData("a soak measures one engine, and no arm without SD")
        if self.setting.side is not None and self.setting.side.no_plain:
            raise NoData(f"the arm without SD was not measured: {self.setting.side.no_plain}")
        if self.reference is None:
            active = self.setting.speculation.active
            raise NoData(
                "the arm without SD was not measured: --speed-rounds 3 times both arms in turns; a "
                "server at --speed-url needs a second one without SD beside it, "
                "--speed-engine-arg reference_url=URL"
                if active
                else "a run without SD has no speedup"
            )
        return self.reference

    @property
    def user_tps(self) -> Estimate:
        return self.user_tps_at(0.95)

    def user_tps_at(self, level: float) -> Estimate:
        self._check_timed()
        return metrics.user_tps(self.arm.turns, level)

    @property
    def ttft(self) -> Estimate:
        return self.ttft_at(0.95)

    def ttft_at(self, level: float) -> Estimate:
        self._check_timed()
        return metrics.ttft(self.arm.turns, level)

    @property
    def step_time(self) -> Estimate:
        return self.step_time_at(0.95)

    def step_time_at(self, level: float) -> Estimate:
        self._check_timed()
        counted = total(self.arm.counted.values())
        if not counted.steps or self.arm.unknown:
            return metrics.step_time(self.arm.turns, level)
        times = [turn.trace.times for turn in self.arm.turns if turn.trace.times]
        return metrics.counted_step_time(times, counted, level)


@dataclass
class SliceView:
    """One slice of a run: what acceptance is, there."""

    run: Run
    name: str
    turns: list[Turn]

    @cached_property
    def traces(self) -> list[RequestTrace]:
        return metrics.request_traces(self.turns)

    @property
    def counted(self) -> Counted | None:
        """The engine's counters for this slice, where requests report nothing."""
        arm = self.run.arm
        if arm.unknown or not arm.counted:
            return None
        own = [c for name, c in arm.counted.items() if self.name in (ALL, name)]
        return total(own) if own else None

    def _check_reported(self) -> None:
        arm = self.run.arm
        if arm.failed and not self.turns:
            found = describe_failed(arm.failed, arm.answers)
            raise NoData(f"no answer of {self.name!r} came to its end: of the whole run, {found}")
        if arm.unknown:
            raise NoData(arm.unknown)
        totals = [turn.trace.totals for turn in self.turns]
        if totals and all(t is not None and t.steps is None for t in totals):
            raise NoData(TIMING_ONLY)

    def acceptance_length(self, level: float = 0.95) -> Estimate:
        """Micro AL, tokens per decoding step; from counters a value without an interval."""
        from pytest_speedbench.stats import micro_al

        counted = self.counted
        if counted is not None and counted.steps:
            value = counted.tokens / counted.steps
            return metrics.counted_estimate(value, counted.samples, level, "tokens/step")
        self._check_reported()
        return micro_al(self.traces, level)

    def acceptance_length_macro(self, level: float = 0.95) -> Estimate:
        from pytest_speedbench.stats import macro_al

        if self.counted is not None:
            raise NoData("the engine's counters cover a slice, not each request")
        self._check_reported()
        return macro_al(self.traces, level)

    def acceptance_rate(self, level: float = 0.95) -> Estimate:
        from pytest_speedbench.stats import acceptance_rate

        counted = self.counted
        self._require_chains()
        if counted is not None and counted.draft_tokens:
            value = counted.accepted_tokens / counted.draft_tokens
            return metrics.counted_estimate(value, counted.samples, level, "")
        self._check_reported()
        return acceptance_rate(self.traces, level)

    def _require_chains(self) -> None:
        traces = (turn.trace for turn in self.turns)
        require_chains(self.run.setting, traces, self.counted)

    def draftless_share(self, level: float = 0.95) -> Estimate:
        """Decoding steps without a draft, a share of all; from counters without an interval.

        Raises:
            NoData: a run without SD, or an engine that does not report the drafts of each step.
        """
        from pytest_speedbench.stats.drafts import draftless_share

        self._check_drafting()
        counted = self.counted
        if counted is not None and counted.steps and counted.counts_drafts:
            value = 1 - counted.drafts / counted.steps
            return metrics.counted_estimate(value, counted.samples, level, "")
        return draftless_share(self.traces, level)

    def proposed_length(self, level: float = 0.95) -> Estimate:
        """Draft tokens proposed per decoding step; from counters without an interval.

        Raises:
            NoData: a run without SD, or an engine that does not report its drafts.
        """
        from pytest_speedbench.stats.drafts import proposed_length

        self._check_drafting()
        counted = self.counted
        if counted is not None and counted.steps:
            value = counted.draft_tokens / counted.steps
            return metrics.counted_estimate(value, counted.samples, level, "tokens/step")
        return proposed_length(self.traces, self.run.setting.speculation.draft_length, level)

    def _check_drafting(self) -> None:
        if not self.run.setting.speculation.active:
            raise NoData("without SD nothing is drafted")

    def acceptance_by_position(self) -> tuple[Estimate | None, ...]:
        from pytest_speedbench.stats import acceptance_by_position

        speculation = self.run.setting.speculation
        if not speculation.active:
            raise NoData("without SD no position is drafted")
        self._require_chains()
        return acceptance_by_position(self.traces, speculation.draft_length)

    def acceptance_by_depth(self) -> list[DepthBucket]:
        """AL by position in the context, the shallowest bucket first.

        Raises:
            NoData: no decoding steps are known.
        """
        return metrics.acceptance_by_depth(self.turns)

    def cold_acceptance_length(self, level: float = 0.95) -> Estimate:
        """Micro AL of the pass without the prefix cache.

        Raises:
            NoData: there was none.
        """

        if self.run.cold is None:
            raise NoData("no cold pass: the prefix cache is off (--speed-prefix-caching)")
        return self.run.cold.view(self.name).acceptance_length(level)

    def cache_hit_rate(self, level: float = 0.95) -> Estimate:
        """Share of the prompt tokens that came from the engine's prefix cache.

        Raises:
            NoData: the engine does not report it.
        """
        return metrics.cache_hit_rate(self.turns, level)

    @property
    def drift(self) -> list[DriftPoint]:
        """AL and step time of every round of a soak; empty for other runs."""
        return [round_.point(self.name) for round_ in self.run.arm.soak]

    def engine_acceptance_length(self) -> float | None:
        """The engine's own average, 1 + accepted / drafting steps: steps without a draft left out.

        None where the engine does not count drafting steps, or drafted nothing. Where requests
        report nothing, the slice ``all`` has the growth of the counters over all rounds. Not
        comparable between engines, and not with AL where some steps have no draft.
        """
        if self.counted is not None:
            pairs = [(self.counted.accepted_tokens, self.counted.drafts)]
        else:
            traces = [turn.trace for turn in self.turns]
            pairs = [(sum(t.accepted or ()), len(t.drafted)) for t in traces if t.drafted]
            grown = self.run.arm.counters
            if not pairs and self.name == ALL and grown is not None:
                pairs = [(grown.accepted_tokens, grown.drafts)]
        steps = sum(count for _, count in pairs)
        return 1.0 + sum(accepted for accepted, _ in pairs) / steps if steps else None
