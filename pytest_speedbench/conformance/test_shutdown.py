"""A closed engine leaves no process and no memory. Comes last, since it ends the engine."""

from __future__ import annotations

import pytest

from pytest_speedbench.conformance.contract import broken
from pytest_speedbench.conformance.processes import Held, has_proc, wait_until
from pytest_speedbench.conformance.subject import Subject
from pytest_speedbench.engines.protocol import Speculation

EACH = "engine"
# A killed process takes a moment to end, and a GPU driver longer to free its memory.
_GRACE_SECONDS = 10.0
# Memory that other programs may allocate or free meanwhile.
_NOISE = 256 << 20


def test_close_frees_everything(subject: Subject, speculation: Speculation) -> None:
    if subject.joined:
        pytest.skip("the server at --speed-url is not ours to end")
    if not has_proc():
        pytest.skip("processes are looked up in /proc, which this system does not have")
    subject.engine(speculation)
    subject.send(speculation, subject.requests(1, speculation))
    before, full = subject.before, Held.now()
    subject.close()
    started = full.processes - before.processes
    wait_until(lambda: not any(process.alive for process in started), _GRACE_SECONDS)
    left = [process for process in started if process.alive]
    if left:
        listed = (f"{p.pid} ({p.resident >> 20} MiB): {p.command[:120]}" for p in left)
        broken(
            "the-end", f"the engine's {len(started)} processes end", f"alive: {'; '.join(listed)}"
        )
    if not started:
        _freed("memory of this process", before.resident, full.resident, Held.now().resident)
    if before.gpu is not None and full.gpu is not None:
        allowed = before.gpu + _NOISE
        wait_until(lambda: (Held.now().gpu or 0) <= allowed, _GRACE_SECONDS)
        _freed("GPU memory", before.gpu, full.gpu, Held.now().gpu or 0)


def _freed(what: str, before: int, full: int, after: int) -> None:
    """At least half of the engine's memory, and all but what others may have allocated."""
    if after - before > max(_NOISE, (full - before) / 2):
        broken(
            "the-end",
            f"{what}: about {before >> 20} MiB as before the start, after {full >> 20} MiB",
            f"{after >> 20} MiB",
        )
