"""Counts of an engine back to the steps that they were counted from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.interop.conversion import Reported, Timing, decoding_steps, trace_of

DL = 4
drafting = st.lists(st.integers(0, DL), min_size=1, max_size=30)
timing = Timing(1.0, 1.5, 3.0)


def report(accepted: Sequence[int]) -> Reported:
    """What vLLM reports of steps that each had a draft of ``DL`` tokens."""
    drafted = [DL] * len(accepted)
    return Reported(len(accepted), sum(drafted), sum(accepted), (drafted, accepted), DL)


@given(drafting, st.integers(0, DL))
def test_steps_are_those_that_emitted_the_tokens(accepted: list[int], cut: int) -> None:
    """The end of the output may cut the last step, and never down to nothing."""
    sizes = [a + 1 for a in accepted]
    sizes[-1] -= min(cut, accepted[-1])
    tokens = 1 + sum(sizes)
    trace = trace_of("r", tokens, report(accepted), timing, every_step=True)
    assert trace is not None
    assert trace.steps == sizes
    assert (trace.submitted, trace.times[0], trace.times[-1]) == (1.0, 1.5, 3.0)
    totals = trace_of(
        "r", tokens, replace(report(accepted), per_step=None), timing, every_step=True
    )
    assert totals is not None
    assert totals.tokens == tokens
    assert totals.decoding_steps == len(sizes)


@given(drafting, st.integers(0, 10), st.integers(0, DL), st.booleans())
def test_steps_without_a_draft_are_known_by_events_or_not_at_all(
    accepted: list[int], alone: int, cut: int, streamed: bool
) -> None:
    """Of a lookup method, whose drafts alone never say how many steps there were."""
    cut = min(cut, accepted[-1])
    tokens = 1 + sum(a + 1 for a in accepted) - cut + alone
    steps = len(accepted) + alone
    events = steps + 1 if streamed else 0
    found = decoding_steps(tokens, report(accepted), events, every_step=False)
    assert found == steps or (found is None and not streamed)
    if streamed:
        trace = trace_of(
            "r", tokens, report(accepted), replace(timing, events=events), every_step=False
        )
        assert trace is not None
        assert trace.decoding_steps == steps


@given(drafting)
def test_more_steps_than_tokens_are_refused(accepted: list[int]) -> None:
    assert trace_of("r", len(accepted), report(accepted), timing, every_step=True) is None
    summary = replace(report(accepted), per_step=None)
    assert trace_of("r", len(accepted), summary, timing, every_step=True) is None
