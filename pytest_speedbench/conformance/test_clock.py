"""Times are comparable: within a trace, and with the clock of the client."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pytest_speedbench.conformance.contract import broken
from pytest_speedbench.conformance.subject import Subject
from pytest_speedbench.engines.protocol import Speculation


def test_times_are_monotone(subject: Subject, speculation: Speculation) -> None:
    for trace in subject.load(speculation, subject.batch_of(speculation)).traces:
        times = [trace.submitted, *trace.times]
        if any(later < earlier for earlier, later in pairwise(times)):
            broken("time", f"{trace.request_id}: submitted, then rising times", f"{times}")


def test_times_are_of_this_machines_clock(subject: Subject, speculation: Speculation) -> None:
    batch = subject.batch_of(speculation)
    load = subject.load(speculation, batch)
    for trace in load.traces:
        if trace.submitted < load.began:
            broken(
                "time",
                f"time.perf_counter(): submitted after {load.began:.6f}",
                f"{trace.submitted:.6f}",
            )
    if subject.engine(speculation).info.details.get("clock") == "virtual":
        pytest.skip(f"engine {subject.name} declares a virtual clock: times may lie ahead")
    for trace in load.traces:
        if trace.times and trace.times[-1] > load.ended:
            broken(
                "time",
                f"time.perf_counter(): the last event before {load.ended:.6f}",
                f"{trace.times[-1]:.6f}",
            )
