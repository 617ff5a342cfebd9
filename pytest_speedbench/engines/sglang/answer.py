"""Requests to SGLang and its answers, the same for its engine and for ``/generate``.

``meta_info`` is read as 0.5.23 writes it (``sglang/srt/managers/tokenizer_manager.py``), and the
draft counts also under the names of older releases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import (
    Request,
    RequestTotals,
    Speculation,
    TokenScore,
)
from pytest_speedbench.engines.sglang.arguments import drafts_a_chain
from pytest_speedbench.errors import EngineError

if TYPE_CHECKING:
    from pytest_speedbench.engines.serving.schema import SglangMeta


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


def new_tokens(output_ids: Sequence[int], seen: int, count: int) -> Sequence[int]:
    """The new tokens of a chunk that holds the whole output so far, after the first ``seen``.

    In the engine's process the list keeps growing, so the chunk's own ``count`` gives its end.
    """
    return output_ids[seen:count]


def finish_reason(found: object) -> str | None:
    """Why the request ended, in SGLang's own word, with its message if it was aborted; None while
    it goes on."""
    if not isinstance(found, Mapping):
        return None if found is None else str(found)
    kind, message = found.get("type"), found.get("message")
    return f"{kind}: {message}" if kind == "abort" and message else str(kind)


def totals(meta: SglangMeta, *, counts_drafts: bool) -> RequestTotals:
    """D, draft and accepted tokens of a finished request.

    D are the passes that verified drafts, and the further prefills of a preempted request, which
    emit a token each. The fields are missing if no pass verified anything: then all are 0.

    Args:
        counts_drafts: whether the number of proposed drafts can be used (see
            :func:`~.sglang.arguments.counts_drafts`).
    """
    if (meta.completion_tokens or 0) > 1 and meta.spec_verify_ct is None:
        return RequestTotals()
    return RequestTotals(
        (meta.spec_verify_ct or 0) + meta.num_retractions,
        (meta.proposed or 0) if counts_drafts else None,
        meta.accepted or 0,
    )


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
