"""The prompts that lost most between two runs, and how their outputs were decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.stats.data import RequestTrace, StepTrace
from pytest_speedbench.stats.pairing import common_prefix


@dataclass(frozen=True, slots=True)
class Decoded:
    """One output: its token ids (none where the engine gave text alone) and its step lengths.

    The first ``prefill`` tokens come from the prefill pass; each step emits the next ones, of which
    the last is the target's own, unless ``max_tokens`` cut the step.
    """

    token_ids: tuple[int, ...]
    prefill: int
    steps: tuple[int, ...]
    tokens: int
    acceptance_length: float


@dataclass(frozen=True, slots=True)
class PromptLoss:
    """One turn of one sample in both runs.

    Attributes:
        sample: its id.
        category: its category.
        turn: 0 for the first user message.
        old: the baseline's output.
        new: the output of the run under test.
        lost_steps: steps of the new output beyond those that the baseline's AL would have needed.
        divergence: position of the first differing token; None where one output begins with the
            other, or without token ids.
    """

    sample: str
    category: str
    turn: int
    old: Decoded
    new: Decoded
    lost_steps: float
    divergence: int | None

    @property
    def ratio(self) -> float:
        """AL new / AL old."""
        return self.new.acceptance_length / self.old.acceptance_length


def prompt_losses(old: Record, new: Record, most: int) -> list[PromptLoss]:
    """The turns with the most lost steps, at most ``most`` of them; none that lost nothing.

    Raises:
        RecordError: a request of a record is damaged.
    """
    olds = {(trace.sample, trace.turn): trace for trace in traces_of(old)}
    pairs = ((olds.get((trace.sample, trace.turn)), trace) for trace in traces_of(new))
    found = [
        (_lost_steps(before, after), before, after)
        for before, after in pairs
        if before is not None and before.step_count and after.step_count
    ]
    found.sort(key=lambda entry: -entry[0])
    return [_loss(*entry) for entry in found[:most] if entry[0] > 0]


def _lost_steps(old: RequestTrace, new: RequestTrace) -> float:
    assert old.step_count is not None
    assert new.step_count is not None
    return new.step_count - new.decode_tokens * old.step_count / max(1, old.decode_tokens)


def _loss(lost: float, old: RequestTrace, new: RequestTrace) -> PromptLoss:
    before, after = _decoded(old), _decoded(new)
    return PromptLoss(new.sample, new.stratum, new.turn, before, after, lost, _divergence(old, new))


def _decoded(trace: RequestTrace) -> Decoded:
    assert trace.step_count
    length = trace.decode_tokens / trace.step_count
    if not isinstance(trace, StepTrace):
        return Decoded((), 0, (), trace.output_tokens, length)
    ids: Sequence[int] = () if trace.token_ids is None else trace.token_ids.tolist()
    steps = tuple(trace.steps.tolist())
    return Decoded(tuple(ids), trace.output_tokens - sum(steps), steps, trace.output_tokens, length)


def _divergence(old: RequestTrace, new: RequestTrace) -> int | None:
    if not isinstance(old, StepTrace) or not isinstance(new, StepTrace):
        return None
    if old.token_ids is None or new.token_ids is None:
        return None
    position = common_prefix(old.token_ids, new.token_ids)
    return position if position < min(len(old.token_ids), len(new.token_ids)) else None
