"""``trtllm-serve``: started here, or joined at ``--speed-url``.

Completions with token ids in and out (``detokenize: false``). It refuses unknown fields, so no
others are sent. Reading its ``/metrics`` and ``/perf_metrics`` empties them, so they are not used.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_speedbench.engines.protocol import (
    UNKNOWN_METHOD,
    EngineConfig,
    EngineInfo,
    Request,
    Trace,
)
from pytest_speedbench.engines.serving.answer import Answer
from pytest_speedbench.engines.serving.device import device_name
from pytest_speedbench.engines.serving.dialect import Dialect
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.metrics import parse_page
from pytest_speedbench.engines.serving.models import find_model
from pytest_speedbench.engines.serving.pieces import SpeculationReport
from pytest_speedbench.engines.serving.process import HOST, Launch
from pytest_speedbench.engines.serving.readers import read_tensorrt_llm
from pytest_speedbench.engines.serving.schema import Event, Version
from pytest_speedbench.engines.tensorrt_llm.arguments import (
    drafts_a_chain,
    given_speculative,
    knows,
    llm_arguments,
)
from pytest_speedbench.engines.tensorrt_llm.backend import sampling_parameters
from pytest_speedbench.errors import EngineError

_PAGE = "/prometheus/metrics"
_SPECULATION = "trtllm_speculative_config_info"
_NAMES = ("engine_type", "model_name", "spec_draft_model")
_PER_REQUEST = "per_request_spec_decode_stats"


class TensorrtLlmDialect(Dialect):
    """Chunks are steps if their number agrees with ``avg_decoded_tokens_per_iter``."""

    metrics_path = ""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.counts_drafts = drafts_a_chain(given_speculative(config))

    def connect(self, http: Http) -> EngineInfo:
        version = http.get("/version", Version).version
        self.model = find_model(http, self.config).id
        infos = self._infos(http)
        joined = bool(self.config.url)
        details: dict[str, object] = {"joined": joined, "served_model": self.model}
        parallel = infos.get("trtllm_parallel_config_info", {})
        cache = infos.get("trtllm_kv_cache_config_info", {})
        details |= {name: value for name, value in parallel.items() if name.endswith("_size")}
        details["prefix_caching"] = cache.get("enable_block_reuse")
        details["kv_cache_config"] = _settings(cache)
        details["speculative_method"] = self._speculation(http.address.url, infos)
        details["speculative"] = _settings(infos.get(_SPECULATION, {}))
        device = "unknown" if joined else device_name(cpu=False)
        dtype = infos.get("trtllm_model_config_info", {}).get("dtype", "auto")
        # Its log-probabilities come with token texts, not ids.
        return EngineInfo("tensorrt-llm", version, device, dtype, details, scores=False)

    def _infos(self, http: Http) -> Mapping[str, Mapping[str, str]]:
        """The configuration on the Prometheus page; empty if the server has no such page."""
        if http.status(_PAGE) != 200:
            return {}
        return parse_page(http.get_text(_PAGE), http.address.url + _PAGE).infos

    def _speculation(self, url: str, infos: Mapping[str, Mapping[str, str]]) -> str:
        """The server's speculative method, if it reports it; a server cannot switch it."""
        if not infos:
            return UNKNOWN_METHOD
        found = infos.get(_SPECULATION, {})
        method = found.get("spec_method", "none").lower() if _enabled(found) else "none"
        speculation = self.config.speculation
        if speculation.active != (method != "none"):
            raise EngineError(
                f"the TensorRT-LLM server at {url} has the speculative method {method}, but this "
                f"arm needs {speculation}: use one server per arm, --speed-url and "
                "--speed-engine-arg reference_url=URL"
            )
        length = found.get("spec_num_tokens", "")
        if speculation.active and length.isdigit() and int(length) != speculation.draft_length:
            raise EngineError(
                f"the TensorRT-LLM server at {url} drafts {length} tokens per step: "
                f"use --speed-dl {length}, or start it with {speculation.draft_length}"
            )
        return method

    def body(self, request: Request) -> dict[str, Any]:
        parameters = sampling_parameters(request)
        kept = ("ignore_eos", "include_stop_str_in_output", "detokenize", "stop_token_ids")
        return {
            **super().body(request),
            "add_special_tokens": False,
            **{name: parameters[name] for name in kept if name in parameters},
        }

    def read_report(self, event: Event) -> SpeculationReport | None:
        report = read_tensorrt_llm(event)
        if report is None or self.counts_drafts:
            return report
        # Nodes of a tree: most of them can never be accepted.
        return replace(report, totals=replace(report.totals, draft_tokens=None))

    def trace(self, answer: Answer) -> Trace:
        self.check_report(answer.report)
        answer.report = self.without_tree_nodes(answer.report)
        self._check_plain(answer)
        return answer.reconciled_trace(self.draft_length)

    def _check_plain(self, answer: Answer) -> None:
        """Checks that an arm without SD emits one token per iteration."""
        average = answer.report.tokens_per_pass if answer.report else None
        if not self.draft_length and average is not None and average > 1.0 + 1e-6:
            raise EngineError(
                f"the server decodes {average:.2f} tokens per iteration, but this is the arm "
                "without SD: use a second server for it, --speed-engine-arg reference_url=URL"
            )


def _settings(labels: Mapping[str, str]) -> dict[str, str]:
    """Labels that are settings; models are identified by their weights."""
    return {name: value for name, value in labels.items() if name not in _NAMES}


def _enabled(found: Mapping[str, str]) -> bool:
    return bool(found) and found.get("spec_enabled", "true").lower() not in ("false", "0")


def launch(config: EngineConfig, port: int) -> Launch:
    """``trtllm-serve`` with the arguments of the library in an options file."""
    arguments = llm_arguments(config)
    model = str(arguments.pop("model"))
    options = {"return_perf_metrics": True, **arguments}
    if config.speculation.active and knows(_PER_REQUEST):
        options.setdefault(_PER_REQUEST, True)
    command = [_program(), model, "--host", HOST, "--port", str(port)]
    return Launch([*command, "--extra_llm_api_options", _options_file(options)])


def _program() -> str:
    beside = Path(sys.executable).with_name("trtllm-serve")
    return str(beside) if beside.exists() else shutil.which("trtllm-serve") or "trtllm-serve"


def _options_file(options: Mapping[str, Any]) -> str:
    """A YAML file (JSON is valid YAML) that is removed when this process ends."""
    descriptor, path = tempfile.mkstemp(prefix="trtllm-", suffix=".yaml")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(options, file, indent=1)

    def remove() -> None:
        with contextlib.suppress(OSError):
            Path(path).unlink()

    atexit.register(remove)
    return path
