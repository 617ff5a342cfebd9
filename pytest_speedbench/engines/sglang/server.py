"""SGLang's server: started as ``python -m sglang.launch_server``, or joined at ``--speed-url``.

Requests go to ``/generate``, which takes token ids and reports the same as the library. Written
from the source of SGLang 0.5.23.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_speedbench.engines.demo import resolve_model
from pytest_speedbench.engines.forms import environment
from pytest_speedbench.engines.protocol import EngineConfig, EngineInfo, Request, TokenScore, Trace
from pytest_speedbench.engines.serving.answer import Answer
from pytest_speedbench.engines.serving.device import device_name
from pytest_speedbench.engines.serving.dialect import Dialect
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.metrics import SGLANG
from pytest_speedbench.engines.serving.pieces import Piece, SpeculationReport, TokenCounts
from pytest_speedbench.engines.serving.process import HOST, Launch
from pytest_speedbench.engines.serving.schema import GenerateEvent
from pytest_speedbench.engines.sglang.answer import (
    describe,
    finish_reason,
    new_tokens,
    read_score,
    sampling_parameters,
    score_request,
    totals,
)
from pytest_speedbench.engines.sglang.arguments import (
    algorithm,
    counts_drafts,
    server_arguments,
)
from pytest_speedbench.errors import EngineError

# SGLang resolves NEXTN to the algorithm that runs.
_RESOLVED = {"mtp": ("NEXTN", "EAGLE", "FROZEN_KV_MTP")}


class SglangDialect(Dialect):
    """Token ids in and out; chunks are steps if their number agrees with ``spec_verify_ct``."""

    path = "/generate"
    metrics = SGLANG

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.incremental = True
        self.counts_drafts = False
        self._seen: dict[str, int] = {}

    def connect(self, http: Http) -> EngineInfo:
        found = http.find("/server_info", dict[str, Any])
        info = found or http.get("/get_server_info", dict[str, Any])
        self._check_model(http.address.url, info)
        self._check_algorithm(http.address.url, info)
        self.incremental = bool(
            info.get("incremental_streaming_output", info.get("stream_output", False))
        )
        self.counts_drafts = counts_drafts(self.config.speculation, info)
        if http.status(self.metrics_path) != 200:  # without --enable-metrics there is none
            self.metrics_path = ""
        joined = bool(self.config.url)
        details = {
            "joined": joined,
            "served_model": self.model,
            **describe(info, self.config.speculation),
        }
        return EngineInfo(
            "sglang",
            str(info.get("version", "unknown")),
            "unknown" if joined else device_name(cpu=info.get("device") == "cpu"),
            str(info.get("dtype", "auto")),
            details,
        )

    def _check_model(self, url: str, info: Mapping[str, Any]) -> None:
        asked = self.config.option("served_model_name")
        names = (asked,) if asked else (self.config.model, resolve_model(self.config.model))
        served = [info[key] for key in ("served_model_name", "model_path") if info.get(key)]
        if not any(name in names for name in served):
            raise EngineError(
                f"the SGLang server at {url} serves {' / '.join(map(repr, served))}, not "
                f"{names[0]!r}: name that model with --speed-model, or, if only the name differs, "
                "add --speed-engine-arg served_model_name=NAME"
            )
        self.model = str(served[0])

    def _check_algorithm(self, url: str, info: Mapping[str, Any]) -> None:
        """A server cannot switch speculation, so it must do what the case says."""
        speculation = self.config.speculation
        found = info.get("speculative_algorithm")
        if not speculation.active and found:
            raise EngineError(
                f"the SGLang server at {url} speculates ({found}), but this is the arm without SD: "
                "use a second server for it, --speed-engine-arg reference_url=URL, or leave the "
                "arm out, --speed-rounds 0"
            )
        if not speculation.active:
            return
        known = _RESOLVED.get(speculation.method, (algorithm(speculation.method),))
        if found not in known:
            raise EngineError(
                f"the SGLang server at {url} has the speculative algorithm {found or 'none'}, "
                f"method {speculation.method} is {known[0]}: start it with "
                f"--speculative-algorithm {known[0]}, or correct --speed-method"
            )

    def body(self, request: Request) -> dict[str, Any]:
        return {
            "input_ids": list(request.prompt_ids),
            "sampling_params": sampling_parameters(request),
            "stream": True,
            **({"extra_key": request.cache_salt} if request.cache_salt else {}),
        }

    def parse(self, data: bytes) -> Piece:
        event = GenerateEvent.model_validate_json(data)
        meta = event.meta_info
        reason = finish_reason(meta.finish_reason)
        piece = Piece(self._tokens(event, last=reason is not None), finish_reason=reason)
        if reason is not None:
            piece.usage = TokenCounts(
                meta.completion_tokens, meta.prompt_tokens, meta.cached_tokens
            )
            piece.report = SpeculationReport(totals=totals(meta, counts_drafts=self.counts_drafts))
        return piece

    def _tokens(self, event: GenerateEvent, *, last: bool) -> Sequence[int]:
        if self.incremental:
            return event.output_ids
        name = event.meta_info.id
        seen = self._seen.pop(name, 0)
        tokens = new_tokens(event.output_ids, seen, event.meta_info.completion_tokens or 0)
        if not last:
            self._seen[name] = seen + len(tokens)
        return tokens

    def trace(self, answer: Answer) -> Trace:
        return answer.reconciled_trace(self.draft_length)

    def score(
        self, http: Http, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> tuple[TokenScore, int]:
        asked = score_request(token_ids[:position], candidates)
        return read_score(http.post(self.path, asked, dict[str, Any])), 1


def launch(config: EngineConfig, port: int) -> Launch:
    """The server with the same arguments as the library."""
    arguments = {
        "enable_metrics": True,
        # Otherwise every chunk repeats the whole output so far.
        "incremental_streaming_output": True,
        **server_arguments(config),
    }
    command = [sys.executable, "-m", "sglang.launch_server", "--host", HOST, "--port", str(port)]
    for name, value in arguments.items():
        command += _flags(name, value)
    return Launch(command, environment(config))


def _flags(name: str, value: object) -> Iterator[str]:
    """One field of ``ServerArgs`` as command-line flags; a switch that is off has none."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        yield from [flag] if value else []
    elif isinstance(value, list | tuple):
        yield flag
        yield from map(str, value)
    elif isinstance(value, dict):
        yield from (flag, json.dumps(value))
    elif value is not None:
        yield from (flag, str(value))
