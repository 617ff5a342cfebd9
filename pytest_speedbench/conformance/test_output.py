"""Speculation and batching do not change the output."""

from __future__ import annotations

import pytest

from pytest_speedbench.conformance.same_output import same_output
from pytest_speedbench.conformance.subject import Subject
from pytest_speedbench.engines.protocol import Speculation


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
