"""Real engines on the demo model: started once a session, skipped where they are not installed."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import forked_engines
import pytest

from pytest_speedbench.engines import (
    Engine,
    EngineConfig,
    EngineUnavailable,
    Request,
    Sampling,
    Speculation,
    Trace,
    open_engine,
)
from pytest_speedbench.engines.demo import DEMO_INSTALL, DEMO_MODEL, demo_available
from pytest_speedbench.engines.llama_cpp.server import find_server
from pytest_speedbench.engines.process import parent
from pytest_speedbench.measure.tokenizer import HuggingFaceTokenizer

HEAD = Path(__file__).parents[2] / "drafters" / "smollm2-135m-eagle3-v4096"
TIMEOUT = 600.0

needs_demo = pytest.mark.skipif(not demo_available(), reason=f"needs {DEMO_INSTALL}")
needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None, reason="needs pip install 'pytest-speedbench[vllm]'"
)


def _no_llama_cpp() -> str:
    """Why there is no server of llama.cpp; empty where there is one."""
    try:
        find_server()
    except EngineUnavailable as error:
        return str(error)
    return ""


needs_llama_cpp = pytest.mark.skipif(
    bool(_no_llama_cpp()), reason=_no_llama_cpp() or "a server is here"
)

SHORT = Sampling(max_tokens=24)
PROMPTS = (
    "Count from one to twenty in words.",
    "Repeat after me, three times: the red boat sails past the green island.",
    "Write a Python function that returns the larger of two numbers.",
    "Why is the sky blue?",
)


STANDINS = Path(__file__).parent / "standins"


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages in ``standins`` are what imports find, here and in child processes."""
    monkeypatch.syspath_prepend(str(STANDINS))
    path = os.pathsep.join(filter(None, [str(STANDINS), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)


Start = Callable[..., AbstractContextManager[Engine]]


@pytest.fixture
def start(standin: None, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Opens an engine of a stand-in, and closes it."""
    monkeypatch.setattr(parent, "_start", forked_engines.start_standin)

    @contextmanager
    def started(asked: EngineConfig, timeout: float = 30) -> Iterator[Engine]:
        engine = open_engine(asked, timeout)
        try:
            yield engine
        finally:
            engine.close()

    return started


def numbered(count: int = 6, tokens: int = 20, stop: tuple[int, ...] = ()) -> list[Request]:
    """Requests to a stand-in, which goes on counting from the last token."""
    return [
        Request(f"r{n}", (1, 2, 100 * n), Sampling(tokens, ignore_eos=not stop), stop)
        for n in range(count)
    ]


def run(engine: Engine, *requests: Request, batch_size: int = 4) -> list[Trace]:
    """All traces, in the order of the requests."""
    engine.hold(batch_size)
    engine.submit(requests)
    traces: dict[str, Trace] = {}
    while len(traces) < len(requests):
        traces.update({trace.request_id: trace for trace in engine.collect(TIMEOUT)})
    return [traces[request.id] for request in requests]


@pytest.fixture(scope="session")
def tokenizer() -> HuggingFaceTokenizer:
    return HuggingFaceTokenizer(DEMO_MODEL, {})


class Driver:
    """Sends the prompts above to one engine and waits for all of them."""

    def __init__(self, engine: Engine, tokenizer: HuggingFaceTokenizer) -> None:
        self.engine = engine
        self.tokenizer = tokenizer
        self._sent = 0

    def requests(
        self,
        speculation: Speculation,
        sampling: Sampling = SHORT,
        prompts: tuple[str, ...] = PROMPTS,
    ) -> list[Request]:
        self._sent += 1
        return [
            Request(
                f"{self._sent}-{number}",
                tuple(self.tokenizer.render([{"role": "user", "content": text}])),
                sampling,
                self.tokenizer.stop_ids,
                speculation,
                messages=(("user", text),),
            )
            for number, text in enumerate(prompts)
        ]

    def run(
        self,
        speculation: Speculation,
        *,
        batch_size: int = 1,
        sampling: Sampling = SHORT,
        prompts: tuple[str, ...] = PROMPTS,
    ) -> list[Trace]:
        requests = self.requests(speculation, sampling, prompts)
        return run(self.engine, *requests, batch_size=batch_size)


def started(config: EngineConfig, tokenizer: HuggingFaceTokenizer) -> Iterator[Driver]:
    engine = open_engine(config, TIMEOUT)
    try:
        yield Driver(engine, tokenizer)
    finally:
        engine.close()
