"""The output folder of NVIDIA's specdec_bench (Model-Optimizer).

It counts chunks of output as steps. Three ways of writing them are known:

* ``acceptance_lengths`` by request in ``*responses.jsonl``: the prefill's chunk and the last one
  are left out
* ``Request_AL`` alone: every chunk counts, the prefill's too, and only the histogram over all
  requests allows to take that out again
* ``Request_AR`` alone: as the first, without the lengths by request
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError

from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.engines.serving.schema import Count, Form, Length, Share
from pytest_speedbench.errors import ForeignFileError, count_of
from pytest_speedbench.interop.foreign import (
    ForeignRequest,
    ForeignRun,
    ForeignTotals,
    Given,
    Threshold,
)
from pytest_speedbench.interop.foreign_file import ForeignFile
from pytest_speedbench.interop.stated import contradiction

TOOL: Final = "specdec_bench"
SUMMARY: Final = "acceptance_rate.json"
CONFIGURATION: Final = "configuration.json"
RESPONSES: Final = ("specbench_responses.jsonl", "mtbench_responses.jsonl", "responses.jsonl")
_METHODS: Final = {"DRAFT_TARGET": "draft_model"}
_ENGINES: Final = {"trtllm": "tensorrt-llm"}


StepSize = Annotated[int, Field(gt=0, le=1 << 20)]
"""A key of JSON, which is text."""


class Response(Form):
    question_id: str | int
    category: str = ""
    system_prompt: str | None = None
    turns: list[str] = Field(default_factory=list)
    acceptance_lengths: list[Length] | None = None
    error: bool = False


class Summary(Form):
    """One run of ``acceptance_rate.json``; the keys of the histogram are step sizes."""

    histogram: dict[StepSize, Count] = Field(alias="Acceptance_Length_Histogram")
    average: Share | None = Field(alias="Average_AL", default=None)
    average_trimmed: Share | None = Field(alias="Average_AR", default=None)
    by_request: dict[str, Any] = Field(alias="Request_AL", default_factory=dict)
    binned: Any = Field(alias="Generated_Token_Binned_Count", default=None)

    @property
    def trimmed(self) -> bool:
        """Whether the prefill's and the last chunk of each request are left out."""
        return self.average is None or self.binned is not None

    def contradictions(self) -> Iterator[str]:
        """A note on a mean that is below all of the requests' own means, or above."""
        means = list(_numbers(self.by_request))
        if means and self.average is not None:
            nearest = min(max(self.average, min(means)), max(means))
            yield from contradiction("Average_AL", self.average, nearest)


def _numbers(value: Any) -> Iterator[float]:
    """Those in a value of JSON: by request, or by request and turn."""
    if isinstance(value, Mapping):
        for child in value.values():
            yield from _numbers(child)
    elif isinstance(value, int | float):
        yield value


class SamplingArguments(Form):
    temperature: float | None = None


class RuntimeParameters(Form):
    sampling_kwargs: SamplingArguments = Field(default_factory=SamplingArguments)


class Configuration(Form):
    """The arguments of ``run.py``."""

    engine: str | None = None
    model_dir: str | None = None
    speculative_algorithm: str | None = None
    draft_length: Count | None = None
    concurrency: Length | None = None
    output_length: Length | None = None
    temperature: float | None = None
    ignore_eos: bool = False
    completions: bool = False
    runtime_params: RuntimeParameters | None = None
    specdec_bench_version: str | None = None
    engine_version: str | None = None


def recognises(file: ForeignFile) -> bool:
    """Whether it is such a folder, or a file of one."""
    if file.is_folder:
        return any(file.beside(name) for name in (SUMMARY, *RESPONSES))
    return file.path.name in (SUMMARY, *RESPONSES)


def read(file: ForeignFile, given: Given) -> ForeignRun | ForeignTotals:
    """The requests where their steps are there, else AL of the whole run.

    Raises:
        ForeignFileError: a file of the folder cannot be read, or chunks are no steps.
    """
    responses = _responses(file)
    configuration = _configuration(file)
    if any(response.acceptance_lengths for response in responses):
        return _run(file, responses, configuration, given)
    return _totals(file, responses)


def _responses(file: ForeignFile) -> list[Response]:
    found = next(filter(None, map(file.beside, RESPONSES)), None)
    if found is None:
        return []
    return [found.parse(Response, data, number) for number, data in found.lines]


def _configuration(file: ForeignFile) -> Configuration | None:
    found = file.beside(CONFIGURATION)
    return None if found is None else found.parse(Configuration, found.document)


# -- requests ---------------------------------------------------------------------------------


def _run(
    file: ForeignFile,
    responses: Sequence[Response],
    configuration: Configuration | None,
    given: Given,
) -> ForeignRun:
    most = (configuration and configuration.draft_length) or given.draft_length
    kept = [r for r in responses if _usable(r)]
    if not kept:
        raise ForeignFileError(f"{file}: no request with one turn and more than one whole step")
    for response in kept:
        longest = max(response.acceptance_lengths or [0])
        if most and longest > most + 1:
            raise ForeignFileError(
                f"{file}: request {response.question_id!r} has a chunk of {longest} tokens, and a "
                f"step emits at most {most + 1} at DL {most}: its chunks are not steps, and cannot "
                "be converted"
            )
    left_out = len(responses) - len(kept)
    notes = ["one chunk of output is taken as one step, and the last step is left out"]
    if left_out:
        notes.append(
            f"{count_of(left_out, 'request')} left out: several turns, whose lengths are written "
            "without bounds, or not one whole step, or failed"
        )
    configuration = configuration or Configuration()
    return ForeignRun(
        TOOL,
        [_request(response) for response in kept],
        known=dict(_known(configuration)),
        labels=_labels(configuration),
        version=configuration.specdec_bench_version or "",
        engine_version=configuration.engine_version or "",
        last_steps=False,
        notes=tuple(notes),
    )


def _usable(response: Response) -> bool:
    """A single [1] also stands for a request without a whole step."""
    lengths = response.acceptance_lengths
    return bool(lengths) and lengths != [1] and len(response.turns) == 1 and not response.error


def _request(response: Response) -> ForeignRequest:
    name = str(response.question_id)
    chunks = [1, *(response.acceptance_lengths or ())]
    trace = Trace(name, 0, 0.0, chunks=chunks, times=[0.0] * len(chunks))
    return ForeignRequest(
        name,
        trace,
        turns=tuple(response.turns),
        system=response.system_prompt,
        category=response.category,
    )


def _known(found: Configuration) -> Iterator[tuple[str, str | int | float | bool]]:
    """What the arguments of the run state; greedy is its default."""
    if found.speculative_algorithm:
        word = found.speculative_algorithm
        yield "method", _METHODS.get(word, word.lower())
    for ours, value in (
        ("dl", found.draft_length),
        ("bs", found.concurrency),
        ("max_tokens", found.output_length),
    ):
        if value:
            yield ours, value
    if found.output_length:  # the file is there
        own = found.runtime_params.sampling_kwargs.temperature if found.runtime_params else None
        yield "temperature", next((t for t in (found.temperature, own) if t is not None), 0.0)
        yield "ignore_eos", found.ignore_eos
        yield "prompt_form", "raw" if found.completions else "chat"


def _labels(found: Configuration) -> dict[str, str]:
    model = (found.model_dir or "").rstrip("/").rpartition("/")[2]
    engine = (found.engine or "").lower()
    labels = {"engine": _ENGINES.get(engine, engine), "model": model}
    return {name: value for name, value in labels.items() if value}


# -- totals -----------------------------------------------------------------------------------


def _totals(file: ForeignFile, responses: Sequence[Response]) -> ForeignTotals:
    summary = file.beside(SUMMARY)
    if summary is None:
        raise ForeignFileError(f"{file} has no {SUMMARY}, and no acceptance_lengths by request")
    try:  # runs into one folder are appended
        *earlier, last = TypeAdapter(list[dict[str, Any]]).validate_python(summary.document)
    except (ValidationError, ValueError) as error:
        raise ForeignFileError(f"{summary}: expected a list of runs, at least one") from error
    found = summary.parse(Summary, last)
    chunks = sum(found.histogram.values())
    tokens = sum(size * count for size, count in found.histogram.items())
    prefills = 0 if found.trimmed else _answers(summary, found, responses)
    if found.histogram.get(1, 0) < prefills:
        raise ForeignFileError(
            f"{summary}: {prefills} requests and only {found.histogram.get(1, 0)} chunks of one "
            "token: the prefill's token is not a chunk of its own, so it cannot be taken out"
        )
    if chunks <= prefills:
        raise ForeignFileError(f"{summary}: no decoding step in its histogram, so it has no AL")
    return ForeignTotals(
        TOOL,
        [
            Threshold(
                "all",
                (tokens - prefills) / (chunks - prefills),
                prefills or len(found.by_request) or None,
                stated=found.average if found.average is not None else found.average_trimmed,
            )
        ],
        "counts chunks, "
        + ("the last one left out" if found.trimmed else "the prefill's among them")
        + ", and takes the mean over requests; here it is Σ tokens / Σ steps of its histogram, "
        "without the prefill's",
        (
            "AL by category and by request are means of means: they cannot be converted",
            *([f"the last of {len(earlier) + 1} runs in this folder"] if earlier else []),
            *found.contradictions(),
        ),
    )


def _answers(file: ForeignFile, found: Summary, responses: Sequence[Response]) -> int:
    """How many answers the histogram is of: turns of all requests."""
    if found.by_request and all(isinstance(v, Mapping) for v in found.by_request.values()):
        return sum(len(turns) for turns in found.by_request.values())
    if turns := sum(len(r.turns) for r in responses if not r.error):
        return turns
    raise ForeignFileError(
        f"{file} counts the prefill's chunk of every answer, and does not say how many answers "
        f"there were: give the folder with {RESPONSES[0]}"
    )
