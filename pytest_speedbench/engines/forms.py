"""Engines that run in two forms: as a library in a child process, or as a server."""

from __future__ import annotations

from collections.abc import Callable

from pytest_speedbench.engines.protocol import Engine, EngineConfig
from pytest_speedbench.errors import EngineError

Open = Callable[[EngineConfig, float], Engine]
# Arguments that are read here and not passed to the engine.
OURS = ("serve", "port", "api_key", "reference_url", "served_model_name")


def serves(config: EngineConfig) -> bool:
    """Whether to use a server: one to join, or ``serve=true`` to start one.

    Raises:
        EngineError: ``serve`` is neither true nor false.
    """
    asked = config.option("serve", False)
    if not isinstance(asked, bool):
        raise EngineError(f"--speed-engine-arg serve={asked}: expected true or false")
    return bool(config.url) or asked


def open_either(library: Open, server: Open) -> Open:
    """The ``open`` of an :class:`~.protocol.EngineType` that has both forms."""

    def start(config: EngineConfig, timeout: float) -> Engine:
        return (server if serves(config) else library)(config, timeout)

    return start


def environment(config: EngineConfig) -> dict[str, str]:
    """Environment variables of the process that runs the engine, in either form."""
    return {"TOKENIZERS_PARALLELISM": "false"}
