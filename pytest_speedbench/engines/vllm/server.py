"""``vllm serve``: started here, or joined at ``--speed-url``."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pytest_speedbench.engines.forms import OURS
from pytest_speedbench.engines.methods import methods_of, traits
from pytest_speedbench.engines.protocol import (
    FILTERS,
    UNKNOWN_METHOD,
    EngineConfig,
    EngineInfo,
    EngineType,
    Request,
    TokenScore,
    Trace,
)
from pytest_speedbench.engines.serving.answer import Answer
from pytest_speedbench.engines.serving.client import open_server
from pytest_speedbench.engines.serving.device import device_name
from pytest_speedbench.engines.serving.dialect import Dialect
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.metrics import VLLM, parse_page
from pytest_speedbench.engines.serving.models import find_model
from pytest_speedbench.engines.serving.process import HOST, Launch
from pytest_speedbench.engines.serving.readers import read_vllm
from pytest_speedbench.engines.serving.schema import (
    Logprob,
    ScoredCompletion,
    ServerInfo,
    Version,
)
from pytest_speedbench.engines.vllm.arguments import (
    DRAFT_SAMPLINGS,
    PER_REQUEST_METRICS,
    SCHEDULES,
    cpu_build,
    engine_arguments,
    environment,
    has_argument,
    own_arguments,
    own_methods,
    refuse,
    refuse_sampling,
    serve_arguments,
)
from pytest_speedbench.engines.vllm.configuration import configuration, dtype_of, verification
from pytest_speedbench.errors import EngineError, EngineUnavailable

# Arguments that the server does not have.
_NOT_FOR_SERVE = ("port", "api_key", "reference_url", "skip_tokenizer_init")
# Switches of vLLM's parser that have no --no-… form.
_ONLY_ON = ("disable_log_stats", "aggregate_engine_logging", "headless")
# Labels of the metrics page → the names of their settings.
_CACHE_LABELS = {
    "block_size": "block_size",
    "cache_dtype": "kv_cache_dtype",
    "gpu_memory_utilization": "gpu_memory_utilization",
    "num_gpu_blocks": "kv_blocks",
    "sliding_window": "sliding_window",
}


class VllmDialect(Dialect):
    """Completions with token ids in and out, and vLLM's report of every step."""

    metrics = VLLM
    read_report = staticmethod(read_vllm)

    def connect(self, http: Http) -> EngineInfo:
        version = http.get("/version", Version).version
        card = find_model(http, self.config)
        self.model = card.id
        page = parse_page(http.get_text(self.metrics_path), http.address.url + self.metrics_path)
        speculates = page.read(self.metrics).drafts is not None
        self._check_speculation(http.address.url, speculates)
        resolved = self._configuration(http)
        details: dict[str, object] = {
            "joined": bool(self.config.url),
            "served_model": self.model,
            "max_model_len": card.max_model_len,
            **_cache_settings(page.infos.get("vllm:cache_config_info", {})),
            "speculative_method": self._method(speculates),
            **verification(self.config.option("speculative.rejection_sample_method")),
            **(configuration(resolved) if resolved else {}),
        }
        self._check_method(http.address.url, str(details["speculative_method"]))
        device = "unknown" if self.config.url else device_name(cpu=cpu_build())
        dtype = "unknown" if self.config.url else str(self.config.option("dtype", "auto"))
        if resolved:
            dtype = dtype_of(resolved)
        return EngineInfo("vllm-server", version, device, dtype, details)

    def _configuration(self, http: Http) -> Any:
        """The whole configuration, which only a server in development mode reports
        (``VLLM_SERVER_DEV_MODE=1``); None from others."""
        found = http.find("/server_info?config_format=json", ServerInfo)
        config = found.vllm_config if found else None
        return config if isinstance(config, dict) else None

    def _method(self, speculates: bool) -> str:
        """What is known of the method without the whole configuration."""
        if not speculates:
            return "none"
        return UNKNOWN_METHOD if self.config.url else self.config.speculation.method

    def _check_method(self, url: str, found: str) -> None:
        method = self.config.speculation.method
        # Older versions report the name of the model's own kind, such as deepseek_mtp.
        if found in (UNKNOWN_METHOD, method) or found.endswith(f"_{method}"):
            return
        raise EngineError(
            f"the vLLM server at {url} speculates with method {found}, this case has {method}: use "
            f"--speed-method {found}, or another server"
        )

    def _check_speculation(self, url: str, speculates: bool) -> None:
        """A server cannot switch speculation, so it must do what the case says."""
        speculation = self.config.speculation
        if speculation.active and not speculates:
            raise EngineError(
                f"the vLLM server at {url} does not speculate: its metrics page has no "
                f"{self.metrics.drafts}; start it with --speculative-config and without "
                "--disable-log-stats, or use --speed-method none"
            )
        if speculates and not speculation.active:
            raise EngineError(
                f"the vLLM server at {url} speculates, but this is the arm without SD: use a "
                "second server for it, --speed-engine-arg reference_url=URL, or leave the arm out, "
                "--speed-rounds 0"
            )

    def body(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        salt = {"cache_salt": request.cache_salt} if request.cache_salt else {}
        # Also those that keep all tokens: where a request names none, the checkpoint's apply.
        filters = () if sampling.greedy else FILTERS
        return {
            **super().body(request),
            **{name: getattr(sampling, name) for name in filters},
            **salt,
            "return_token_ids": True,
            "add_special_tokens": False,
            "min_tokens": sampling.min_tokens,
            "ignore_eos": sampling.ignore_eos,
            # By token id: a request that ends at a stop string has no metrics.
            "stop_token_ids": [] if sampling.ignore_eos else list(request.stop_ids),
        }

    def trace(self, answer: Answer) -> Trace:
        self.check_report(answer.report)
        return answer.step_trace(
            self.draft_length,
            every_step_drafts=traits(self.config.speculation.method).every_step,
        )

    def score(
        self, http: Http, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> tuple[TokenScore, int]:
        logprobs: dict[int, float] = {}
        top, top_logprob = -1, float("-inf")
        for candidate in candidates:
            entry = self._prompt_logprobs(http, [*token_ids[:position], candidate])
            logprobs[candidate] = entry[str(candidate)].logprob
            best = min(entry, key=lambda token: entry[token].rank)
            if entry[best].rank == 1:
                top, top_logprob = int(best), entry[best].logprob
        return TokenScore(logprobs, top, top_logprob), len(candidates)

    def _prompt_logprobs(self, http: Http, token_ids: list[int]) -> Mapping[str, Logprob]:
        reply = http.post(
            self.path,
            {
                "model": self.model,
                "prompt": token_ids,
                "prompt_logprobs": 1,
                "max_tokens": 1,
                "temperature": 0.0,
                "add_special_tokens": False,
            },
            ScoredCompletion,
        )
        found = reply.choices[0].prompt_logprobs[-1]
        if not found or str(token_ids[-1]) not in found:
            raise EngineError(
                f"{http.address.url}{self.path} gives no log-probability of token {token_ids[-1]}: "
                "its prompt_logprobs cannot be used for scores"
            )
        return found


def _cache_settings(labels: Mapping[str, str]) -> dict[str, object]:
    """The settings of the KV cache from the labels of the metrics page, which are text."""
    caching = labels.get("enable_prefix_caching", "")
    found = {name: labels.get(label) for label, name in _CACHE_LABELS.items()}
    return {
        "prefix_caching": {"True": True, "False": False}.get(caching),
        **{name: value for name, value in found.items() if value not in (None, "None")},
    }


def launch(config: EngineConfig, port: int) -> Launch:
    """``vllm serve`` with the same arguments as the engine ``vllm``."""
    arguments = engine_arguments(config, on_cpu=cpu_build())
    if config.speculation.active and has_argument(PER_REQUEST_METRICS):
        arguments.setdefault(PER_REQUEST_METRICS, "detailed")
    if has_argument("generation_config"):  # no penalties of the checkpoint, as in the library
        arguments.setdefault("generation_config", "vllm")
    if config.prefix_caching:  # without it, usage does not say what came from the cache
        arguments.setdefault("enable_prompt_tokens_details", True)
    command = [*_serve(arguments.pop("model")), "--host", HOST, "--port", str(port)]
    for name, value in arguments.items():
        if name not in _NOT_FOR_SERVE:
            command += _flags(name, value)
    variables = environment(config)
    # The server runs its engine in a second process.
    variables.pop("VLLM_ENABLE_V1_MULTIPROCESSING", None)
    return Launch(command, variables)


def _serve(model: str) -> list[str]:
    """The command line looks up the version of a distribution called vllm and fails with the CPU
    build, which has another name; its server module is started instead."""
    if cpu_build():
        return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model]
    return [sys.executable, "-m", "vllm.entrypoints.cli.main", "serve", model]


def _flags(name: str, value: object) -> Iterator[str]:
    """One keyword argument of vLLM as its flags."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        if value or name not in _ONLY_ON:
            yield f"--{flag}" if value else f"--no-{flag}"
    elif isinstance(value, list | tuple):
        yield f"--{flag}"
        yield from map(str, value)
    elif value is not None:
        yield f"--{flag}"
        yield json.dumps(value) if isinstance(value, dict) else str(value)


def _own_arguments(config: EngineConfig) -> Collection[str] | None:
    """None for a server that runs already, and where the installed vLLM does not say them."""
    engine, server = own_arguments(config), serve_arguments()
    return {*engine, *server, *OURS} if engine and server and not config.url else None


def _refuse(config: EngineConfig) -> None:
    if config.url:
        return
    if importlib.util.find_spec("vllm") is None:
        raise EngineUnavailable(
            "engine vllm-server starts vLLM, which is not installed: pip install "
            "'pytest-speedbench[server,vllm]'; or join a running one with --speed-url"
        )
    refuse(config)


ENGINE = EngineType(
    name="vllm-server",
    methods=methods_of("vllm"),
    own_methods=own_methods,
    open=open_server(VllmDialect, launch),
    requires="aiohttp",
    extra="server",
    scores=True,
    server=True,
    arguments=_own_arguments,
    refuse=_refuse,
    prefix_caching=True,
    schedules=SCHEDULES,
    filters=FILTERS,
    draft_samplings=DRAFT_SAMPLINGS,
    refuse_sampling=refuse_sampling,
)
