"""Our traces against the engine's own counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines.protocol import (
    Counters,
    RequestTotals,
    Speculation,
    Trace,
    spread_tokens,
)
from pytest_speedbench.errors import MeasurementMismatch
from pytest_speedbench.measure.check import (
    align_drafts,
    check_counters,
    check_output,
    check_prompt,
    check_traces,
)

DL = 4
SD = Speculation("eagle3", DL)


@st.composite
def requests(draw: st.DrawFn) -> Trace:
    """A request as an honest engine reports it: some steps undrafted, the last perhaps cut."""
    prefill = draw(st.integers(0, 1))
    steps, drafted, accepted = [], [], []
    for proposed in draw(st.lists(st.integers(0, DL), min_size=1, max_size=12)):
        taken = draw(st.integers(0, proposed))
        steps.append(taken + 1)
        if proposed:
            drafted.append(proposed)
            accepted.append(taken)
    steps[-1] = draw(st.integers(1, steps[-1]))
    chunks = [1] * prefill + steps
    return Trace(
        "r",
        5,
        0.0,
        list(range(sum(chunks))),
        chunks,
        [float(i) for i in range(len(chunks))],
        prefill_tokens=prefill,
        drafted=drafted,
        accepted=accepted,
    )


def counters_of(traces: list[Trace]) -> Counters:
    return Counters(
        sum(len(t.drafted or ()) for t in traces),
        sum(sum(t.drafted or ()) for t in traces),
        sum(sum(t.accepted or ()) for t in traces),
    )


@given(requests())
def test_every_honest_request_aligns_and_keeps_its_sums(trace: Trace) -> None:
    aligned = align_drafts(trace)
    assert aligned is not None
    drafted, accepted = aligned
    assert len(drafted) == len(accepted) == len(trace.steps)
    assert sum(drafted) == sum(trace.drafted or ())
    assert sum(accepted) == sum(trace.accepted or ())
    *inner, last = zip(trace.steps, drafted, accepted, strict=True)
    assert all(size == taken + 1 for size, _, taken in inner)
    assert 1 <= last[0] <= last[2] + 1


@given(st.lists(requests(), max_size=5))
def test_honest_requests_and_counters_agree(traces: list[Trace]) -> None:
    check_traces(traces, SD)
    check_counters(traces, SD, counters_of(traces))


@given(st.lists(requests(), min_size=1, max_size=5), st.integers(1, 9))
def test_a_counter_that_lies_is_found_out(traces: list[Trace], lie: int) -> None:
    with pytest.raises(MeasurementMismatch, match="add up to"):
        check_counters(traces, SD, counters_of(traces) + Counters(0, 0, lie))


@pytest.mark.parametrize("fits", [9, 12, 25])
def test_answers_that_were_broken_off_leave_bounds_to_the_output(fits: int) -> None:
    check_output([request([3, 5], None, None)], Counters(output_tokens=fits), 16)


@pytest.mark.parametrize("counted", [8, 26])
def test_output_that_broken_answers_do_not_explain_is_foreign(counted: int) -> None:
    with pytest.raises(MeasurementMismatch, match=r"our requests 9 and up to 16 more.*another cl"):
        check_output([request([3, 5], None, None)], Counters(output_tokens=counted), 16)


@given(st.lists(requests(), min_size=1, max_size=5))
def test_totals_alone_are_held_to_what_cut_last_steps_explain(traces: list[Trace]) -> None:
    """Engines that tell nothing per request."""
    silent = [replace(trace, drafted=None, accepted=None) for trace in traces]
    counted = counters_of(traces)
    check_counters(silent, SD, counted)
    with pytest.raises(MeasurementMismatch, match="cut off"):
        check_counters(silent, SD, counted + Counters(0, 0, 1 + DL * (len(traces) + 1)))


def request(steps: list[int], drafted: list[int] | None, accepted: list[int] | None) -> Trace:
    chunks = [1, *steps]
    return Trace(
        "r",
        5,
        0.0,
        [0] * sum(chunks),
        chunks,
        [0.0] * len(chunks),
        drafted=drafted,
        accepted=accepted,
    )


@pytest.mark.parametrize(
    ("steps", "drafted", "accepted"),
    [
        ([3, 1], [4], [1]),  # three tokens at once need two accepted
        ([1, 2], [4], [3]),  # three accepted, two emitted, and the request goes on to the cut
        ([2, 2, 1], [4], [1]),  # a step of two tokens without a draft
        ([1], [4, 4], [0, 0]),  # more drafts than steps
    ],
)
def test_counts_that_cannot_belong_to_the_steps(
    steps: list[int], drafted: list[int], accepted: list[int]
) -> None:
    trace = request(steps, drafted, accepted)
    if steps == [1, 2]:
        assert align_drafts(trace) == ([0, 4], [0, 3])  # the last step may be cut
        return
    with pytest.raises(MeasurementMismatch, match="cannot belong together"):
        align_drafts(trace)


@pytest.mark.parametrize(
    ("drafted", "accepted"),
    [([4, 2], [2, 3]), ([-4, 4], [-1, 3]), ([4, 4], [2, 2**31]), ([4, 2**31], [2, 0])],
)
def test_counts_of_a_step_that_no_engine_can_have(drafted: list[int], accepted: list[int]) -> None:
    with pytest.raises(MeasurementMismatch, match=r"a step accepted -?\d+ of -?\d+ draft tokens"):
        check_traces([request([3, 1], drafted, accepted)], SD)


def test_lists_of_unequal_length_are_a_mismatch() -> None:
    with pytest.raises(MeasurementMismatch):
        align_drafts(request([1, 1], [4, 4], [0]))


def test_an_engine_that_tells_nothing_aligns_to_nothing() -> None:
    assert align_drafts(request([1, 2], None, None)) is None


def test_a_step_longer_than_the_draft_allows_is_a_mismatch() -> None:
    with pytest.raises(MeasurementMismatch, match="a step emitted 6 tokens"):
        check_traces([request([6], None, None)], SD)


def test_chunks_that_do_not_add_up_are_a_mismatch() -> None:
    trace = request([2], None, None)
    trace.token_ids.append(1)
    with pytest.raises(MeasurementMismatch, match="chunks hold 3 tokens, the output 4"):
        check_traces([trace], SD)


def test_without_speculation_nothing_is_counted() -> None:
    check_counters([request([1, 1], None, None)], Speculation(), Counters(9, 9, 9))


def summed(trace: Trace, **changes: int | None) -> Trace:
    """The same request, as an engine tells it that tells totals."""
    totals = RequestTotals(len(trace.steps), sum(trace.drafted or ()), sum(trace.accepted or ()))
    arrivals = spread_tokens(trace.tokens, 2)
    return replace(
        trace,
        chunks=arrivals,
        times=[0.0, 1.0],
        drafted=None,
        accepted=None,
        totals=replace(totals, **changes),
    )


@given(st.lists(requests(), max_size=5))
def test_honest_totals_agree_with_themselves_and_with_the_counters(traces: list[Trace]) -> None:
    totals = [summed(trace) for trace in traces]
    check_traces(totals, SD)
    check_counters(totals, SD, counters_of(traces))
    check_counters(totals, SD, replace(counters_of(traces), drafts=0))


@given(st.lists(requests(), min_size=1, max_size=5), st.integers(1, 9))
def test_totals_find_out_a_counter_that_lies(traces: list[Trace], lie: int) -> None:
    totals = [summed(trace) for trace in traces]
    with pytest.raises(MeasurementMismatch, match="add up to"):
        check_counters(totals, SD, counters_of(traces) + Counters(0, 0, lie))


@given(st.lists(requests(), min_size=1, max_size=5))
def test_steps_alone_hold_the_accepted_counter_to_the_cuts(traces: list[Trace]) -> None:
    totals = [summed(trace, draft_tokens=None, accepted_tokens=None) for trace in traces]
    counted = counters_of(traces)
    check_traces(totals, SD)
    check_counters(totals, SD, counted)
    with pytest.raises(MeasurementMismatch, match="cut off"):
        check_counters(totals, SD, counted + Counters(0, 0, 1 + DL * (len(traces) + 1)))


@pytest.mark.parametrize(
    ("totals", "message"),
    [
        (RequestTotals(7), "took 7 decoding steps, each of 1 to 5"),
        (RequestTotals(1), "took 1 decoding steps, each of 1 to 5"),
        (RequestTotals(3, 12, 2), "took 3 decoding steps and accepted 2 draft tokens"),
        (RequestTotals(3, 12, 8), "took 3 decoding steps and accepted 8 draft tokens"),
        (RequestTotals(None, 3, 4), "accepted 4 of 3 draft tokens"),
        (RequestTotals(3, 2**31, 3), "drafted 2147483648 tokens, but 6 tokens came after"),
    ],
)
def test_totals_that_cannot_belong_to_the_output(totals: RequestTotals, message: str) -> None:
    trace = Trace("r", 5, 0.0, chunks=[7], times=[1.0], totals=totals)  # 6 decoded
    with pytest.raises(MeasurementMismatch, match=message):
        check_traces([trace], SD)


def test_totals_that_are_not_told_are_not_checked() -> None:
    trace = Trace("r", 5, 0.0, chunks=[7], times=[1.0], totals=RequestTotals())
    check_traces([trace], SD)
    check_counters([trace], SD, Counters(3, 12, 99))


def test_foreign_output_tokens_are_a_mismatch() -> None:
    trace = request([2], [4], [1])
    check_counters([trace], SD, Counters(1, 4, 1, 3))
    with pytest.raises(MeasurementMismatch, match="emitted 8 output tokens, our requests 3"):
        check_counters([trace], SD, Counters(1, 4, 1, 8))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"cached_tokens": 6}, r"6 of 5 prompt tokens came from its prefix cache"),
        ({"hidden_tokens": 9}, r"9 of 3 output tokens were hidden"),
        ({"cached_tokens": -1}, r"-1 of 5 prompt tokens came from its prefix cache"),
    ],
)
def test_a_part_that_is_more_than_the_whole_is_not_believed(
    counts: dict[str, int], message: str
) -> None:
    trace = Trace("r", 5, 0.0, [1, 2, 3], [1, 2], [0.1, 0.2], **counts)
    with pytest.raises(MeasurementMismatch, match=message):
        check_traces([trace], SD)


def test_a_first_event_that_is_more_than_the_prefills_token_is_no_step() -> None:
    trace = Trace("r", 5, 0.0, [1, 2, 3, 4], [3, 1], [0.1, 0.2])
    with pytest.raises(MeasurementMismatch, match="first event holds 3 tokens, but the prefill"):
        check_traces([trace], SD)


def test_a_prompt_of_token_ids_keeps_its_length() -> None:
    check_prompt(Trace("r", 5, 0.0), range(5))
    with pytest.raises(MeasurementMismatch, match=r"counts 6 prompt tokens, 5 .* a second BOS"):
        check_prompt(Trace("r", 6, 0.0), range(5))
