"""Speculation and batching do not change the output."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_speedbench.conformance.same_output import same_output
from pytest_speedbench.conformance.subject import Subject
from pytest_speedbench.engines.protocol import Request, Speculation, Trace


def test_greedy_output_is_that_without_speculation(
    subject: Subject, speculation: Speculation
) -> None:
    if not speculation.active:
        pytest.skip("the others are compared with this output")
    reference = subject.reference(speculation)
    if reference.speculation == speculation:
        pytest.skip("the server at --speed-url cannot switch its speculation off")
    load = subject.load(speculation, 1)
    what = f"{speculation} against no SD"
    same_output(subject, speculation, load.requests, load.traces, reference.traces, what)


def test_output_does_not_depend_on_the_batch_size(
    subject: Subject, speculation: Speculation
) -> None:
    batch = subject.batch_of(speculation)
    if batch == 1:
        pytest.skip(f"engine {subject.name} declares one request at a time with {speculation}")
    many, one = subject.load(speculation, batch), subject.load(speculation, 1)
    count = min(len(one.requests), len(many.requests))
    what = f"BS {batch} against BS 1"
    same_output(
        subject,
        speculation,
        many.requests[:count],
        many.traces[:count],
        one.traces[:count],
        what,
    )


def test_a_request_goes_on_from_a_given_output(subject: Subject, speculation: Speculation) -> None:
    if subject.adapter.prompt_form == "chat":
        pytest.skip(f"engine {subject.name} takes only text")
    load = subject.load(speculation, 1)
    longer = [(r, t) for r, t in zip(load.requests, load.traces, strict=True) if t.tokens > 1]
    halves = [(*pair, pair[1].tokens // 2) for pair in longer]
    requests = [_rest(request, trace, start) for request, trace, start in halves]
    traces = subject.send(speculation, requests)
    expected = [
        replace(trace, token_ids=trace.token_ids[start:], finish_reason="length")
        for _, trace, start in halves
    ]
    ended = [replace(trace, finish_reason="length") for trace in traces]
    same_output(subject, speculation, requests, ended, expected, "resumed against in one go")


def _rest(request: Request, trace: Trace, start: int) -> Request:
    """The request for the rest of an output, whose first ``start`` tokens are in the prompt."""
    return replace(
        request,
        id=f"{request.id}-rest",
        prompt_ids=(*request.prompt_ids, *trace.token_ids[:start]),
        sampling=replace(request.sampling, max_tokens=trace.tokens - start),
        messages=(),
        resumed=start,
    )
