"""Copies of one request that differ in their seed alone: draws from one distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_speedbench.engines.protocol import Engine, Request, Trace

_PATIENCE_SECONDS = 0.5


def seeded_copies(
    engine: Engine, request: Request, seeds: Sequence[int], batch_size: int
) -> list[Trace]:
    """The traces of ``request`` under every one of ``seeds``, in the order of the seeds.

    Raises:
        EngineDied: the engine ended or fell silent.
    """
    copies = [
        replace(request, id=f"{request.id}/{seed}", sampling=replace(request.sampling, seed=seed))
        for seed in seeds
    ]
    engine.hold(batch_size)
    engine.submit(copies)
    found: dict[str, Trace] = {}
    while len(found) < len(copies):
        found.update({trace.request_id: trace for trace in engine.collect(_PATIENCE_SECONDS)})
    return [found[copy.id] for copy in copies]
