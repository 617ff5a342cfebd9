"""A run that ends when its cases are decided: samples in balanced order, looked at in blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_speedbench.measure.early import BlockWatch, Decider
from pytest_speedbench.measure.failures import FailureLimit, refuse_failed
from pytest_speedbench.measure.load import ClosedLoop, Progress
from pytest_speedbench.measure.passes import checked_pass
from pytest_speedbench.measure.replay import Outputs, replay
from pytest_speedbench.measure.replayed import Replay, ReplayedTurn
from pytest_speedbench.measure.results import ArmResult, Pass, Turn
from pytest_speedbench.splits import Sample


def run_until_decided(
    loop: ClosedLoop,
    samples: Sequence[Sample],
    batch_size: int,
    decider: Decider,
    progress: Progress = lambda done, total: None,
) -> ArmResult:
    """One pass over the samples, in balanced order, that ends when ``decider`` has enough.

    Raises:
        MeasurementMismatch, EngineDied: as :func:`~pytest_speedbench.measure.rounds.run_rounds`.
    """
    watch = BlockWatch(samples, decider)
    limit = FailureLimit(loop.max_failed)
    limit.plan(samples)
    pass_ = checked_pass(loop, watch.order, batch_size, progress, watch.enough, limit)
    return _looked_at(loop, watch, [pass_])


def replay_until_decided(
    loop: ClosedLoop,
    samples: Sequence[Sample],
    batch_size: int,
    decider: Decider,
    outputs: Outputs,
    progress: Progress = lambda done, total: None,
) -> tuple[ArmResult, Replay]:
    """The same along the baseline's ``outputs``.

    Blocks are sent in groups that fill the batch, and a group is followed before the next one is
    sent, so that a look has all that is known of its blocks.

    Raises:
        MeasurementMismatch, EngineDied: as :func:`run_until_decided`.
    """
    watch = BlockWatch(samples, decider)
    limit = FailureLimit(loop.max_failed)
    limit.plan(samples)
    passes: list[Pass] = []
    turns: dict[tuple[str, int], ReplayedTurn] = {}
    refused, sent = "", 0
    for group in watch.groups(batch_size):
        passes.append(checked_pass(loop, group, batch_size, lambda done, total: None, limit=limit))
        # A group may have no sample in common with the baseline, or have lost all its answers.
        if not refused and any((turn.sample, turn.turn) in outputs for turn in passes[-1].turns):
            found = replay(loop, group, passes[-1].turns, outputs, batch_size)
            turns.update(found.turns)
            refused = found.refused
            watch.follow(found.turns)
        sent += len(group)
        progress(sent, len(samples))
        if _show_group(watch, group, passes[-1].turns):
            break
    if not turns and not refused:
        refused = "no sample in common with the baseline"
    kept = {key: turn for key, turn in turns.items() if key[0] in watch.seen}
    return _looked_at(loop, watch, passes), Replay(kept, refused)


def _show_group(watch: BlockWatch, group: Sequence[Sample], turns: Sequence[Turn]) -> bool:
    """Shows the samples of a group to the watch; whether every case is decided."""
    own: dict[str, list[Turn]] = {sample.id: [] for sample in group}
    for turn in turns:
        own[turn.sample].append(turn)
    decided = False
    for sample, found in own.items():
        decided = watch.enough(sample, found)
    return decided


def _looked_at(loop: ClosedLoop, watch: BlockWatch, passes: Sequence[Pass]) -> ArmResult:
    """What was measured, of the samples in blocks that were looked at."""
    result = ArmResult(loop.speculation, alternated=False, early=watch.stop)
    for pass_ in passes:
        kept = [turn for turn in pass_.turns if turn.sample in watch.seen]
        result.take(replace(pass_, turns=kept), first=True)
    refuse_failed(result, loop.max_failed)
    return result
