"""Any OpenAI-compatible streaming server at ``--speed-url``.

Chat messages in, text out: the server applies its own template. Acceptance comes from its
responses, otherwise from its metrics page; if neither has it, only times are measured.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from pytest_speedbench.engines.methods import methods_of, traits
from pytest_speedbench.engines.prompts import raw_text
from pytest_speedbench.engines.protocol import (
    FILTERS,
    UNKNOWN_METHOD,
    EngineConfig,
    EngineInfo,
    EngineType,
    Request,
    Sampling,
    Trace,
)
from pytest_speedbench.engines.serving.answer import Answer
from pytest_speedbench.engines.serving.client import open_server
from pytest_speedbench.engines.serving.deltas import read_chat_choice, read_completion_choice
from pytest_speedbench.engines.serving.dialect import Dialect
from pytest_speedbench.engines.serving.failures import RequestRefused
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.load import read_stream
from pytest_speedbench.engines.serving.metrics import (
    LLAMA_CPP,
    SGLANG,
    TENSORRT_LLM,
    VLLM,
    MetricNames,
    Page,
    parse_page,
)
from pytest_speedbench.engines.serving.models import PATH as MODELS
from pytest_speedbench.engines.serving.models import find_model
from pytest_speedbench.engines.serving.readers import read_any
from pytest_speedbench.engines.serving.schema import Version
from pytest_speedbench.errors import EngineError

# Repetitive, so that lookup methods draft too, and the response shows what the server reports.
_PROBE = "Repeat this sentence five times: the red boat sails past the green island."
_PROBE_TOKENS = 48
# Metrics prefix, engine, its metric names, request fields beyond those of OpenAI.
_FAMILIES: tuple[tuple[str, str, MetricNames, Mapping[str, object]], ...] = (
    ("vllm:", "vLLM", VLLM, {"return_token_ids": True}),
    ("sglang:", "SGLang", SGLANG, {"return_spec_tokens_details": True}),
    ("trtllm_", "TensorRT-LLM", TENSORRT_LLM, {}),
    ("llamacpp:", "llama.cpp", LLAMA_CPP, {}),
)
_PAGES = ("/metrics", "/prometheus/metrics")
# Engine arguments that are not fields of a request.
_OURS = ("api_key", "reference_url", "served_model_name")


class OpenAiDialect(Dialect):
    """Chat completions, with the extensions of the server that was recognized."""

    path = "/v1/chat/completions"
    health = ""  # not part of the API: the first request shows whether the server is up
    metrics_path = ""
    probes = True
    read_choice = staticmethod(read_chat_choice)
    read_report = staticmethod(read_any)

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config)
        self.extra: dict[str, object] = {}
        self._unreadable = ""
        if config.raw:
            self.path, self.read_choice = "/v1/completions", read_completion_choice

    def connect(self, http: Http) -> EngineInfo:
        family = self._recognize(http)
        window = None
        if http.status(MODELS) == 200:
            card = find_model(http, self.config)
            self.model, window = card.id, card.max_model_len
        probe = self._probe(http)
        per_request = probe.report is not None
        counted = bool(self.metrics_path) and self._has_counters(http)
        details: dict[str, object] = {
            "joined": True,
            "server": family or "not recognized",
            "served_model": self.model,
            "acceptance": self._source(per_request, counted),
            "speculative_method": UNKNOWN_METHOD,
        }
        if window is not None:
            details["max_model_len"] = window
        found = http.find("/version", Version) if family == "vLLM" else None
        version = found.version if found else "unknown"
        return EngineInfo(
            "openai", version, "unknown", "unknown", details, per_request or not counted
        )

    def _recognize(self, http: Http) -> str:
        """The engine behind the address, by its metrics page; empty if it has none."""
        for path in _PAGES:
            page = self._page(http, path)
            for prefix, name, names, extra in _FAMILIES:
                if page is not None and page.has(prefix):
                    self.metrics_path, self.metrics, self.extra = path, names, dict(extra)
                    return name
        return ""

    def _has_counters(self, http: Http) -> bool:
        """Whether the metrics page counts drafts.

        Raises:
            EngineError: it counts some in a case without SD.
        """
        page = self._page(http, self.metrics_path)
        if page is None:
            return False
        reading = page.read(self.metrics)
        self.check_drafts(reading.drafts, reading.draft_tokens)
        return self.counters(reading) is not None

    def _page(self, http: Http, path: str) -> Page | None:
        """The metrics page; None if there is none (TensorRT-LLM's is JSON)."""
        if http.status(path) != 200:
            return None
        try:
            return parse_page(http.get_text(path), http.address.url + path)
        except EngineError:
            self._unreadable = http.address.url + path
            return None

    def _source(self, per_request: bool, counted: bool) -> str:
        if per_request:
            return "reported with each response"
        if counted:
            return "counters of the metrics page"
        page = f" ({self._unreadable} is not a metrics page)" if self._unreadable else ""
        return f"unknown: the server reports nothing about its speculation{page}; timing only"

    def _probe(self, http: Http) -> Answer:
        """One short request: does the server accept it, and what does it report?"""
        messages = (("user", _PROBE),)
        request = Request("probe", (), Sampling(_PROBE_TOKENS), messages=messages)
        answer = Answer(request, time.perf_counter())
        http.wait(read_stream(http, self, answer))
        http.wait(self.complete(http, answer))
        answer.check_end()
        if not answer.failure:
            answer.check_counts()
        return answer

    def body(self, request: Request) -> dict[str, Any]:
        if not request.messages:
            raise RequestRefused(
                f"request {request.id} has token ids but no messages, and a chat server takes only "
                "messages: choose a split with text, or an engine that takes token ids"
            )
        body = super().body(request)
        del body["prompt"]
        if self.config.raw:
            body["prompt"] = raw_text(request.messages)
        else:
            body["messages"] = [{"role": role, "content": text} for role, text in request.messages]
        # Extensions, which strict servers refuse: only if they were asked for.
        if request.sampling.ignore_eos:
            body["ignore_eos"] = True
        if request.sampling.min_tokens:
            body["min_tokens"] = request.sampling.min_tokens
        if request.template:
            body["chat_template_kwargs"] = dict(request.template)
        return {**body, **self.extra, **dict(self._own_arguments())}

    def _own_arguments(self) -> Iterator[tuple[str, object]]:
        return ((name, value) for name, value in self.config.args if name not in _OURS)

    async def complete(self, http: Http, answer: Answer) -> int:
        # A parser of reasoning or of tool calls drops some events together with their ids.
        if answer.token_ids and (answer.counted or 0) > len(answer.token_ids):
            answer.forget_ids()
        return 0

    def trace(self, answer: Answer) -> Trace:
        """By steps if the server reports each of them; otherwise with totals."""
        self.check_report(answer.report)
        answer.report = self.without_tree_nodes(answer.report)
        report, every = answer.report, traits(self.config.speculation.method).every_step
        if report is None or report.drafted is None or not answer.token_ids:
            return answer.totals_trace(every_step_drafts=every)
        return answer.step_trace(self.draft_length, every_step_drafts=every)


def _refuse(config: EngineConfig) -> None:
    if not config.url:
        raise EngineError("engine openai needs the address of a running server: --speed-url URL")


def _refuse_sampling(config: EngineConfig, sampling: Sampling) -> None:
    """Refuses fields of a request that would make it another one than the case says."""
    own = {field.name for field in fields(Sampling)}
    for name, _ in config.args:
        if name in own:
            option = f"--speed-{name.replace('_', '-')}"
            raise EngineError(f"--speed-engine-arg {name}: use {option} instead")


ENGINE = EngineType(
    name="openai",
    methods=methods_of("vllm"),
    own_methods=tuple,  # whatever runs behind the address
    open=open_server(OpenAiDialect),
    requires="aiohttp",
    extra="server",
    step_traces=False,
    filters=FILTERS,
    prompt_form="chat",
    tokenizer="server",
    local=False,
    server=True,
    refuse=_refuse,
    refuse_sampling=_refuse_sampling,
)
