"""The parts of a record that hold numbers: metrics, rounds, counters, and what an arm is."""

from __future__ import annotations

from pydantic import ConfigDict, Field

from pytest_speedbench.baselines.part import Part


class MetricRecord(Part):
    model_config = ConfigDict(allow_inf_nan=False)

    value: float
    low: float | None
    high: float | None
    n: int
    level: float
    unit: str

    @property
    def interval(self) -> tuple[float, float] | None:
        """At ``level``; None where the value has none."""
        return None if self.low is None or self.high is None else (self.low, self.high)


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
