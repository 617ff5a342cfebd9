"""What a run yields, as plain data: turns, passes, rounds, arms, and the setting around them.

Nothing here measures or computes an estimate. What is here can be kept in a record and read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_speedbench.engines.protocol import (
    Counters,
    EngineInfo,
    RequestTotals,
    Sampling,
    Speculation,
    Trace,
)
from pytest_speedbench.quantities import about
from pytest_speedbench.splits import ALL


@dataclass(frozen=True, slots=True)
class Turn:
    """The trace of one turn of one sample.

    Attributes:
        sample: id of the sample.
        category: of the sample.
        turn: number of the turn, from 0 on.
        trace: what the request did.
        prompt_ids: the whole prompt that it answered.
        copy: how often the same sample was sent before in the same pass.
        unsent: later turns of the conversation, which no longer fit the context window.
    """

    sample: str
    category: str
    turn: int
    trace: Trace
    prompt_ids: Sequence[int] = field(default=(), repr=False, compare=False)
    copy: int = 0
    unsent: int = field(default=0, compare=False)

    @property
    def complete(self) -> bool:
        """Whether the answer came to an end, and was not broken off."""
        return self.trace.finish_reason != "abort"


@dataclass(frozen=True, slots=True)
class Counted:
    """All ``requests`` of a slice together, those of repeated samples among them.

    ``tokens`` were emitted by ``steps`` decoding steps; up to ``hidden`` more may be hidden behind
    cut-off last steps. ``drafts`` counts the steps that had a draft; 0 where the engine does not
    count those.
    """

    samples: int
    requests: int
    tokens: int
    steps: int
    hidden: int
    drafts: int
    draft_tokens: int
    accepted_tokens: int

    @property
    def totals(self) -> RequestTotals:
        return RequestTotals(self.steps, self.draft_tokens, self.accepted_tokens)

    @property
    def counts_drafts(self) -> bool:
        """Whether the engine counts the steps that had a draft."""
        return self.drafts > 0 or not self.draft_tokens

    @property
    def acceptance_length(self) -> float | None:
        """Tokens per decoding step; None without one."""
        return self.tokens / self.steps if self.steps else None

    def __add__(self, other: Counted) -> Counted:
        return Counted(
            self.samples + other.samples,
            self.requests + other.requests,
            self.tokens + other.tokens,
            self.steps + other.steps,
            self.hidden + other.hidden,
            self.drafts + other.drafts,
            self.draft_tokens + other.draft_tokens,
            self.accepted_tokens + other.accepted_tokens,
        )


NOTHING_COUNTED = Counted(0, 0, 0, 0, 0, 0, 0, 0)


def total(parts: Iterable[Counted]) -> Counted:
    """All of ``parts`` together."""
    return sum(parts, NOTHING_COUNTED)


@dataclass(frozen=True, slots=True)
class Pass:
    """The turns of a pass that came to an end, and what the engine's counters grew by meanwhile.

    The other fields are as those of :class:`ArmResult`.
    """

    turns: list[Turn]
    grown: Counters | None = None
    failed: Mapping[str, int] = field(default_factory=dict)
    counted: dict[str, Counted] = field(default_factory=dict)
    hidden: int = 0
    unknown: str = ""
    foreign: str = ""


@dataclass(frozen=True, slots=True)
class Round:
    """Throughput of one arm in one round.

    Attributes:
        tokens: output tokens of the steady window, or of the whole round where there is none.
        seconds: length of that window or round.
        steady: whether there was a steady window: all slots were busy. Without one, ramp and drain
            are included (too few samples to fill the batch for long).
        requests: those of the whole round.
        acceptance_length: AL of all requests; None where no request had a decoding step.
        step_time: seconds per decoding step of all requests; None likewise.
        at_once: the most requests between their first and last token at the same time; 0 where
            that was not recorded.
        start: number of the engine's start, from 0 on.
    """

    tokens: int
    seconds: float
    steady: bool
    requests: int
    acceptance_length: float | None = None
    step_time: float | None = None
    at_once: int = 0
    start: int = 0

    @property
    def output_tps(self) -> float:
        """Output tokens per second."""
        return self.tokens / self.seconds


@dataclass(frozen=True, slots=True)
class Emitted:
    """Output of the requests of one slice in one round: ``stepped`` of its ``tokens`` came from
    ``steps`` decoding steps (None: unknown), the rest from the prefill."""

    tokens: int = 0
    stepped: int = 0
    steps: int | None = 0

    def __add__(self, other: Emitted) -> Emitted:
        mine, theirs = self.steps, other.steps
        return Emitted(
            self.tokens + other.tokens,
            self.stepped + other.stepped,
            None if mine is None or theirs is None else mine + theirs,
        )


@dataclass(frozen=True, slots=True)
class DriftPoint:
    """One round of a soak, for a test or a plot.

    ``start`` is in seconds since the first round began; ``acceptance_length`` belongs to the slice,
    ``step_time`` (seconds) to the run; None where the round had no decoding step, or the engine
    reports none.
    """

    start: float
    acceptance_length: float | None
    step_time: float | None
    tokens: int


@dataclass(frozen=True, slots=True)
class SoakRound:
    """One round; ``end`` and ``start`` are seconds since the first round began."""

    start: float
    end: float
    step_time: float | None
    by_category: Mapping[str, Emitted] = field(default_factory=dict)

    def point(self, slice_name: str) -> DriftPoint:
        """What a plot shows of one category, or of ``all``."""
        chosen = [e for name, e in self.by_category.items() if slice_name in (ALL, name)]
        total = sum(chosen, Emitted())
        length = total.stepped / total.steps if total.steps else None
        return DriftPoint(self.start, length, self.step_time, total.tokens)


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """How far a run went that may stop early.

    Attributes:
        looked: samples that the verdicts rest on, all in complete blocks.
        sent: those and the ones in flight when the last verdict fell.
        planned: all samples of the run.
        tokens_saved: output tokens that the samples not sent are expected to have cost.
        looks: how often the run could have stopped; 1 where it could not.
        undecided: what was still open at the end, as a sentence.
    """

    looked: int
    sent: int
    planned: int
    tokens_saved: int
    looks: int
    undecided: str

    @property
    def stopped(self) -> bool:
        return self.looked < self.planned

    def __str__(self) -> str:
        if not self.stopped:
            why = self.undecided or "decided only with the last samples"
            return f"not stopped early: {why}"
        left_out = self.sent - self.looked
        rest = f"; {left_out} more were in flight and are left out" if left_out else ""
        return (
            f"stopped early: decided after {self.looked} of {self.planned} samples; "
            f"{self.planned - self.sent} samples, about {about(self.tokens_saved):,} tokens, "
            f"saved{rest}"
        )


@dataclass(slots=True)
class ArmResult:
    """What one arm measured: the traces of each sample's first pass, and every round's timing.

    Attributes:
        speculation: of the arm.
        turns: shape (requests,); after an early decision only those of the blocks looked at.
        rounds: shape (rounds,), their timing; empty after an early decision, which times nothing.
        counters: growth of the engine's own totals over the rounds.
        warmup_requests: sent before the rounds, and in no number.
        repeated: conversations that a round sends where samples are sent more than once to hold
            the batch size; 0 where none is.
        alternated: whether the arms took turns.
        early: how far an early decision has gone; None without one.
        soak: shape (rounds,), every round of a soak.
        broke_off: why a soak ended before its time; empty where it did not.
        counted: category → what the counters say of it, where requests report no acceptance and
            categories ran one after another.
        hidden: decoding steps of requests that ran one by one which cut-off last steps may hide.
        unknown: why acceptance is not known although the engine counts it; empty where it is known.
        foreign: what shows that the engine had other clients; empty where nothing does.
        answers: all that were asked for, the failed ones included.
        failed: the engine's reason → answers that it broke off for it; they are in no other number.
        cold: the turns of the pass without the engine's prefix cache, where it is on.
        digests: (sample, turn) → digest of the output, for an arm whose turns were not kept: the
            reference arm of a record.
    """

    speculation: Speculation
    turns: list[Turn] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    counters: Counters | None = None
    warmup_requests: int = 0
    repeated: int = 0
    alternated: bool = True
    early: EarlyStop | None = None
    soak: list[SoakRound] = field(default_factory=list)
    broke_off: str = ""
    counted: dict[str, Counted] = field(default_factory=dict)
    hidden: int = 0
    unknown: str = ""
    foreign: str = ""
    answers: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    cold: list[Turn] = field(default_factory=list)
    digests: dict[tuple[str, int], str] = field(default_factory=dict)

    def count(self, pass_: Pass) -> None:
        """Counts the answers of a pass, and those of them that were broken off."""
        self.answers += len(pass_.turns) + sum(pass_.failed.values())
        for reason, count in pass_.failed.items():
            self.failed[reason] = self.failed.get(reason, 0) + count

    def take(self, pass_: Pass, *, first: bool) -> None:
        """Adds what a pass measured; only the ``first`` of its samples counts for acceptance."""
        if pass_.grown is not None:
            self.counters = (self.counters or Counters()) + pass_.grown
        self.unknown = self.unknown or pass_.unknown
        self.foreign = self.foreign or pass_.foreign
        self.count(pass_)
        if not first:
            return
        self.turns += [turn for turn in pass_.turns if turn.copy == 0]
        self.hidden += pass_.hidden
        for name, counted in pass_.counted.items():
            self.counted[name] = self.counted.get(name, NOTHING_COUNTED) + counted


@dataclass(frozen=True, slots=True)
class Side:
    """What a run is in a session that measures two builds side by side.

    Attributes:
        session: the same for the two runs that belong together.
        reference: whether it is the one that the other is compared with.
        build: in what its engine differs from the session's own; empty for that.
        apart: why the timings of the two cannot be compared; empty where they took turns.
        no_plain: why their arms without speculation were not measured; empty where they were.
    """

    session: str
    reference: bool
    build: str
    apart: str = ""
    no_plain: str = ""


@dataclass(frozen=True, slots=True)
class RunSetting:
    """What surrounds the numbers of a run; goes into its record."""

    engine: EngineInfo
    model: Mapping[str, str]
    drafter: Mapping[str, str] | None
    speculation: Speculation
    batch_size: int
    sampling: Sampling
    template_digest: str
    prompt_form: str
    split: Mapping[str, object]
    samples: int
    engine_args: Mapping[str, object] = field(default_factory=dict)
    side: Side | None = None
    prefix_caching: bool = False
    scheduled: bool = False
    """Whether the engine changes the draft length by a schedule of its own."""
