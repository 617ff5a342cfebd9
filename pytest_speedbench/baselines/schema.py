"""The record of one case: what lies under ``extra_info["speedbench"]`` of a saved benchmark.

Written by :mod:`~.records` alone, read through :func:`parse_record` alone.
``SCHEMA`` grows when a reader of the old form would misread the new one; every version ever written
stays readable.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.measured import (
    ArmRecord,
    CountedRecord,
    DepthRecord,
    DriftRecord,
    MetricRecord,
    RoundRecord,
)
from pytest_speedbench.baselines.outcome import ChangeRecord, GateRecord, VerdictRecord
from pytest_speedbench.baselines.part import Part
from pytest_speedbench.baselines.provenance import (
    EngineRecord,
    ImportedRecord,
    MachineRecord,
    ModelRecord,
    SamplingRecord,
    SideRecord,
    SpecRecord,
    SplitRecord,
)
from pytest_speedbench.baselines.requests import RequestRecord
from pytest_speedbench.errors import RecordError, UsageError
from pytest_speedbench.validation import problem

SCHEMA = 3
EXTRA_KEY = "speedbench"


_SAMPLING_KEYS = ("temperature", "top_p", "top_k", "min_p", "seed")


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

    def __repr__(self) -> str:
        """One line: all fields are megabytes."""
        found = self.metric("acceptance_length")
        length = "" if found is None else f", AL {found.value:.4g}"
        return f"<{type(self).__name__} {self.case}{length}>"

    __str__ = __repr__

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
        arm: further facts about the run; None in records of earlier versions.
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
    """One of the errors of a ``ValidationError``."""
    if error["type"] == "string_pattern_mismatch":
        return f"not packed as records are: {reprlib.repr(error['input'])}"
    return problem(error)


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
