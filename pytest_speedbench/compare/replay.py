"""What replay has shown: a record that followed another one's outputs, counted against it.

Everything comes from the two records, so that a session and a later comparison of the saved runs
count the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_speedbench.baselines.packing import digest_ids
from pytest_speedbench.baselines.records import decode_replay, decode_turns, traces_of
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.match import Match
from pytest_speedbench.errors import RecordError
from pytest_speedbench.measure.metrics import request_traces
from pytest_speedbench.measure.replay import BaselineTurn, Outputs, segment_of
from pytest_speedbench.measure.replayed import BASELINE, ReplayedTurn
from pytest_speedbench.measure.results import Turn

if TYPE_CHECKING:
    from pytest_speedbench.stats import Counted, ReplayedSums, RequestTrace, Segment, StepTrace


def outputs_of(baseline: Record, source: str = BASELINE) -> Outputs:
    """The outputs of a baseline that can be followed: those with token ids and steps.

    ``source`` names it in the notes of the run that follows it.

    Raises:
        RecordError: a request of the record is damaged.
    """
    prompts = {(r.sample, r.turn): r.prompt_tokens for r in baseline.requests}
    return _outputs(traces_of(baseline), prompts, source)


def outputs_of_turns(
    turns: Sequence[Turn], source: str = BASELINE, *, shared: bool = False
) -> Outputs:
    """The outputs of turns of this session that can be followed; ``shared``: several arms do, and
    no record of theirs has them."""
    prompts = {(turn.sample, turn.turn): turn.trace.prompt_tokens for turn in turns}
    return _outputs(request_traces(turns), prompts, source, shared=shared)


def outputs_of_arm(turns: Sequence[Turn]) -> Outputs:
    """The outputs of an arm of this session, for all arms to follow.

    Where several drafters or engines of one session are compared with one another, all of them
    follow the arm without SD, so that none has the text that it wrote itself.
    """
    return outputs_of_turns(turns, "this session's outputs without SD", shared=True)


def _outputs(
    traces: Sequence[RequestTrace],
    prompts: Mapping[tuple[str, int], int],
    source: str,
    *,
    shared: bool = False,
) -> Outputs:
    from pytest_speedbench.stats import StepTrace

    return {
        key: BaselineTurn(trace, prompts[key], digest_ids(trace.token_ids.tolist()), shared, source)
        for trace in traces
        if isinstance(trace, StepTrace) and trace.token_ids is not None
        for key in [(trace.sample, trace.turn)]
    }


def outputs_to_follow(matches: Iterable[Match]) -> Outputs | str:
    """The outputs of the baselines of one run, the first match first; or why there are none.

    Empty where no case of the run has a baseline.
    """
    found: dict[tuple[str, int], BaselineTurn] = {}
    reason = ""
    for match in matches:
        if match.record is None or match.incomparable:
            continue
        try:
            own = outputs_of(match.record)
        except RecordError as error:
            return str(error)
        reason = reason or "the baseline has no token ids, or no decoding steps"
        found = {**own, **found}
    return found or reason


def replayed_between(old: Record, new: Record) -> ReplayedSums | None:
    """Both builds over the same tokens of ``old``, or of the text that both followed as arms of one
    session; None where they followed neither.

    A sample with a turn that was not followed, or not to its end, counts as given up.

    Raises:
        RecordError: a request of one of the records is damaged.
    """
    followed = decode_replay(new)
    if not followed:
        return None
    if any(turn.text for turn in followed.values()):
        return _along_one_text(old, new, decode_replay(old), followed)
    unscored = new.arm.not_scored if new.arm else ""
    return replayed_along(traces_of(old), outputs_of(old), decode_turns(new), followed, unscored)


def _along_one_text(
    old: Record,
    new: Record,
    theirs: Mapping[tuple[str, int], ReplayedTurn],
    ours: Mapping[tuple[str, int], ReplayedTurn],
) -> ReplayedSums | None:
    """Two records over the text that both followed; a sample with a turn in which they did not, or
    not to its end, counts as given up."""
    from pytest_speedbench.stats import replayed_sums

    before, after = ({(t.sample, t.turn): t for t in decode_turns(r)} for r in (old, new))
    common = {
        key: turn
        for key, turn in ours.items()
        if turn.text and key in theirs and theirs[key].along == turn.along and key in before
    }
    if not common:
        return None
    counted: dict[tuple[str, str], list[Counted]] = {}
    given_up = set()
    for key in [key for key in after if key in before]:
        turn = after[key]
        if key in common:
            found = _counted_along(common[key], turn, theirs[key], before[key])
        else:
            found = _nothing(turn.trace.tokens - turn.trace.prefill_tokens)
        counted.setdefault((turn.sample, turn.category), []).append(found)
        if key not in common or common[key].given_up or theirs[key].given_up:
            given_up.add(turn.sample)
    rows = [(sample, stratum, found) for (sample, stratum), found in counted.items()]
    return replayed_sums(rows, given_up=len(given_up))


def _counted_along(
    followed: ReplayedTurn, turn: Turn, other: ReplayedTurn, before: Turn
) -> Counted:
    from pytest_speedbench.stats import count_common

    text = _text(turn, followed.text)
    try:
        return count_common(text, _segments(other, before), _segments(followed, turn))
    except ValueError as error:
        raise RecordError(f"its resumed requests are damaged: {error}") from error


def _text(turn: Turn, token_ids: Sequence[int]) -> StepTrace:
    """A text of one token a step: every position is the start of a step."""
    import numpy as np

    from pytest_speedbench.stats import StepTrace

    ids = np.asarray(token_ids, np.int64)
    prefill = min(turn.trace.prefill_tokens, len(ids))
    steps = np.ones(len(ids) - prefill, np.int64)
    return StepTrace(turn.sample, turn.category, turn.turn, prefill, steps, ids)


def _segments(followed: ReplayedTurn, turn: Turn) -> list[Segment]:
    """The requests of one turn, the free output first where it answered the same prompt."""
    requests = [(0, turn.trace)] if followed.free else []
    requests += [(request.start, request.trace) for request in followed.resumed]
    return [segment_of(*request) for request in requests]


def replayed_along(
    old: Sequence[RequestTrace],
    outputs: Outputs,
    turns: Iterable[Turn],
    followed: Mapping[tuple[str, int], ReplayedTurn],
    unscored: str = "",
) -> ReplayedSums | None:
    """Both builds over the tokens of ``outputs``, for the samples of ``turns`` that ``old`` has;
    None where none of these outputs was ``followed``. ``unscored`` says why the target was not
    asked about the tokens that differ."""
    from pytest_speedbench.stats import replayed_sums
    from pytest_speedbench.stats.data import clusters

    if not any(key in outputs and outputs[key].along == f.along for key, f in followed.items()):
        return None
    free = {(turn.sample, turn.turn): turn for turn in turns}
    counted, given_up = [], set()
    for sample, traces in clusters(old).items():
        found = []
        for trace in traces:
            key = (sample, trace.turn)
            if key not in free:
                continue
            sums = _counted(outputs.get(key), followed.get(key), free[key])
            if sums is None or followed[key].given_up:
                given_up.add(sample)
            found.append(sums or _nothing(trace.decode_tokens))
        if found:
            counted.append((sample, traces[0].stratum, found))
    own = [turn for key, turn in followed.items() if key in free]
    return replace(
        replayed_sums(counted, given_up=len(given_up)),
        scored=sum(turn.scored for turn in own),
        defects=sum(len(turn.defects) for turn in own),
        unscored=unscored,
    )


def _counted(
    output: BaselineTurn | None, followed: ReplayedTurn | None, turn: Turn
) -> Counted | None:
    """One turn of both builds; None where this output was not followed."""
    from pytest_speedbench.stats import count_replayed

    if output is None or followed is None or output.along != followed.along:
        return None
    try:
        return count_replayed(output.trace, _segments(followed, turn))
    except ValueError as error:
        raise RecordError(f"its resumed requests are damaged: {error}") from error


def _nothing(tokens: int) -> Counted:
    from pytest_speedbench.stats import Counted

    return Counted(
        tokens=0,
        old_steps=0,
        new_steps=0,
        old_distance=0.0,
        new_distance=0.0,
        left_out=tokens,
        divergences=0,
    )
