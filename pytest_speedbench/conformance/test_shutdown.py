"""Closed: no process, no memory left. This comes last, since it ends the engine."""

from __future__ import annotations

import pytest

from pytest_speedbench.conformance.contract import broken
from pytest_speedbench.conformance.processes import Held, can_look, wait_until
from pytest_speedbench.conformance.subject import Subject
from pytest_speedbench.engines.protocol import Speculation

EACH = "engine"
# A process that was killed takes a moment to go, a GPU driver a little longer to notice.
_GRACE_SECONDS = 10.0
# What other programs on the machine may take or give meanwhile.
_NOISE = 256 << 20


def test_close_gives_everything_back(subject: Subject, speculation: Speculation) -> None:
    if subject.joined:
        pytest.skip("the server at --speed-url is not ours to end")
    if not can_look():
        pytest.skip("processes are looked up in /proc, which this system has not")
    subject.engine(speculation)
    subject.send(speculation, subject.requests(1, speculation))
    before, full = subject.before, Held.now()
    subject.close()
    started = full.processes - before.processes
    wait_until(lambda: not any(process.alive for process in started), _GRACE_SECONDS)
    left = [process for process in started if process.alive]
    if left:
        told = (f"{p.pid} ({p.resident >> 20} MiB): {p.command[:120]}" for p in left)
        broken("the-end", f"the engine's {len(started)} processes end", f"alive: {'; '.join(told)}")
    if not started:
        _given_back("memory of this process", before.resident, full.resident, Held.now().resident)
    if before.gpu is not None and full.gpu is not None:
        allowed = before.gpu + _NOISE
        wait_until(lambda: (Held.now().gpu or 0) <= allowed, _GRACE_SECONDS)
        _given_back("GPU memory", before.gpu, full.gpu, Held.now().gpu or 0)


def _given_back(what: str, before: int, full: int, after: int) -> None:
    """At least half of what the engine took, and all but what others may have taken meanwhile."""
    if after - before > max(_NOISE, (full - before) / 2):
        broken(
            "the-end",
            f"{what}: about the {before >> 20} MiB of before the start, after {full >> 20} MiB",
            f"{after >> 20} MiB",
        )
