"""Tokens, steps and counters, each from two sources that must agree."""

from __future__ import annotations

import pytest

from pytest_speedbench.conformance.contract import broken
from pytest_speedbench.conformance.subject import Load, Subject
from pytest_speedbench.engines.protocol import Speculation, Trace
from pytest_speedbench.errors import MeasurementMismatch
from pytest_speedbench.measure.check import check_counters, check_traces


def _loads(subject: Subject, speculation: Speculation) -> list[Load]:
    batches = sorted({1, subject.batch_of(speculation)})
    return [subject.load(speculation, batch) for batch in batches]


def _traces(subject: Subject, speculation: Speculation) -> list[Trace]:
    return [trace for load in _loads(subject, speculation) for trace in load.traces]


def test_tokens_add_up(subject: Subject, speculation: Speculation) -> None:
    for load in _loads(subject, speculation):
        for request, trace in zip(load.requests, load.traces, strict=True):
            ids = len(trace.token_ids)
            if trace.tokens < 1 or ids != (0 if trace.text is not None else trace.tokens):
                broken(
                    "tokens-add-up",
                    f"{trace.request_id}: chunks that sum to its token_ids, or text without ids",
                    f"{trace.chunks}, together {trace.tokens}, and {ids} token ids",
                )
            if len(trace.chunks) != len(trace.times):
                broken(
                    "tokens-add-up",
                    f"{trace.request_id}: a time for each of {len(trace.chunks)} events",
                    f"{len(trace.times)} times",
                )
            sent, counted = len(request.prompt_ids), trace.prompt_tokens
            if subject.adapter.prompt_form == "token_ids" and counted != sent:
                broken("tokens-add-up", f"{sent} prompt tokens, as sent", f"{counted}")


def test_every_step_emits_one_to_dl_and_one_tokens(
    subject: Subject, speculation: Speculation
) -> None:
    most = speculation.draft_length + 1
    for trace in _traces(subject, speculation):
        if trace.totals is not None:
            _bound_totals(trace, most)
        elif not all(1 <= size <= most for size in trace.steps):
            broken(
                "steps",
                f"{trace.request_id}: steps of 1 to {most} tokens with {speculation}",
                f"{trace.steps}",
            )
        elif trace.prefill_tokens not in (0, 1) or trace.chunks[0] > max(
            most * (1 - trace.prefill_tokens), 1
        ):
            broken(
                "steps",
                "a first event of one token, the prefill's, or prefill_tokens=0",
                f"{trace.chunks[0]} tokens with prefill_tokens={trace.prefill_tokens}",
            )


def _bound_totals(trace: Trace, most: int) -> None:
    """With D alone: 1 to DL + 1 tokens per step on average."""
    assert trace.totals is not None
    steps, emitted = trace.totals.steps, trace.tokens - trace.prefill_tokens
    if steps is not None and not steps <= emitted <= steps * most:
        broken(
            "steps",
            f"{trace.request_id}: {emitted} tokens after the prefill in {emitted / most:.3g} to "
            f"{emitted} steps",
            f"{steps} steps",
        )


def test_reported_drafts_fit_the_output(subject: Subject, speculation: Speculation) -> None:
    traces = _traces(subject, speculation)
    if not speculation.active:
        pytest.skip("without SD there are no drafts")
    if all(trace.drafted is None and trace.totals is None for trace in traces):
        pytest.skip(f"engine {subject.name} reports nothing about drafts")
    try:
        check_traces(traces, speculation)
    except MeasurementMismatch as error:
        broken("steps", "accepted + 1 tokens for each step that had a draft", str(error))


def test_counters_agree_with_the_traces(subject: Subject, speculation: Speculation) -> None:
    if not speculation.active:
        pytest.skip("without SD there is nothing to count")
    for load in _loads(subject, speculation):
        if load.grown is None:
            pytest.skip(f"engine {subject.name} keeps no counters")
        try:
            check_counters(load.traces, speculation, load.grown)
        except MeasurementMismatch as error:
            broken("counters", f"the sums of the traces of {len(load.traces)} requests", str(error))
