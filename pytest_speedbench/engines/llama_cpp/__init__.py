"""llama.cpp: its server, started here or joined; its stream has one event per token."""

from __future__ import annotations

from pytest_speedbench.engines.llama_cpp.dialect import LlamaCppDialect
from pytest_speedbench.engines.llama_cpp.files import model_file, tokenizer_source, weights_file
from pytest_speedbench.engines.llama_cpp.server import (
    command_line,
    find_server,
    flags,
    refuse_speculation,
    window,
)
from pytest_speedbench.engines.methods import methods_of
from pytest_speedbench.engines.protocol import FILTERS, EngineConfig, EngineType
from pytest_speedbench.engines.serving.client import open_server
from pytest_speedbench.engines.serving.process import HOST, Launch


def launch(config: EngineConfig, port: int) -> Launch:
    """The command that starts the server of ``config``."""
    where: dict[str, object] = {"host": HOST, "port": port}
    return Launch([*find_server(config).command, *command_line(where | flags(config))])


def _refuse(config: EngineConfig) -> None:
    if config.url:
        return
    server = find_server(config)
    model_file(config.model)
    tokenizer_source(config)
    refuse_speculation(config, server)


def _status() -> str:
    server = find_server()
    return f"{server.name}, {server.version()}"


ENGINE = EngineType(
    name="llama-cpp",
    methods=methods_of("llama-cpp"),
    open=open_server(LlamaCppDialect, launch),
    requires="aiohttp",
    extra="llama-cpp",
    tokenizer_source=tokenizer_source,
    weights=weights_file,
    window=window,
    scores=True,
    server=True,
    prefix_caching=True,
    filters=FILTERS,
    refuse=_refuse,
    status=_status,
)
