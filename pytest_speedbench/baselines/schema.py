"""The record of one case: what lies under ``extra_info["speedbench"]`` of a saved benchmark.

Written by :mod:`~.records` alone, read through :func:`parse_record` alone.
``SCHEMA`` grows when a reader of the old form would misread the new one; every version ever written
stays readable.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import (
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from pytest_speedbench.baselines.part import Part
from pytest_speedbench.baselines.requests import RequestRecord
from pytest_speedbench.errors import RecordError, UsageError

SCHEMA = 3
EXTRA_KEY = "speedbench"


class CaseKey(Part):
    """What identifies a case from run to run, whatever its test is called.

    Attributes:
        engine: name of the engine.
        model: name of the target, without the folder that it is in.
        method: method of speculative decoding; ``none`` without.
        dl: draft length, in tokens; 0 without speculation.
        bs: batch size: requests held in flight.
        split: name of the split, or the digest of a file's content.
        slice: a category, an entropy tier, or ``all``.
        prefix_caching: whether the engine keeps the KV cache of earlier prompts.
        prompt_form: ``chat``, ``raw`` or ``ids``.
        temperature: 0 is greedy.
        top_p: 1 keeps all tokens; as ``top_k``, ``min_p`` and ``seed`` only at a temperature.
        top_k: 0 keeps all tokens.
        min_p: 0 keeps all tokens.
        seed: seed of the engine's random numbers.
        template: arguments of the chat template.
        drafter: name of the drafter, where the grid has several.
        environment: label of the engine's environment, where the grid has several.

    A field that an earlier record lacks has its default.
    """

    engine: str
    model: str
    method: str
    dl: int
    bs: int
    split: str
    slice: str
    prefix_caching: bool = False
    prompt_form: str = "chat"
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int = 0
    template: str = ""
    drafter: str = ""
    environment: str = ""

    def __str__(self) -> str:
        method = self.method if self.method == "none" else f"{self.method} dl{self.dl}"
        parts = (self.engine, self.model, method, f"bs{self.bs}", *self.extras())
        return f"{' '.join(parts)} {self.split}:{self.slice}"

    def extras(self) -> Iterator[str]:
        """What differs from the default, of the axes that most cases leave alone."""
        if self.drafter:
            yield self.drafter
        if self.prefix_caching:
            yield "cached"
        if self.prompt_form != "chat":
            yield self.prompt_form
        if self.temperature:
            yield f"t{self.temperature:g}"
        for name in ("top_p", "top_k", "min_p", "seed"):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                yield f"{name}={value:g}"
        yield from filter(None, (self.template, self.environment))

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in KEY_FIELDS)

    def __hash__(self) -> int:
        return hash(self._values())

    def __eq__(self, other: object) -> bool:
        """By what identifies a case; fields of a later version do not."""
        return isinstance(other, CaseKey) and self._values() == other._values()


KEY_FIELDS = tuple(CaseKey.model_fields)
_SAMPLING_KEYS = ("temperature", "top_p", "top_k", "min_p", "seed")


class EngineRecord(Part):
    """``details`` is the configuration as the started engine reports it, ``args`` what it was
    given; ``packages`` are the versions it computes with, empty in earlier records. ``commit`` is
    what the engine was built from, ``unknown`` where its installation does not say it."""

    name: str
    version: str
    device: str
    dtype: str
    details: dict[str, Any] = Field(default_factory=dict)
    args: dict[str, Any] = Field(default_factory=dict)
    packages: dict[str, str] = Field(default_factory=dict)
    commit: str = ""


class ModelRecord(Part):
    """``weights`` is a digest of the checkpoint, ``revision`` the hub's commit."""

    name: str
    weights: str = ""
    revision: str = ""


class SpecRecord(Part):
    method: str
    draft_length: int
    drafter: ModelRecord | None = None


class SplitRecord(Part):
    name: str
    version: str
    digest: str
    samples: int
    """Samples of each category that were asked for; 0 for all."""
    rows: dict[str, str] | None = None
    """Digest of category and prompt by sample id; None in earlier records."""


class SamplingRecord(Part):
    max_tokens: int
    temperature: float
    seed: int
    ignore_eos: bool = False
    min_tokens: int = 0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


class MetricRecord(Part):
    model_config = ConfigDict(allow_inf_nan=False)

    value: float
    low: float | None
    high: float | None
    n: int
    level: float
    unit: str


class RoundRecord(Part):
    """``acceptance_length`` and ``step_time`` (seconds) are the round's own, where it had steps."""

    tokens: int
    seconds: float
    steady: bool
    requests: int
    acceptance_length: float | None = None
    step_time: float | None = None
    at_once: int | None = None
    start: int = 0
    """Counts the starts of the engine, from 0 on."""


class DriftRecord(Part):
    """One round of a soak; ``start`` in seconds since the first one began, ``step_time`` in
    seconds; None where the round had no decoding step."""

    start: float
    acceptance_length: float | None
    step_time: float | None
    tokens: int


class CountedRecord(Part):
    """The engine's counters for a slice whose requests report nothing: ``tokens`` decoded by
    ``steps``, of which ``hidden`` more may hide behind cut-off last steps."""

    samples: int
    requests: int
    tokens: int
    steps: int
    hidden: int
    drafts: int
    draft_tokens: int
    accepted_tokens: int


class EmittedRecord(Part):
    """Output of one category in one round of a soak: ``stepped`` of its ``tokens`` came from
    ``steps`` decoding steps (null: unknown)."""

    tokens: int
    stepped: int
    steps: int | None


class DepthRecord(Part):
    """AL of the decoding steps that start at context positions ``start`` ≤ position < ``end``."""

    start: int
    end: int
    acceptance_length: MetricRecord


class SoakRoundRecord(Part):
    """One round of a soak; times in seconds, ``start`` and ``end`` since the first one began."""

    start: float
    end: float
    step_time: float | None
    by_category: dict[str, EmittedRecord] = Field(default_factory=dict)


class EarlyRecord(Part):
    """How far a run went that may stop early: samples ``looked`` at, ``sent`` and ``planned``."""

    looked: int
    sent: int
    planned: int
    tokens_saved: int
    looks: int
    undecided: str


class CountersRecord(Part):
    """Growth of the engine's own lifetime totals over the rounds."""

    drafts: int
    draft_tokens: int
    accepted_tokens: int
    output_tokens: int | None = None


class ArmRecord(Part):
    """What a run is beside its requests and rounds, so that it can be read back whole.

    ``samples`` of the run; ``repeated`` conversations a round where samples are sent more than
    once; ``reference`` whether there was an arm without SD, ``alternated`` whether the arms took
    turns; ``hidden`` decoding steps that cut-off last steps may hide; ``unknown`` why acceptance is
    not known although it is counted. ``answers`` are all that were asked for, ``failed`` those that
    the engine broke off, by its own word (earlier records kept neither). ``replay`` whether the
    baseline's outputs were to be followed, ``not_replayed`` why they were not, and ``not_scored``
    why the target was not asked about the tokens that differ. ``counted`` and
    ``soak`` are by category, those of the slice.
    """

    samples: int
    repeated: int = 0
    reference: bool = False
    alternated: bool = True
    counters: CountersRecord | None = None
    early: EarlyRecord | None = None
    hidden: int = 0
    unknown: str = ""
    answers: int = 0
    failed: dict[str, int] = Field(default_factory=dict)
    replay: bool = False
    not_replayed: str = ""
    not_scored: str = ""
    counted: dict[str, CountedRecord] = Field(default_factory=dict)
    soak: list[SoakRoundRecord] = Field(default_factory=list)


class MachineRecord(Part):
    """What timings depend on. ``fingerprint`` must be equal for timings to be compared."""

    fingerprint: str
    cpu: str
    cores: int
    memory_gib: int
    gpus: list[str] = Field(default_factory=list)
    driver: str = ""
    system: str = ""


class VerdictRecord(Part):
    """How the case did in one metric; see :class:`~pytest_speedbench.compare.verdict.Verdict`."""

    metric: str
    outcome: str
    reason: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    coverage: float | None = None
    baseline: str = ""
    alpha: float | None = None


class ChangeRecord(Part):
    """In what the run differs from its baseline; see
    :class:`~pytest_speedbench.compare.changes.Change`."""

    field: str
    old: str | None
    new: str | None


class GateRecord(Part):
    """The gate of the session that measured the case.

    Attributes:
        alpha: bound on a false *fail* anywhere in the session.
        cases: the family over which ``alpha`` was divided: the selected cases of the session.
        reach: smallest share of samples that a loss was looked for in.
        session: how the session ended: ``passed``, ``failed`` or ``interrupted``.
        beside_all: the case is a category beside ``all``: it can fail, and is *not gated* where its
            own samples decide nothing.
        spent: on what the case spent its share of ``alpha``: comparison → place k, whose level is
            1/(k(k + 1)) of the share.
    """

    alpha: float
    cases: int
    reach: float
    session: str = ""
    beside_all: bool = False
    spent: dict[str, int] = Field(default_factory=dict)

    @field_validator("spent")
    @classmethod
    def _check_spent(cls, spent: dict[str, int]) -> dict[str, int]:
        if len(set(spent.values())) < len(spent) or min(spent.values(), default=1) < 1:
            raise ValueError("places are counted from 1, one for each comparison")
        return spent


class SideRecord(Part):
    """One of two runs that were measured side by side; see
    :class:`~pytest_speedbench.measure.results.Side`."""

    session: str
    reference: bool
    build: str = ""
    apart: str = ""
    no_plain: str = ""


class ImportedRecord(Part):
    """The file of another tool that a record was read from.

    Attributes:
        tool: what wrote it.
        version: its version; empty where the file does not say it.
        source: name of the file.
        unverified: what the file does not say and nobody stated: parts of the key, and what must
            be equal to compare AL. Not compared.
        last_steps: whether the last decoding step of each request is in it.
    """

    tool: str
    source: str
    version: str = ""
    unverified: list[str] = Field(default_factory=list)
    last_steps: bool = True


class RecordSummary(Part):
    """The head of a record: what names a case, its numbers and what came of it.

    An index of a storage holds these; ``split.rows`` and ``engine.details`` are left out there.
    docs/records.md describes the fields of the parts.

    Attributes:
        schema_: version of the form in which it was written.
        case: what identifies it.
        engine: name, version, device and dtype of the engine, and its arguments.
        model: the target: name, digest of the weights, revision.
        spec: method, draft length and drafter.
        split: name, version and digest of the split, and the digest of each row.
        sampling: how tokens were chosen.
        template: digest of the chat template; empty where prompts are raw.
        prompt_form: how prompts were sent: ``token_ids``, or ``chat`` or ``text`` where the server
            makes token ids of them, for ``chat`` by its own template.
        machine: what timings depend on.
        metrics: name → value, interval, ``n``, level and unit; a list by position for
            ``acceptance_by_position``, None where nothing was drafted.
        speculation_off: why speculation seems to be off; empty where it is on.
        partial: the run was stopped early; never chosen as a baseline.
        notes: what limits these numbers.
        verdicts: the outcome of the session that measured it, one entry a metric.
        gate: the error rates of that session; None where it compared nothing.
        changes: in what the run differs from the one it was compared with.
        harness: version of pytest-speedbench that measured; empty in earlier records.
        side: what the run is beside another build's; None where it was measured by itself.
        imported: the file of another tool that it was read from; None where we measured it.
        command: the command that measured and saved it, such as ``speedbench tune``; empty for a
            test session and for Python. Never chosen as a baseline.
    """

    schema_: int = Field(alias="schema")
    case: CaseKey
    engine: EngineRecord
    model: ModelRecord
    spec: SpecRecord
    split: SplitRecord
    sampling: SamplingRecord
    template: str
    prompt_form: str
    machine: MachineRecord
    metrics: dict[str, MetricRecord | list[MetricRecord | None]]
    speculation_off: str = ""
    partial: bool = False
    notes: list[str] = Field(default_factory=list)
    verdicts: list[VerdictRecord] = Field(default_factory=list)
    gate: GateRecord | None = None
    changes: list[ChangeRecord] = Field(default_factory=list)
    harness: str = ""
    side: SideRecord | None = None
    imported: ImportedRecord | None = None
    command: str = ""

    @property
    def interrupted(self) -> bool:
        """Whether its session ended before all of its cases were measured."""
        return self.gate is not None and self.gate.session == "interrupted"

    @property
    def of_reference_build(self) -> bool:
        """Whether it is of the build that a side-by-side session compared with."""
        return self.side is not None and self.side.reference

    @model_validator(mode="before")
    @classmethod
    def _complete_key(cls, data: Any) -> Any:
        """Earlier records kept sampling beside the key alone."""
        case = data.get("case") if isinstance(data, dict) else None
        sampling = data.get("sampling") if isinstance(case, dict) else None
        if not isinstance(case, dict) or not isinstance(sampling, dict) or "temperature" in case:
            return data
        sampled = _SAMPLING_KEYS if sampling.get("temperature") else ()
        own = {name: sampling[name] for name in sampled if name in sampling}
        return {**data, "case": {**case, **own}}

    def _repr_html_(self) -> str:
        """The metrics as a table, for notebooks."""
        from pytest_speedbench.escapes import html_table

        rows = [
            (name, f"{m.value:.4g}", _interval(m), str(m.n), m.unit)
            for name, m in self.metrics.items()
            if isinstance(m, MetricRecord)
        ]
        return html_table((str(self.case), "value", "interval", "n", "unit"), rows)

    def metric(self, name: str) -> MetricRecord | None:
        """The metric called ``name``; None where it has no value."""
        found = self.metrics.get(name)
        return found if isinstance(found, MetricRecord) else None


class Record(RecordSummary):
    """One case as it was measured, complete enough to be compared sample by sample.

    Attributes:
        rounds: shape (rounds,), the arm with speculation: tokens and seconds of each.
        reference_rounds: shape (rounds,), the arm without; empty where it was not measured.
        drift: shape (rounds,) of a soak: acceptance length and step time of each.
        depth: AL by position in the context, by bucket; empty where steps are unknown.
        warmup: what was left out at the beginning.
        counted: the engine's counters for the slice, where its requests report nothing.
        arm: what else the run is; None in records of earlier versions.
        engine_acceptance_length: the engine's own average, which is defined differently.
        requests: shape (turns,), one entry a turn of a sample: tokens, steps, ids and times.
    """

    rounds: list[RoundRecord] = Field(default_factory=list)
    reference_rounds: list[RoundRecord] = Field(default_factory=list)
    drift: list[DriftRecord] = Field(default_factory=list)
    depth: list[DepthRecord] = Field(default_factory=list)
    warmup: dict[str, int] = Field(default_factory=dict)
    counted: CountedRecord | None = None
    arm: ArmRecord | None = None
    engine_acceptance_length: float | None = None
    requests: list[RequestRecord] = Field(default_factory=list)

    @field_validator("requests")
    @classmethod
    def _check_turns(cls, requests: list[RequestRecord]) -> list[RequestRecord]:
        known = set()
        for request in requests:
            turn = request.sample, request.turn
            if turn in known:
                raise ValueError(f"sample {request.sample!r} has turn {request.turn} twice")
            known.add(turn)
        return requests

    def to_pandas(self, level: str = "request") -> Any:
        """This record as a ``pandas.DataFrame``, one row a request, a ``step``, or the ``case``.

        Raises:
            UsageError: another level, or pandas is not installed.
            RecordError: a request is damaged.
        """
        from pytest_speedbench.baselines.rows import rows

        try:
            import pandas as pd
        except ImportError as error:
            raise UsageError(
                "to_pandas needs pandas: pip install 'pytest-speedbench[data]'"
            ) from error
        return pd.DataFrame(rows([self], level))


def _interval(metric: MetricRecord) -> str:
    return "–" if metric.low is None else f"{metric.low:.4g} to {metric.high:.4g}"


def problem_of(error: Mapping[str, Any]) -> str:
    """One of the errors of a ``ValidationError``, without what pydantic puts before our own."""
    if error["type"] == "string_pattern_mismatch":
        return f"not packed as records are: {reprlib.repr(error['input'])}"
    return str(error["msg"]).removeprefix("Value error, ")


def parse_record(data: Any) -> Record:
    """Reads a record of any schema version so far.

    Raises:
        RecordError: not a record, one of a later schema, or a damaged one.
    """
    schema = data.get("schema") if isinstance(data, dict) else None
    if type(schema) is not int or schema < 1:
        raise RecordError("not a record of pytest-speedbench")
    if schema > SCHEMA:
        raise RecordError(
            f"written by a later version (schema {schema}, this one reads up to {SCHEMA}): "
            "pip install --upgrade pytest-speedbench"
        )
    try:
        return Record.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(f"damaged at {where!r}: {problem_of(first)}") from error
