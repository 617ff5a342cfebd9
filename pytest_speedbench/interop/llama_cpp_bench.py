"""The JSON of llama.cpp's ``speed_bench.py --output``: drafted and accepted tokens by sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import Field

from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.engines.serving.schema import Count, Finite, Form, Length
from pytest_speedbench.errors import ForeignFileError, count_of
from pytest_speedbench.interop.conversion import Reported, Timing, with_totals
from pytest_speedbench.interop.foreign import ForeignRequest, ForeignRun, Given
from pytest_speedbench.interop.foreign_file import ForeignFile

TOOL: Final = "llama.cpp speed-bench"
_SIGNS: Final = {"config", "results", "selected_samples"}


class Result(Form):
    id: str
    category: str = ""
    ok: bool
    turns: Length = 1
    latency_s: Finite = 0.0
    prompt_tokens: Count = 0
    completion_tokens: Count
    draft_n: Count
    draft_n_accepted: Count
    prompt_ms: Finite | None = None
    finish_reason: str | None = None


class Config(Form):
    model: str | None = None
    osl: Length | None = None
    concurrency: Length | None = None
    extra_inputs: dict[str, Any] | None = None


class Output(Form):
    config: Config = Field(default_factory=Config)
    results: list[Result]


def recognises(file: ForeignFile) -> bool:
    """Whether it is such a file."""
    return file.keys >= _SIGNS


def read(file: ForeignFile, given: Given) -> ForeignRun:
    """The samples with one turn: of others only the sums over their turns are written.

    Raises:
        ForeignFileError: nothing was drafted, or no sample has one turn.
    """
    found = file.parse(Output, file.document)
    answered = [r for r in found.results if r.ok and r.completion_tokens]
    kept = [r for r in answered if r.turns == 1]
    if not any(r.draft_n for r in answered):
        raise ForeignFileError(f"{file}: nothing was drafted in this run, so it has no AL")
    if not kept:
        raise ForeignFileError(f"{file}: no sample with one turn was answered")
    return ForeignRun(
        TOOL,
        [_request(file, result) for result in kept],
        known=dict(_known(found.config)),
        labels={"engine": "llama-cpp", "model": found.config.model or "unknown"},
        hidden=sum(min(r.draft_n_accepted, given.draft_length) for r in kept),
        notes=tuple(_notes(found.results, answered, kept, given)),
    )


def _request(file: ForeignFile, result: Result) -> ForeignRequest:
    if result.draft_n_accepted > result.draft_n:
        raise ForeignFileError(
            f"{file}: sample {result.id!r} accepted {result.draft_n_accepted} of {result.draft_n} "
            "drafted tokens"
        )
    first = (result.prompt_ms or 0.0) / 1e3
    timing = Timing(0.0, first, max(first, result.latency_s))
    trace = Trace(
        result.id,
        result.prompt_tokens,
        0.0,
        finish_reason="length" if result.finish_reason == "length" else "stop",
    )
    # Each step emits its accepted tokens and one more, and the prefill emits one.
    decoded = result.completion_tokens - 1
    steps = max(min(decoded, 1), decoded - result.draft_n_accepted)
    reported = Reported(steps, result.draft_n, result.draft_n_accepted)
    with_totals(trace, result.completion_tokens, steps, reported, timing)
    return ForeignRequest(result.id, trace, category=result.category)


def _known(config: Config) -> Iterator[tuple[str, str | int | float | bool]]:
    yield "prompt_form", "chat"
    if config.concurrency:
        yield "bs", config.concurrency
    if config.osl:
        yield "max_tokens", config.osl
    for name in ("temperature", "ignore_eos"):
        value = (config.extra_inputs or {}).get(name)
        if isinstance(value, int | float):
            yield name, value


def _notes(
    all_: Sequence[Result], answered: Sequence[Result], kept: Sequence[Result], given: Given
) -> Iterator[str]:
    if failed := len(all_) - len(answered):
        yield f"{count_of(failed, 'sample')} left out: failed"
    if several := len(answered) - len(kept):
        samples = count_of(several, "sample")
        yield f"{samples} left out: several turns, of which only sums are written"
    if not given.draft_length:
        yield (
            "steps are output tokens less accepted ones; cut-off last steps may hide some, and "
            "--dl says how many"
        )
