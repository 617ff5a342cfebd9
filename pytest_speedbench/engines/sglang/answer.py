"""Requests to SGLang and its answers, the same for its engine and for ``/generate``.

``meta_info`` is read as 0.5.23 writes it (``sglang/srt/managers/tokenizer_manager.py``), and the
draft counts also under the names of older releases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import (
    FinishReason,
    Request,
    RequestTotals,
    Speculation,
    TokenScore,
)
from pytest_speedbench.engines.sglang.arguments import drafts_a_chain
from pytest_speedbench.errors import EngineError

_REASONS: Mapping[str, FinishReason] = {"stop": "stop", "length": "length", "abort": "abort"}


def sampling_parameters(request: Request) -> dict[str, Any]:
    """SGLang's ``sampling_params``."""
    sampling = request.sampling
    parameters: dict[str, Any] = {
        "max_new_tokens": sampling.max_tokens,
        "min_new_tokens": 0 if sampling.ignore_eos else sampling.min_tokens,
        "temperature": sampling.temperature,
        "ignore_eos": sampling.ignore_eos,
        "stop_token_ids": [] if sampling.ignore_eos else list(request.stop_ids),
    }
    if not sampling.greedy:
        parameters |= {"sampling_seed": sampling.seed, **sampling.filters}
    return parameters


def new_tokens(chunk: Mapping[str, Any], seen: int) -> Sequence[int]:
    """The new tokens of a chunk that holds the whole output so far, after the first ``seen``.

    In the engine's process the list keeps growing, so the count in the chunk gives its end.
    """
    tokens: Sequence[int] = chunk["output_ids"][seen : chunk["meta_info"]["completion_tokens"]]
    return tokens


def finish_reason(meta: Mapping[str, Any]) -> FinishReason | None:
    """Why the request ended; None while it goes on.

    Raises:
        EngineError: the engine aborted it.
    """
    found = meta.get("finish_reason")
    if found is None:
        return None
    reason = _REASONS.get(found["type"], "stop")
    if reason == "abort" and found.get("message"):
        raise EngineError(f"SGLang aborted request {meta.get('id')}: {found['message']}")
    return reason


def totals(meta: Mapping[str, Any], *, counts_drafts: bool) -> RequestTotals:
    """D, draft and accepted tokens of a finished request.

    D are the passes that verified drafts, and the further prefills of a preempted request, which
    emit a token each. The fields are missing if no pass verified anything: then all are 0.

    Args:
        counts_drafts: whether the number of proposed drafts can be used (see
            :func:`~.sglang.arguments.counts_drafts`).
    """
    if meta.get("completion_tokens", 0) > 1 and "spec_verify_ct" not in meta:
        return RequestTotals()
    proposed = _first(meta, "spec_num_proposed_drafts", "spec_draft_token_num")
    return RequestTotals(
        meta.get("spec_verify_ct", 0) + meta.get("num_retractions", 0),
        proposed if counts_drafts else None,
        _first(meta, "spec_num_correct_drafts", "spec_accept_token_num"),
    )


def _first(meta: Mapping[str, Any], *names: str) -> int:
    return next((int(meta[name]) for name in names if name in meta), 0)


def score_request(prefix: Sequence[int], candidates: Sequence[int]) -> dict[str, Any]:
    """A request for one token after ``prefix``, with log-probabilities."""
    return {
        "input_ids": list(prefix),
        "sampling_params": {"max_new_tokens": 1, "temperature": 0.0, "ignore_eos": True},
        "return_logprob": True,
        "logprob_start_len": -1,
        "top_logprobs_num": 1,
        "token_ids_logprob": list(candidates),
    }


def read_score(answer: Mapping[str, Any]) -> TokenScore:
    """Reads the answer to :func:`score_request`, with entries (log-probability, token id, text)."""
    meta = answer["meta_info"]
    top_logprob, top, *_ = meta["output_top_logprobs"][0][0]
    found = {token: logprob for logprob, token, *_ in meta["output_token_ids_logprobs"][0]}
    return TokenScore(found, top, top_logprob)


def describe(info: Mapping[str, Any], speculation: Speculation) -> dict[str, object]:
    """The part of SGLang's ``/server_info`` that goes into a record.

    Raises:
        EngineError: it drafts another number of tokens than configured.
    """
    details: dict[str, object] = {
        name: value
        for name, value in info.items()
        if name in _KEPT or (name.startswith("speculative_") and name not in _PLACES)
    }
    details["prefix_caching"] = not info.get("disable_radix_cache", False)
    details["speculative_method"] = str(info.get("speculative_algorithm") or "none").lower()
    if speculation.active:
        _check_draft_length(info, speculation)
        if traits(speculation.method).in_table:  # unknown for others
            details["draft_tree"] = not drafts_a_chain(info)
        # The trie keeps the outputs of earlier requests, so the order of samples matters.
        details["shared_draft_pool"] = speculation.method == "ngram"
    return details


def _check_draft_length(info: Mapping[str, Any], speculation: Speculation) -> None:
    tree = traits(speculation.method).branches and not drafts_a_chain(info)
    name = "speculative_num_steps" if tree else "speculative_num_draft_tokens"
    wanted = speculation.draft_length + (0 if tree else 1)
    if info.get(name) not in (None, wanted):
        raise EngineError(
            f"SGLang runs with {name}={info[name]}, where dl={speculation.draft_length} needs "
            f"{wanted}: correct --speed-dl, the --speed-engine-arg that changes it, or the server "
            "at --speed-url"
        )


_KEPT = frozenset(
    {
        "tp_size",
        "dp_size",
        "pp_size",
        "ep_size",
        "enable_dp_attention",
        "attention_backend",
        "prefill_attention_backend",
        "decode_attention_backend",
        "sampling_backend",
        "moe_runner_backend",
        "fp8_gemm_runner_backend",
        "enable_deterministic_inference",
        "disable_overlap_schedule",
        "disable_cuda_graph",
        "cuda_graph_max_bs",
        "enable_torch_compile",
        "torch_compile_max_bs",
        "enable_piecewise_cuda_graph",
        "max_running_requests",
        "chunked_prefill_size",
        "max_prefill_tokens",
        "schedule_policy",
        "schedule_conservativeness",
        "mem_fraction_static",
        "context_length",
        "page_size",
        "quantization",
        "kv_cache_dtype",
        "json_model_override_args",
        "random_seed",
    }
)
# The drafter is identified by its weights.
_PLACES = ("speculative_draft_model_path", "speculative_algorithm")
