"""What responses tell of one request's speculation, engine by engine, in our definitions.

Each reader takes an event of a stream (or a whole response) and returns None where it says nothing
of the kind. Field names are the engines' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_speedbench.engines.protocol import RequestTotals
from pytest_speedbench.engines.serving.answer import Told

Json = Mapping[str, Any]


def read_vllm(event: Json) -> Told | None:
    """``metrics.speculative_decoding``: by step at vLLM's level *detailed*, otherwise sums.

    Only steps that had a draft are told of, counted before the output was cut.
    """
    found = _inside(event, "metrics", "speculative_decoding")
    if not found:
        return None
    return Told(
        found.get("per_step_drafted"),
        found.get("per_step_accepted"),
        RequestTotals(None, found.get("num_draft_tokens"), found.get("num_accepted_draft_tokens")),
        found.get("num_spec_steps"),
        draft_length=found.get("num_spec_tokens"),
    )


def read_sglang(event: Json) -> Told | None:
    """``sglext.spec_tokens_details``, ``choices[0].meta_info`` or the native ``meta_info``.

    Every decoding step verifies, so that ``spec_verify_ct`` is D. Drafted tokens are nominal, the
    nodes of a tree included. Before 0.5.23 two fields had other names.
    """
    details = _inside(event, "sglext", "spec_tokens_details")
    if isinstance(details, list):  # one entry for each sequence
        details = details[0] if details else None
    found = details or _inside(_choice(event), "meta_info") or _inside(event, "meta_info")
    if not found or found.get("spec_verify_ct") is None:
        return None
    drafted = found.get("spec_num_proposed_drafts", found.get("spec_draft_token_num"))
    accepted = found.get("spec_num_correct_drafts", found.get("spec_accept_token_num"))
    steps = found["spec_verify_ct"]
    return Told(totals=RequestTotals(steps, drafted, accepted), drafting_steps=steps)


def read_tensorrt_llm(event: Json) -> Told | None:
    """``choices[0].speculative_decoding`` and ``avg_decoded_tokens_per_iter``.

    The average counts the context pass and its token: D = tokens / average - 1.
    """
    choice = _choice(event)
    average = choice.get("avg_decoded_tokens_per_iter")
    found = choice.get("speculative_decoding") or {}
    if average is None and not found:
        return None
    return Told(
        totals=RequestTotals(
            None, found.get("total_draft_tokens"), found.get("total_accepted_draft_tokens")
        ),
        drafting_steps=found.get("num_spec_steps"),
        tokens_per_pass=average,
        draft_length=found.get("num_spec_tokens"),
    )


def read_llama_cpp(event: Json) -> Told | None:
    """``timings``: drafted and accepted tokens are left out where nothing was drafted.

    Each step emits what it accepted and one token more, and the prompt's pass one of its own: D =
    predicted - accepted - 1. A cut last step can make this too small by up to its accepted drafts.
    """
    found = event.get("timings")
    if not found or found.get("predicted_n") is None:
        return None
    accepted = found.get("draft_n_accepted", 0)
    steps = max(0, found["predicted_n"] - accepted - 1)
    return Told(totals=RequestTotals(steps, found.get("draft_n", 0), accepted))


READERS = (read_vllm, read_sglang, read_tensorrt_llm, read_llama_cpp)


def read_any(event: Json) -> Told | None:
    """The first that says something, in the order of ``READERS``."""
    return next((told for reader in READERS if (told := reader(event)) is not None), None)


def _choice(event: Json) -> Json:
    choices = event.get("choices")
    return choices[0] if choices else {}


def _inside(found: Any, *keys: str) -> Any:
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
