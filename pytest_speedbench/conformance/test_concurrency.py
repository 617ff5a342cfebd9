"""The batch size is reached, and never exceeded."""

from __future__ import annotations

import pytest

from pytest_speedbench.conformance.contract import broken, most_at_once
from pytest_speedbench.conformance.subject import Subject
from pytest_speedbench.engines.protocol import Speculation


def test_never_more_than_asked(subject: Subject, speculation: Speculation) -> None:
    for batch in sorted({1, subject.batch_of(speculation)}):
        traces = subject.load(speculation, batch).traces
        most = most_at_once([(t.submitted, t.times[-1]) for t in traces if t.times])
        if most > batch:
            broken("requests-in-flight", f"at most {batch} after hold({batch})", f"{most}")


def test_as_many_as_asked(subject: Subject, speculation: Speculation) -> None:
    """From first to last token: a request in the engine's queue does not count."""
    batch = subject.batch_of(speculation)
    if batch == 1:
        pytest.skip(f"engine {subject.name} declares one request at a time with {speculation}")
    traces = subject.load(speculation, batch).traces
    most = most_at_once([(t.times[0], t.times[-1]) for t in traces if t.times])
    if most < batch:
        broken("requests-in-flight", f"{batch} served together after hold({batch})", f"{most}")
