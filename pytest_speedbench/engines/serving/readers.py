"""What responses report about the speculation of one request, by engine, in our definitions.

Each reader takes an event of a stream (or a whole response) and returns None if it has no such
fields. Field names are the engines' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_speedbench.engines.protocol import RequestTotals
from pytest_speedbench.engines.serving.answer import SpeculationReport

Json = Mapping[str, Any]


def read_vllm(event: Json) -> SpeculationReport | None:
    """``metrics.speculative_decoding``: by step at vLLM's level *detailed*, otherwise sums.

    Only steps that had a draft are listed, counted before the output was cut.
    """
    found = _inside(event, "metrics", "speculative_decoding")
    if not found:
        return None
    return SpeculationReport(
        found.get("per_step_drafted"),
        found.get("per_step_accepted"),
        RequestTotals(None, found.get("num_draft_tokens"), found.get("num_accepted_draft_tokens")),
        found.get("num_spec_steps"),
        draft_length=found.get("num_spec_tokens"),
    )


def read_sglang(event: Json) -> SpeculationReport | None:
    """``sglext.spec_tokens_details``, ``choices[0].meta_info`` or the native ``meta_info``.

    Every decoding step verifies, so ``spec_verify_ct`` is D. Drafted tokens are nominal and include
    the nodes of a tree. Before 0.5.23 two fields had other names.
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
    return SpeculationReport(totals=RequestTotals(steps, drafted, accepted), drafting_steps=steps)


def read_tensorrt_llm(event: Json) -> SpeculationReport | None:
    """``choices[0].speculative_decoding`` and ``avg_decoded_tokens_per_iter``.

    The average counts the context pass and its token: D = tokens / average - 1.
    """
    choice = _choice(event)
    average = choice.get("avg_decoded_tokens_per_iter")
    found = choice.get("speculative_decoding") or {}
    if average is None and not found:
        return None
    return SpeculationReport(
        totals=RequestTotals(
            None, found.get("total_draft_tokens"), found.get("total_accepted_draft_tokens")
        ),
        drafting_steps=found.get("num_spec_steps"),
        tokens_per_pass=average,
        draft_length=found.get("num_spec_tokens"),
    )


def read_llama_cpp(event: Json) -> SpeculationReport | None:
    """``timings``; the counts of drafted and accepted tokens are absent if nothing was drafted.

    Each step emits its accepted tokens and one more, and the prefill emits one token: D =
    predicted - accepted - 1. A cut last step can make this too small by up to its accepted drafts.
    """
    found = event.get("timings")
    if not found or found.get("predicted_n") is None:
        return None
    accepted = found.get("draft_n_accepted", 0)
    steps = max(0, found["predicted_n"] - accepted - 1)
    return SpeculationReport(totals=RequestTotals(steps, found.get("draft_n", 0), accepted))


READERS = (read_vllm, read_sglang, read_tensorrt_llm, read_llama_cpp)


def read_any(event: Json) -> SpeculationReport | None:
    """The report of the first reader that finds one, in the order of ``READERS``."""
    return next((found for reader in READERS if (found := reader(event)) is not None), None)


def _choice(event: Json) -> Json:
    choices = event.get("choices")
    return choices[0] if choices else {}


def _inside(found: Any, *keys: str) -> Any:
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
