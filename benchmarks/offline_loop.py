"""vLLM as the plugin drives it, and vLLM's own offline loop, around one engine in one process."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from pytest_speedbench.engines import Counters, EngineConfig, Request
from pytest_speedbench.engines.process.backend import StepOutput
from pytest_speedbench.engines.vllm.backend import VllmBackend

OFFLINE = "offline"
"""The label of requests that go through ``LLM.generate``, all that wait together."""
TIMES = "SPEEDBENCH_LOOP_TIMES"
"""Names the file that gets the engine's times at its end."""


class OfflineBackend(VllmBackend):
    """Times what the plugin's loop spends between two ``LLMEngine.step()`` of a busy engine."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.waiting: list[Request] = []
        self.inside = self.outside = self.idle = 0.0
        self.tokens = 0
        self.left: float | None = None
        self.stepping = False
        self.core_output = self.engine.engine_core.get_output
        self.engine.engine_core.get_output = self._wait

    def counters(self) -> Counters | None:
        """Asked before the rounds that count: what came before was warm-up."""
        self.inside = self.outside = self.idle = 0.0
        self.tokens = 0
        return super().counters()

    def _wait(self) -> Any:
        """Where the engine core is a process of its own, the time until its next step is done."""
        asked = time.perf_counter()
        output = self.core_output()
        if self.stepping:
            self.idle += time.perf_counter() - asked
        return output

    def add(self, request: Request) -> None:
        if request.label == OFFLINE:
            self.waiting.append(request)
        else:
            super().add(request)

    def step(self) -> list[StepOutput]:
        if self.waiting:
            return self._generate()
        self.stepping = True
        entered = time.perf_counter()
        if self.left is not None:
            self.outside += entered - self.left
        outputs = self.engine.step()
        left = time.perf_counter()
        self.stepping = False
        self.inside += left - entered
        self.left = left if self.engine.has_unfinished_requests() else None
        made = [self._output(output) for output in outputs]
        self.tokens += sum(len(output.token_ids) for output in made)
        return made

    def _generate(self) -> list[StepOutput]:
        from vllm import SamplingParams

        requests, self.waiting = self.waiting, []
        sampling = requests[0].sampling
        parameters = SamplingParams(
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            ignore_eos=sampling.ignore_eos,
            detokenize=False,
        )
        prompts = [{"prompt_token_ids": list(request.prompt_ids)} for request in requests]
        outputs = self.llm.generate(prompts, parameters, use_tqdm=False)
        ended = time.perf_counter()
        return [
            StepOutput(request.id, list(output.outputs[0].token_ids), "length", ended)
            for request, output in zip(requests, outputs, strict=True)
        ]

    def close(self) -> None:
        told = {
            "inside": self.inside,
            "outside": self.outside,
            "idle": self.idle,
            "tokens": self.tokens,
        }
        Path(os.environ[TIMES]).write_text(json.dumps(told), encoding="utf-8")
        super().close()
