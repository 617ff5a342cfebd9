"""The adapters of the engines, one package or module each, behind one protocol."""

from __future__ import annotations

from pytest_speedbench.engines.protocol import (
    NO_SPECULATION,
    Counters,
    Engine,
    EngineConfig,
    EngineInfo,
    EngineType,
    Request,
    RequestTotals,
    Sampling,
    Speculation,
    TokenScore,
    Trace,
    spread_tokens,
)
from pytest_speedbench.engines.registry import check, engine_names, engine_type, open_engine
from pytest_speedbench.errors import EngineDied, EngineError, EngineUnavailable

__all__ = [
    "NO_SPECULATION",
    "Counters",
    "Engine",
    "EngineConfig",
    "EngineDied",
    "EngineError",
    "EngineInfo",
    "EngineType",
    "EngineUnavailable",
    "Request",
    "RequestTotals",
    "Sampling",
    "Speculation",
    "TokenScore",
    "Trace",
    "check",
    "engine_names",
    "engine_type",
    "open_engine",
    "spread_tokens",
]
