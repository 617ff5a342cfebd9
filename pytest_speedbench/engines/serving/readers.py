"""What responses report about the speculation of one request, by engine, in our definitions.

Each reader takes an event of a stream (or a whole response) and returns None if it has no such
fields. Field names are the engines' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_speedbench.engines.protocol import RequestTotals
from pytest_speedbench.engines.serving.pieces import SpeculationReport
from pytest_speedbench.engines.serving.schema import (
    Event,
    SglangMeta,
    TensorrtLlmAverage,
    TensorrtLlmSpeculation,
    Timings,
    VllmSpeculation,
    first_choice,
)


def read_vllm(event: Event) -> SpeculationReport | None:
    """``metrics.speculative_decoding``: by step at vLLM's level *detailed*, otherwise sums.

    Only steps that had a draft are listed, counted before the output was cut; where there was none
    the lists are left out.
    """
    inside = _inside(event.get("metrics"), "speculative_decoding")
    if not inside:
        return None
    found = VllmSpeculation.model_validate(inside)
    nothing = () if found.num_spec_steps == 0 else None
    return SpeculationReport(
        nothing if found.per_step_drafted is None else found.per_step_drafted,
        nothing if found.per_step_accepted is None else found.per_step_accepted,
        RequestTotals(None, found.num_draft_tokens, found.num_accepted_draft_tokens),
        found.num_spec_steps,
        draft_length=found.num_spec_tokens,
    )


def read_sglang(event: Event) -> SpeculationReport | None:
    """``sglext.spec_tokens_details``, ``choices[0].meta_info`` or the native ``meta_info``.

    Every decoding step verifies, so ``spec_verify_ct`` is D. Drafted tokens are nominal and include
    the nodes of a tree.
    """
    details = _inside(event.get("sglext"), "spec_tokens_details")
    if isinstance(details, list):  # one entry for each sequence
        details = details[0] if details else None
    choice = first_choice(event)
    inside = details or (choice and choice.get("meta_info")) or event.get("meta_info")
    if not isinstance(inside, Mapping):
        return None
    found = SglangMeta.model_validate(inside)
    if found.spec_verify_ct is None:
        return None
    totals = RequestTotals(found.spec_verify_ct, found.proposed, found.accepted)
    return SpeculationReport(totals=totals, drafting_steps=found.spec_verify_ct)


def read_tensorrt_llm(event: Event) -> SpeculationReport | None:
    """``choices[0].speculative_decoding`` and ``avg_decoded_tokens_per_iter``.

    The average counts the context pass and its token: D = tokens / average - 1.
    """
    choice = first_choice(event)
    if choice is None:
        return None
    inside = choice.get("speculative_decoding")
    per_pass = choice.get("avg_decoded_tokens_per_iter")
    if per_pass is None and not isinstance(inside, Mapping):
        return None
    found = TensorrtLlmSpeculation.model_validate(inside or {})
    average = TensorrtLlmAverage.model_validate({"avg_decoded_tokens_per_iter": per_pass})
    return SpeculationReport(
        totals=RequestTotals(None, found.total_draft_tokens, found.total_accepted_draft_tokens),
        drafting_steps=found.num_spec_steps,
        tokens_per_pass=average.avg_decoded_tokens_per_iter,
        draft_length=found.num_spec_tokens,
    )


def read_llama_cpp(event: Event) -> SpeculationReport | None:
    """``timings``; the counts of drafted and accepted tokens are absent if nothing was drafted.

    Each step emits its accepted tokens and one more, and the prefill emits one token: D =
    predicted - accepted - 1. A cut last step can make this too small by up to its accepted drafts.
    """
    timings = event.get("timings")
    if not isinstance(timings, Mapping):
        return None
    found = Timings.model_validate(timings)
    if found.predicted_n is None:
        return None
    steps = max(0, found.predicted_n - found.draft_n_accepted - 1)
    return SpeculationReport(totals=RequestTotals(steps, found.draft_n, found.draft_n_accepted))


_IN_EVENT = {"metrics", "sglext", "timings", "meta_info"}
_IN_CHOICE = {"meta_info", "speculative_decoding", "avg_decoded_tokens_per_iter"}
READERS = (read_vllm, read_sglang, read_tensorrt_llm, read_llama_cpp)


def read_any(event: Event) -> SpeculationReport | None:
    """The report of the first reader that finds one, in the order of ``READERS``."""
    if _IN_EVENT.isdisjoint(event) and _IN_CHOICE.isdisjoint(first_choice(event) or ()):
        return None  # nearly every event
    return next((found for reader in READERS if (found := reader(event)) is not None), None)


def read_nothing(event: Event) -> None:
    """The reader for servers whose responses have no report."""


def _inside(found: Any, name: str) -> Any:
    """What other servers use for something else is no report."""
    return found.get(name) if isinstance(found, Mapping) else None
