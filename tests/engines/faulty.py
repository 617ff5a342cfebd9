"""An adapter of a third party, in one process, with one fault of its choice: ``fault=NAME``.

Without a fault it keeps the contract: real time, exact steps, true counters.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_speedbench.engines import (
    Counters,
    EngineConfig,
    EngineDied,
    EngineError,
    EngineInfo,
    EngineType,
    Request,
    TokenScore,
    Trace,
)
from pytest_speedbench.engines.process.backend import StepOutput
from pytest_speedbench.engines.process.child import RequestLoop
from pytest_speedbench.engines.simulated import SimulatedBackend

WINDOW = 4096
LEAKED: list[subprocess.Popen[bytes]] = []


class Backend(SimulatedBackend):
    """The simulated engine's tokens in real time."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.fault = str(config.option("fault", ""))
        details = {key: value for key, value in self.info.details.items() if key != "clock"}
        details["context_window"] = WINDOW
        if self.fault == "caches prefixes":
            details["prefix_caching"] = True
        self.info = EngineInfo("faulty", "1", "cpu", "float32", details)
        if self.fault == "does not start" and config.speculation.active:
            raise EngineError("this version has no speculation")

    def now(self) -> float:
        return time.time() if self.fault == "another clock" else time.perf_counter()

    def add(self, request: Request) -> None:
        if self.fault == "dies of an empty prompt" and not request.prompt_ids:
            raise EngineDied("engine faulty ended by signal SIGSEGV")
        if self.fault == "cuts long prompts":
            request = replace(request, prompt_ids=request.prompt_ids[:1000])
        if len(request.prompt_ids) > WINDOW:
            raise EngineError(f"request {request.id}: more than {WINDOW} tokens")
        sampling = request.sampling
        if self.fault == "ignores stop tokens":
            request = replace(request, stop_ids=())
        if self.fault == "ignores ignore_eos":
            sampling = replace(sampling, ignore_eos=False)
        if self.fault == "ignores min_tokens":
            sampling = replace(sampling, min_tokens=0)
        super().add(replace(request, sampling=sampling))

    def step(self) -> list[StepOutput]:
        return [replace(output, time=None) for output in super().step()]

    def _draft(self, running: Any, chances: Sequence[float]) -> int:
        accepted = super()._draft(running, chances)
        return accepted + (self.fault == "a step too long" and accepted == len(running.chance))

    def _greedy_offset(self, running: Any) -> int:
        if self.fault == "batches badly" and len(self.running) > 1 and len(running.emitted) == 5:
            return 9
        return super()._greedy_offset(running)

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        score = super().score(token_ids, position, candidates)
        if self.fault != "scores in bits":
            return score
        logprobs = {token: p - 5.0 for token, p in score.logprobs.items()}
        return replace(score, logprobs=logprobs)


class Engine:
    """Steps its backend whenever it is asked for traces."""

    def __init__(self, config: EngineConfig, timeout: float) -> None:
        self.backend = Backend(config)
        self.fault, self.info = self.backend.fault, self.backend.info
        self.loop = RequestLoop(self.backend, self)  # type: ignore[arg-type]
        self.inbox: list[tuple[Any, ...]] = []
        self.closed = False
        if self.fault == "leaks a process":
            LEAKED.append(subprocess.Popen(["sleep", "60"]))

    def send(self, message: tuple[Any, ...]) -> None:
        """The loop's side of the connection."""
        self.inbox.append(message)

    def submit(self, requests: Sequence[Request], *, first: bool = False) -> None:
        if self.closed and self.fault != "answers after close":
            raise EngineDied("engine faulty is closed")
        self.loop.on_submit(requests, first)

    def hold(self, batch_size: int) -> None:
        wrong = {"too many at once": batch_size + 1, "one at a time": 1}
        self.loop.on_hold(wrong.get(self.fault, batch_size))

    def collect(self, timeout: float) -> list[Trace]:
        while not self.inbox and (self.loop.live or self.loop.waiting):
            try:
                self.loop.admit()
                self.loop.report(self.backend.step())
            except EngineDied:
                raise
            except EngineError as error:
                self.loop.refuse(error)
        return self._take()

    def _take(self) -> list[Trace]:
        traces: list[Trace] = []
        while self.inbox:
            kind, *content = self.inbox.pop(0)
            if kind == "refused":
                raise EngineError(content[0])
            traces += content[0] if kind == "traces" else []
        if self.fault == "loses a token":
            for trace in traces:
                del trace.token_ids[-1:]
        if self.fault == "one token too many":
            for trace in traces:
                if trace.finish_reason == "length":
                    trace.token_ids.append(trace.token_ids[-1])
                    trace.chunks[-1] += 1
        if self.fault == "reports no drafts":
            for trace in traces:
                trace.drafted = trace.accepted = None
        if self.fault == "time runs backwards":
            for trace in traces:
                trace.times[2:4] = reversed(trace.times[2:4])
        if self.fault == "answers twice":
            traces += traces[:1]
        return traces

    def cancel(self, request_ids: Sequence[str]) -> None:
        others = [*self.loop.live, *(request.id for request in self.loop.waiting)]
        if self.fault == "cancels the neighbours":
            request_ids = [*request_ids, *others]
        if self.fault != "cancels nothing":
            self.loop.on_cancel(request_ids)

    def counters(self) -> Counters | None:
        return self.backend.counters()

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        return self.backend.score(token_ids, position, candidates)

    def close(self) -> None:
        self.closed = True


ENGINE = EngineType(
    name="faulty",
    methods=("none", "eagle3"),
    open=Engine,
    tokenizer="words",
    scores=True,
)
