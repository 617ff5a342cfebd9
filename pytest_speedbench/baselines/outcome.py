"""The parts of a record that say what came of it: verdicts, changes, and the gate they are from."""

from __future__ import annotations

from pydantic import Field, field_validator

from pytest_speedbench.baselines.part import Part


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
    shown_low: float | None = None
    shown_high: float | None = None


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
        reach: smallest share of samples that a loss was assumed to affect.
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
