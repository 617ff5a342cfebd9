"""AIPerf's ``profile_export.jsonl``: one request a line, with the acceptance that vLLM reports.

The prompts are in ``inputs.json``, the load in ``profile_export_aiperf.json``, both beside it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import Field, model_validator

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import UNKNOWN_METHOD
from pytest_speedbench.engines.serving.schema import Count, Form, Share, Tokens
from pytest_speedbench.errors import ForeignFileError, count_of
from pytest_speedbench.interop.conversion import Reported, Timing, trace_of
from pytest_speedbench.interop.foreign import ForeignRequest, ForeignRun, Given
from pytest_speedbench.interop.foreign_file import ForeignFile
from pytest_speedbench.interop.payloads import common, sampling, system_text, user_text
from pytest_speedbench.interop.stated import contradiction

TOOL: Final = "AIPerf"
RECORDS: Final = "profile_export.jsonl"
SUMMARY: Final = "profile_export_aiperf.json"
INPUTS: Final = "inputs.json"
_SIGNS: Final = {"metadata", "metrics"}


class Metadata(Form):
    conversation_id: str
    turn_index: Count = 0
    benchmark_phase: str = "profiling"
    request_start_ns: Count
    request_end_ns: Count
    was_cancelled: bool = False


class Metric(Form):
    value: Any = None


class Acceptance(Form):
    """``spec_decode_acceptance``; the lists at vLLM's level *detailed* only."""

    engine: str = ""
    num_spec_steps: Tokens
    num_draft_tokens: Tokens
    num_accepted_draft_tokens: Tokens
    num_spec_tokens: Tokens | None = None
    mean_acceptance_length: Share | None = None
    completion_tokens: Tokens | None = None
    per_step_accepted: list[Tokens] | None = None
    per_step_drafted: list[Tokens] | None = None

    @model_validator(mode="after")
    def _fits(self) -> Acceptance:
        if self.num_accepted_draft_tokens > self.num_draft_tokens:
            raise ValueError("more draft tokens were accepted than drafted")
        if self.per_step_accepted is None or self.per_step_drafted is None:
            return self
        pairs = list(zip(self.per_step_drafted, self.per_step_accepted, strict=False))
        lengths = {len(self.per_step_drafted), len(self.per_step_accepted), self.num_spec_steps}
        if len(lengths) > 1 or any(accepted > drafted for drafted, accepted in pairs):
            raise ValueError("the lists by step contradict one another, or num_spec_steps")
        return self


class Line(Form):
    metadata: Metadata
    metrics: dict[str, Metric] = Field(default_factory=dict)
    spec_decode_acceptance: Acceptance | None = None
    error: Any = None

    def number(self, name: str) -> float | None:
        """A metric that is one finite number of at least 0."""
        found = self.metrics.get(name)
        value = found.value if found else None
        if not isinstance(value, int | float) or not 0 <= value < math.inf:
            return None
        return float(value)

    @property
    def answered(self) -> bool:
        """Whether it is a request of the run itself that was not cancelled and did not fail."""
        own = self.metadata.benchmark_phase == "profiling"
        return own and self.error is None and not self.metadata.was_cancelled

    @property
    def events(self) -> int:
        """How many events of output arrived; 0 where unknown."""
        found = self.metrics.get("inter_chunk_latency")
        gaps = found.value if found else None
        return len(gaps) + 1 if isinstance(gaps, list) else 0

    @property
    def tokens(self) -> int | None:
        """Output tokens as the server counts them."""
        found = self.spec_decode_acceptance
        if found is not None and found.completion_tokens is not None:
            return found.completion_tokens
        counted = self.number("usage_completion_tokens")
        return None if counted is None else int(counted)


class Session(Form):
    session_id: str
    payloads: list[dict[str, Any]]


class Inputs(Form):
    data: list[Session]


class Phase(Form):
    kind: str = ""
    concurrency: Count | None = None


class Model(Form):
    name: str = ""


class Models(Form):
    items: list[Model] = Field(default_factory=list)


class InputConfig(Form):
    phases: list[Phase] = Field(default_factory=list)
    models: Models = Field(default_factory=Models)


class Average(Form):
    avg: Share


class Summary(Form):
    aiperf_version: str = ""
    request_count: Average | None = None
    input_config: InputConfig = Field(default_factory=InputConfig)


def recognises(file: ForeignFile) -> bool:
    """Whether it is such a file, the summary beside one, or a folder with one."""
    if file.is_folder:
        return file.beside(RECORDS) is not None
    if file.path.suffix == ".json":
        return "aiperf_version" in file.keys
    return file.keys >= _SIGNS


def read(file: ForeignFile, given: Given) -> ForeignRun:
    """The requests of a run.

    Raises:
        ForeignFileError: no request reports acceptance, nothing was drafted, or a line cannot be
            read.
    """
    whole = file.is_folder or file.path.suffix == ".json"
    records = file.beside(RECORDS) if whole else file
    if records is None:
        raise ForeignFileError(
            f"{file} is AIPerf's summary, whose averages are means over requests: they cannot be "
            f"converted. Import {RECORDS}, which --export-level records writes"
        )
    lines = [records.parse(Line, data, number) for number, data in records.lines]
    left_out: Counter[str] = Counter()
    kept = list(_kept(lines, left_out))
    if kept and given.method != "none" and not any(_drafted(line) for line in kept):
        raise ForeignFileError(
            f"{records}: nothing was drafted in this run, so it has no AL; if it ran without "
            "speculation on purpose, say so with --method none"
        )
    sessions = _sessions(records)
    summary = _summary(records)
    payloads = [p for line in kept for p in sessions.get(line.metadata.conversation_id, ())[:1]]
    most = common(payloads, "max_completion_tokens", "max_tokens")
    start = min((line.metadata.request_start_ns for line in kept), default=0)
    every = _drafts_in_every_step(kept, given)
    requests = [_request(records, line, sessions, start, most, every) for line in kept]
    if unknown := sum(request.trace.decoding_steps is None for request in requests):
        left_out["steps without a draft are not counted"] = unknown
        requests = [r for r in requests if r.trace.decoding_steps is not None]
    if not requests:
        raise ForeignFileError(_no_acceptance(records, left_out))
    known = {**sampling(payloads), **_speculation(kept)}
    phases = [p.concurrency for p in summary.input_config.phases if p.kind == "profiling"]
    if len(phases) == 1 and phases[0]:
        known["bs"] = phases[0]
    return ForeignRun(
        TOOL,
        requests,
        known=known,
        labels=_labels(kept, payloads, summary),
        version=summary.aiperf_version,
        notes=(
            *(f"{count_of(count, 'request')} left out: {why}" for why, count in left_out.items()),
            *_contradictions(lines, summary),
        ),
        prompts_file=INPUTS,
    )


def _drafted(line: Line) -> int:
    return line.spec_decode_acceptance.num_draft_tokens if line.spec_decode_acceptance else 0


def _kept(lines: Sequence[Line], left_out: Counter[str]) -> Iterator[Line]:
    """The first answer to each turn of each conversation."""
    seen: set[tuple[str, int]] = set()
    for line in lines:
        key = line.metadata.conversation_id, line.metadata.turn_index
        if line.metadata.benchmark_phase != "profiling":
            left_out["warm-up"] += 1
        elif line.error is not None or line.metadata.was_cancelled:
            left_out["failed or cancelled"] += 1
        elif line.spec_decode_acceptance is None:
            left_out["without acceptance"] += 1
        elif line.tokens == 0:
            left_out["without output"] += 1
        elif key in seen:
            left_out["the same prompt again"] += 1
        else:
            seen.add(key)
            yield line


def _drafts_in_every_step(lines: Sequence[Line], given: Given) -> bool:
    """By the method, if it is stated; else by whether drafts explain every answer's length."""
    if given.method != UNKNOWN_METHOD:
        return traits(given.method).every_step
    return all(
        (line.tokens or 0) - 1 <= found.num_spec_steps + found.num_accepted_draft_tokens
        for line in lines
        if (found := line.spec_decode_acceptance)
    )


def _no_acceptance(file: ForeignFile, left_out: Counter[str]) -> str:
    found = ", ".join(f"{why}: {count}" for why, count in left_out.items()) or "no requests"
    return (
        f"{file} holds no request with acceptance ({found}): start vLLM with "
        "--per-request-spec-decode-metrics detailed and --speculative-config, and run AIPerf 0.13 "
        "or later with --use-server-token-count"
    )


def _request(
    file: ForeignFile,
    line: Line,
    sessions: Mapping[str, Sequence[Mapping[str, Any]]],
    start: int,
    most: object,
    every_step: bool,
) -> ForeignRequest:
    found, name = line.spec_decode_acceptance, line.metadata.conversation_id
    assert found is not None
    tokens = line.tokens
    if tokens is None:
        raise ForeignFileError(
            f"{file}: request {name!r} has no number of output tokens by the server: run AIPerf "
            "with --use-server-token-count"
        )
    payloads = sessions.get(name, ())
    per_step = None
    if found.per_step_drafted is not None and found.per_step_accepted is not None:
        per_step = found.per_step_drafted, found.per_step_accepted
    reported = Reported(
        found.num_spec_steps,
        found.num_draft_tokens,
        found.num_accepted_draft_tokens,
        per_step,
        found.num_spec_tokens or 0,
    )
    sent = (line.metadata.request_start_ns - start) / 1e9
    first = sent + (line.number("time_to_first_token") or 0.0) / 1e3
    last = max(first, (line.metadata.request_end_ns - start) / 1e9)
    trace = trace_of(
        f"{name}/{line.metadata.turn_index}",
        tokens,
        reported,
        Timing(sent, first, last, line.events),
        every_step=every_step,
        prompt_tokens=int(line.number("usage_prompt_tokens") or 0),
        max_tokens=most if isinstance(most, int) else None,
    )
    if trace is None:
        raise ForeignFileError(
            f"{file}: request {name!r} has {tokens} output tokens, and its "
            f"{found.num_spec_steps} steps with {found.num_accepted_draft_tokens} accepted draft "
            "tokens cannot have emitted them"
        )
    turns = tuple(filter(None, (user_text(payload) for payload in payloads)))
    complete = len(turns) == len(payloads)
    return ForeignRequest(
        name,
        trace,
        line.metadata.turn_index,
        turns if complete else (),
        system_text(payloads[0]) if payloads else None,
    )


def _sessions(file: ForeignFile) -> dict[str, Sequence[Mapping[str, Any]]]:
    """The requests of each conversation, as they were sent; empty where ``inputs.json`` is gone."""
    inputs = file.beside(INPUTS)
    if inputs is None:
        return {}
    return {s.session_id: s.payloads for s in inputs.parse(Inputs, inputs.document).data}


def _summary(file: ForeignFile) -> Summary:
    found = file.beside(SUMMARY)
    return Summary() if found is None else found.parse(Summary, found.document)


def _speculation(lines: Sequence[Line]) -> dict[str, str | int | float | bool]:
    lengths = {a.num_spec_tokens for line in lines if (a := line.spec_decode_acceptance)}
    length = lengths.pop() if len(lengths) == 1 else None
    return {"dl": length} if length else {}


def _labels(
    lines: Sequence[Line], payloads: Sequence[Mapping[str, Any]], summary: Summary
) -> dict[str, str]:
    engines = {a.engine for line in lines if (a := line.spec_decode_acceptance)}
    models = {model.name for model in summary.input_config.models.items}
    model = common(payloads, "model") or (models.pop() if len(models) == 1 else "")
    found = {"engine": engines.pop() if len(engines) == 1 else "", "model": model}
    return {name: value for name, value in found.items() if isinstance(value, str) and value}


def _contradictions(lines: Sequence[Line], summary: Summary) -> Iterator[str]:
    """What AIPerf states and its own records do not give."""
    answered = sum(line.answered for line in lines)
    if summary.request_count is not None and summary.request_count.avg != answered:
        yield (
            f"{SUMMARY} counts {summary.request_count.avg:.0f} requests, and {RECORDS} has "
            f"{answered}: is it of another run, or was it cut off?"
        )
    stated = [a for line in lines if (a := line.spec_decode_acceptance) and a.num_spec_steps]
    found = [note for acceptance in stated for note in _another_average(acceptance)]
    if found:
        yield f"{count_of(len(found), 'request')} of {len(stated)}: {found[0]}"


def _another_average(found: Acceptance) -> Iterator[str]:
    if found.mean_acceptance_length is not None:
        counted = 1 + found.num_accepted_draft_tokens / found.num_spec_steps
        yield from contradiction("mean_acceptance_length", found.mean_acceptance_length, counted)
