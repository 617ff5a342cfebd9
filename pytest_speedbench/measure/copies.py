"""Copies of one request that differ in their seed alone: draws from one distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_speedbench.engines.protocol import Engine, Request, Trace
from pytest_speedbench.measure.failures import count_failed, too_many_failed
from pytest_speedbench.measure.load import COLLECT_SECONDS


def seeded_copies(
    engine: Engine, request: Request, seeds: Sequence[int], batch_size: int, max_failed: float
) -> list[Trace]:
    """The traces of ``request`` under ``seeds`` that came to their end, in the order of the seeds.

    Raises:
        EngineDied: the engine ended or fell silent.
        EngineError: more than the share ``max_failed`` were broken off.
    """
    copies = [
        replace(request, id=f"{request.id}/{seed}", sampling=replace(request.sampling, seed=seed))
        for seed in seeds
    ]
    engine.hold(batch_size)
    engine.submit(copies)
    found: dict[str, Trace] = {}
    while len(found) < len(copies):
        found.update({trace.request_id: trace for trace in engine.collect(COLLECT_SECONDS)})
    failed = count_failed(found.values())
    if failed.total() > max_failed * len(copies):
        raise too_many_failed(failed, len(copies), max_failed)
    traces = (found[copy.id] for copy in copies)
    return [trace for trace in traces if trace.finish_reason != "abort"]
