"""Engines that are up end together."""

from __future__ import annotations

import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from pytest_speedbench.engines import EngineConfig, Speculation
from pytest_speedbench.measure import pool as module
from pytest_speedbench.measure.pool import EnginePool


class Slow:
    """An engine that takes long to end: it waits for the other one."""

    def __init__(self, both: threading.Barrier, error: Exception | None = None) -> None:
        self.both, self.error = both, error
        self.ended = False

    def close(self) -> None:
        self.both.wait(10)
        self.ended = True
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [None, OSError("its pipe is gone")])
def test_engines_end_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    both = threading.Barrier(2)
    engines = [Slow(both, error), Slow(both)]
    rest = iter(engines)
    monkeypatch.setattr(module, "open_engine", lambda config, timeout: next(rest))
    one = EngineConfig("simulated", "org/model", Speculation(), 1)
    pool = EnginePool(10.0)
    for config in (one, replace(one, max_batch=2)):
        pool.get(config)
    pool.close_all()
    assert all(engine.ended for engine in engines)
    assert not pool.running(one)


@pytest.mark.parametrize(
    ("engine", "given", "fits"),
    [
        ("vllm", {"gpu_memory_utilization": 0.4}, True),
        ("vllm", {"gpu_memory_utilization": 0.6}, False),
        ("vllm", {"mem_fraction_static": 0.4}, False),
        ("sglang", {"mem_fraction_static": 0.4}, True),
        ("sglang", {"max_total_tokens": 100_000}, True),
        ("sglang", {}, False),
    ],
)
def test_engines_share_a_gpu_as_their_own_arguments_say(
    monkeypatch: pytest.MonkeyPatch, engine: str, given: dict[str, object], fits: bool
) -> None:
    pool = EnginePool(1.0)
    on_a_gpu = SimpleNamespace(info=SimpleNamespace(device="NVIDIA H200"))
    monkeypatch.setattr(pool, "get", lambda config: on_a_gpu)
    config = EngineConfig(engine, "org/model", args=tuple(given.items()))
    assert pool.room_beside(config, {config.without_speculation()}) is fits
