"""A request of a record decodes once, and to the same as the turn that it was written from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.baselines.packing import pack_ids, pack_numbers
from pytest_speedbench.baselines.requests import RequestRecord, decode_turn
from pytest_speedbench.baselines.storage import read_run
from pytest_speedbench.errors import MeasurementMismatch, RecordError
from pytest_speedbench.measure.metrics import request_traces
from pytest_speedbench.stats.data import RequestTrace, StepTrace
from tests.compare.saved_runs import record, save


def request(steps: list[int], **changes: Any) -> RequestRecord:
    tokens = 1 + sum(steps)
    data = {
        "sample": "s",
        "category": "math",
        "turn": 0,
        "prompt_tokens": 5,
        "tokens": tokens,
        "prefill_tokens": 1,
        "steps": pack_numbers(steps),
        "ids": pack_ids(range(tokens)),
        "sent": 0.0,
        "first": 0.1,
        "last": 1.0,
        "finish": "stop",
    }
    return RequestRecord.model_validate({**data, **changes})


STEPS = st.lists(st.integers(0, 4), max_size=8)
PACKED = st.none() | st.lists(st.integers(0, 3), max_size=8).map(pack_numbers)


@st.composite
def requests(draw: st.DrawFn) -> RequestRecord:
    """Of all forms, whole and damaged."""
    steps = draw(STEPS)
    own = draw(st.booleans())
    return request(
        steps,
        tokens=draw(st.sampled_from([0, 1 + sum(steps), sum(steps)])),
        prefill_tokens=draw(st.integers(0, 1)),
        ids=pack_ids(range(draw(st.sampled_from([0, 1 + sum(steps), sum(steps)])))),
        drafted=pack_numbers([3] * len(steps)) if own else draw(PACKED),
        accepted=pack_numbers([max(0, s - 1) for s in steps]) if own else draw(PACKED),
        totals=draw(st.sampled_from([None, {"steps": len(steps)}, {}])),
    )


def _values(trace: RequestTrace) -> dict[str, Any]:
    arrays = ("steps", "token_ids", "drafted", "accepted")
    found = {name: getattr(trace, name) for name in trace.__dataclass_fields__}
    return {n: v.tolist() if n in arrays and v is not None else v for n, v in found.items()}


@given(requests())
def test_the_trace_is_that_of_the_turn(one: RequestRecord) -> None:
    try:
        (expected,) = request_traces([decode_turn(one)])
    except (ValueError, MeasurementMismatch):
        with pytest.raises((ValueError, MeasurementMismatch)):
            one.trace  # noqa: B018
        return
    assert _values(one.trace) == _values(expected)
    assert one.trace is one.trace


def test_a_copy_decodes_what_it_has() -> None:
    one = request([2, 3, 1])
    assert (one.trace.decode_tokens, one.repeats_itself) == (6, False)
    loop = [7] * 40
    update = {"sample": "other", "steps": pack_numbers([39]), "tokens": 40, "ids": pack_ids(loop)}
    for copied in (one.model_copy(update=update), one.model_copy(update=update, deep=True)):
        assert (copied.trace.sample, copied.trace.decode_tokens) == ("other", 39)
        assert copied.token_ids.tolist() == loop
        assert copied.repeats_itself
    assert one.trace.sample == "s"


@pytest.mark.parametrize(("tokens", "expected"), [(0, False), (40, None)])
def test_whether_an_answer_without_ids_is_a_loop(tokens: int, expected: bool | None) -> None:
    one = request([], tokens=tokens, ids=pack_ids([]), totals={})
    assert one.repeats_itself is expected


@pytest.mark.parametrize("events", [65 + 4 * 4, 10**9, 10**30])
def test_more_output_events_than_tokens_explain_are_damage(events: int) -> None:
    assert len(decode_turn(request([2, 1], events=64)).trace.times) == 64
    with pytest.raises(RecordError, match=f"{events} output events of 4 tokens"):
        decode_turn(request([2, 1], events=events))


def test_the_slices_of_a_run_share_their_requests(tmp_path: Path) -> None:
    math, whole = record(slice_name="math"), record(slice_name="all")
    changed = [whole.requests[0].model_copy(update={"last": 2.0}), *whole.requests[1:]]
    path = save(tmp_path / "0001_x.json", [math, whole.model_copy(update={"requests": changed})])
    one, other = read_run(path).read()
    assert one.requests[0] is not other.requests[0]
    assert all(a is b for a, b in zip(one.requests[1:], other.requests[1:], strict=True))
    assert (one.requests, other.requests) == (math.requests, changed)
    trace = one.requests[1].trace
    assert isinstance(trace, StepTrace)
    assert np.array_equal(trace.steps, other.requests[1].trace.steps)
