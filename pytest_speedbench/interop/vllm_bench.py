"""The result of ``vllm bench serve --save-result``: growth of the server's counters, in total."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from pytest_speedbench.engines.protocol import Counters, Speculation
from pytest_speedbench.engines.serving.schema import Count, Form, Share
from pytest_speedbench.errors import ForeignFileError, ForeignTrafficError, MeasurementMismatch
from pytest_speedbench.interop.foreign import ForeignTotals, Given, Threshold
from pytest_speedbench.interop.foreign_file import ForeignFile
from pytest_speedbench.interop.stated import contradiction, refuse_no_method
from pytest_speedbench.measure.counted import Output, count_output

TOOL: Final = "vllm bench serve"
_SIGNS: Final = {"endpoint_type", "num_prompts", "request_throughput", "model_id"}
_PREFIX: Final = "spec_decode_"
_STATED: Final = "spec_decode_acceptance_length"


class Result(Form):
    model_id: str
    completed: Count
    total_output_tokens: Count
    drafts: Count = Field(alias="spec_decode_num_drafts")
    draft_tokens: Count = Field(alias="spec_decode_draft_tokens")
    accepted_tokens: Count = Field(alias="spec_decode_accepted_tokens")
    stated: Share = Field(alias=_STATED)
    positions: list[Share] = Field(
        alias="spec_decode_per_position_acceptance_rates", default_factory=list
    )


def recognises(file: ForeignFile) -> bool:
    """Whether it is such a file."""
    return file.keys >= _SIGNS


def read(file: ForeignFile, given: Given) -> ForeignTotals:
    """AL of each run in the file, whole: ``--append-result`` adds another one.

    Raises:
        ForeignFileError: it holds no counts of drafts, or they are not those of its own requests.
    """
    refuse_no_method(file, given)
    results = [_result(file, document) for document in file.documents]
    thresholds, notes = [], []
    for number, result in enumerate(results, start=1):
        name = result.model_id if len(results) == 1 else f"{result.model_id}, result {number}"
        threshold, own = _threshold(file, name, result, given)
        thresholds.append(threshold)
        notes += [f"{name}: {note}" if len(results) > 1 else note for note in own]
    return ForeignTotals(
        TOOL,
        thresholds,
        "counts 1 + accepted / drafts before last steps are cut; here it is decoded tokens over "
        "decoding steps, from the same counters",
        tuple(notes),
        frozenset({"method", "dl"}),
    )


def _result(file: ForeignFile, document: Any) -> Result:
    if isinstance(document, dict) and not any(name.startswith(_PREFIX) for name in document):
        raise ForeignFileError(
            f"{file} holds no counts of draft tokens: the server ran without speculative decoding, "
            "or its /metrics could not be read"
        )
    return file.parse(Result, document)


def _threshold(
    file: ForeignFile, name: str, found: Result, given: Given
) -> tuple[Threshold, list[str]]:
    """AL of one run, and what limits it."""
    if not found.completed:
        raise ForeignFileError(f"{file}: no request completed in this run, so it has no AL")
    if not found.drafts:
        raise ForeignFileError(f"{file}: nothing was drafted in this run, so it has no AL")
    _refuse_another_draft_length(file, found, given.draft_length)
    # The server emits at least one token for each request, the prefill's.
    decoded = max(0, found.total_output_tokens - found.completed)
    output = Output(found.completed, found.total_output_tokens, decoded, found.completed)
    speculation = Speculation(given.method, given.draft_length or len(found.positions))
    grown = Counters(found.drafts, found.draft_tokens, found.accepted_tokens)
    try:
        counted = count_output(output, found.completed, speculation, grown)
    except MeasurementMismatch as error:
        raise ForeignFileError(f"{file}: {error}") from None
    except ForeignTrafficError as error:
        raise ForeignFileError(f"{file}: its counters do not fit its requests: {error}") from None
    if not counted.steps:
        raise ForeignFileError(f"{file}: no decoding step in this run, so it has no AL")
    notes = list(contradiction(_STATED, found.stated, 1 + found.accepted_tokens / found.drafts))
    if counted.hidden:
        notes.append(
            f"AL may read up to {counted.hidden / counted.steps:.1%} too high: steps without a "
            "draft are not counted, and cut-off last steps may hide some; --method says whether "
            "there can be any"
        )
    al = counted.tokens / counted.steps
    return Threshold(name, al, found.completed, stated=found.stated), notes


def _refuse_another_draft_length(file: ForeignFile, found: Result, length: int) -> None:
    """By the positions that it has acceptance of, or by what was drafted at once."""
    if not length:
        return
    if found.positions and length != len(found.positions):
        raise ForeignFileError(
            f"{file} has acceptance at {len(found.positions)} positions, and --dl says {length}"
        )
    if found.draft_tokens > length * found.drafts:
        raise ForeignFileError(
            f"{file} has {found.draft_tokens} draft tokens in {found.drafts} drafts, and --dl says "
            f"{length}"
        )
