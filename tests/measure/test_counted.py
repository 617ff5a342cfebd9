"""Acceptance from counters: exact where every step drafts, bounded where not, never a guess."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_speedbench.engines.protocol import Counters, RequestTotals, Speculation, Trace
from pytest_speedbench.errors import ForeignTrafficError, MeasurementMismatch
from pytest_speedbench.measure.counted import count
from pytest_speedbench.measure.results import total

DL = 4
EAGLE, NGRAM = Speculation("eagle3", DL), Speculation("ngram", DL)


@st.composite
def loads(draw: st.DrawFn, every_step: bool) -> tuple[list[Trace], Counters, int]:
    """Requests, what an honest engine's counters grow by, and the true number of steps."""
    traces, steps, drafts, drafted, accepted = [], 0, 0, 0, 0
    for number in range(draw(st.integers(1, 6))):
        proposals = draw(st.lists(st.integers(1 if every_step else 0, DL), min_size=1, max_size=9))
        taken = [draw(st.integers(0, proposed)) for proposed in proposals]
        sizes = [a + 1 for a in taken]
        sizes[-1] = draw(st.integers(1, sizes[-1]))
        tokens = 1 + sum(sizes)
        traces.append(Trace(str(number), 1, 0.0, chunks=[tokens], totals=RequestTotals()))
        steps += len(sizes)
        drafts += sum(proposed > 0 for proposed in proposals)
        drafted += sum(proposals)
        accepted += sum(taken)
    emitted = sum(trace.tokens for trace in traces)
    return (
        traces,
        Counters(drafts, drafted, accepted, draw(st.sampled_from([None, emitted]))),
        steps,
    )


@given(loads(every_step=True))
def test_where_every_step_drafts_the_steps_are_the_drafts(
    load: tuple[list[Trace], Counters, int],
) -> None:
    traces, grown, steps = load
    counted = count(traces, len(traces), EAGLE, grown)
    assert (counted.steps, counted.hidden) == (steps, 0)
    assert counted.acceptance_length == sum(t.tokens - 1 for t in traces) / steps


@given(loads(every_step=False))
def test_steps_without_a_draft_of_a_method_that_usually_drafts_are_counted(
    load: tuple[list[Trace], Counters, int],
) -> None:
    """As at a draft length of 0 under load; the engine's output tokens rule out other clients."""
    traces, grown, steps = load
    tokens = sum(trace.tokens for trace in traces)
    grown = replace(grown, output_tokens=tokens)
    assume(tokens - len(traces) - grown.accepted_tokens > grown.drafts)
    counted = count(traces, len(traces), EAGLE, grown)
    assert counted.steps <= steps <= counted.steps + counted.hidden


@given(loads(every_step=False))
def test_elsewhere_the_true_steps_lie_within_the_stated_bound(
    load: tuple[list[Trace], Counters, int],
) -> None:
    traces, grown, steps = load
    counted = count(traces, len(traces), NGRAM, grown)
    assert counted.steps <= steps <= counted.steps + counted.hidden
    assert counted.hidden <= DL * len(traces)


@given(loads(every_step=True))
def test_drafts_that_are_not_counted_leave_a_bound_too(
    load: tuple[list[Trace], Counters, int],
) -> None:
    traces, grown, steps = load
    counted = count(traces, len(traces), EAGLE, replace(grown, drafts=0))
    assert counted.steps <= steps <= counted.steps + counted.hidden


@given(loads(every_step=True), st.integers(1, 50))
def test_foreign_tokens_are_noticed_where_the_engine_counts_them(
    load: tuple[list[Trace], Counters, int], foreign: int
) -> None:
    traces, grown, _ = load
    assume(grown.output_tokens is not None)
    more = grown + Counters(0, 0, 0, foreign)
    with pytest.raises(ForeignTrafficError, match=f"emitted {more.output_tokens} tokens, our"):
        count(traces, 1, EAGLE, more)


@given(loads(every_step=True))
def test_foreign_drafts_beyond_what_cuts_explain_are_noticed(
    load: tuple[list[Trace], Counters, int],
) -> None:
    traces, grown, _ = load
    more = DL * len(traces) + 1
    with pytest.raises(ForeignTrafficError, match=r"does not fit .*another client"):
        count(traces, 1, EAGLE, grown + Counters(more, more * DL, 0, 0))


def test_counters_that_lag_behind_are_no_acceptance_length() -> None:
    """A counter that moves only later would read as AL 1."""
    trace = Trace("r", 1, 0.0, chunks=[40], totals=RequestTotals())
    with pytest.raises(ForeignTrafficError, match=r"counted 1 drafts with 2 .*counters lag, or"):
        count([trace], 1, EAGLE, Counters(1, 4, 2))


@pytest.mark.parametrize(
    ("grown", "message"),
    [
        (Counters(-3, -9, -2), "counters fell during the run"),
        (Counters(3, 9, 10), "counted 10 accepted of 9 drafted tokens; its counters"),
    ],
)
def test_counters_that_no_engine_can_have(grown: Counters, message: str) -> None:
    trace = Trace("r", 1, 0.0, chunks=[10], totals=RequestTotals())
    with pytest.raises(MeasurementMismatch, match=message):
        count([trace], 1, EAGLE, grown)


def test_slices_add_up() -> None:
    trace = Trace("r", 1, 0.0, chunks=[7], totals=RequestTotals())
    one = count([trace], 1, EAGLE, Counters(3, 12, 3))
    both = total([one, one])
    assert (both.tokens, both.steps, both.samples, both.requests) == (12, 6, 2, 2)
    assert both.acceptance_length == one.acceptance_length == 2.0
    assert total([]).acceptance_length is None
