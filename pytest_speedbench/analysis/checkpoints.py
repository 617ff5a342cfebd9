"""AL of every category over the checkpoints of a training run, each paired with the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_speedbench.analysis.runs import metric, paired_ratio
from pytest_speedbench.analysis.table import Column, Table, Value, text_rows
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.errors import NoData
from pytest_speedbench.escapes import html_table, text_table
from pytest_speedbench.splits import ALL

NAME = "checkpoints"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint, and what was measured of it.

    Attributes:
        step: training step at which it was saved.
        records: shape (cases,), as ``pytest_speedbench.measure`` gives them.
    """

    step: int
    records: tuple[Record, ...]

    def record(self, slice_name: str) -> Record | None:
        """The record of one slice; None where it was not measured."""
        return next((r for r in self.records if r.case.slice == slice_name), None)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The curve of a training run.

    Attributes:
        points: ascending by step.
        table: one row a step and category: AL, and its change since the first checkpoint, paired
            sample by sample.
    """

    points: tuple[Checkpoint, ...]
    table: Table

    @property
    def best(self) -> Checkpoint:
        """The checkpoint with the highest AL over all samples."""
        return max(self.points, key=_whole_al)

    def _cells(self) -> list[Sequence[str]]:
        return [[column.title for column in self.table.columns], *text_rows(self.table)]

    def __str__(self) -> str:
        return text_table(self._cells())

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        head, *rows = self._cells()
        return html_table(head, rows)


def _whole_al(point: Checkpoint) -> float:
    record = point.record(ALL) or point.records[0]
    found = metric(record, "acceptance_length")
    return found.value if found else 0.0


def checkpoints(points: Sequence[Checkpoint]) -> Checkpoints:
    """The curve of some checkpoints of one training run, measured with the same settings.

    Raises:
        NoData: no checkpoint has an AL.
    """
    ordered = sorted((point for point in points if point.records), key=lambda point: point.step)
    rows: list[Mapping[str, Value]] = [
        {
            "step": point.step,
            "slice": record.case.slice,
            "acceptance_length": found,
            "change": _change(ordered[0], point, record),
        }
        for point in ordered
        for record in point.records
        if (found := metric(record, "acceptance_length")) is not None
    ]
    if not rows:
        raise NoData("no checkpoint has an acceptance length")
    columns = (
        Column("step", "step"),
        Column("slice", "category", "text"),
        Column("acceptance_length", "AL"),
        Column("change", f"since step {ordered[0].step}", "change", 1),
    )
    return Checkpoints(tuple(ordered), Table(NAME, "AL over training", columns, tuple(rows)))


def _change(first: Checkpoint, point: Checkpoint, record: Record) -> Value:
    base = first.record(record.case.slice)
    return None if base is None or point is first else paired_ratio(record, base)
