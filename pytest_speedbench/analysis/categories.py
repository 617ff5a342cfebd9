"""AL by category over the draft length: SPEED-Bench (arXiv 2604.09557), figures 3 and 14."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_speedbench.analysis.runs import latest, metric, names_of
from pytest_speedbench.analysis.table import Column, Table
from pytest_speedbench.baselines.schema import RecordSummary
from pytest_speedbench.errors import GateFailure, NoData
from pytest_speedbench.stats import Estimate

NAME = "categories"


@dataclass(frozen=True, slots=True)
class Categories:
    """AL of every category, one row each at every draft length and batch size."""

    table: Table

    @property
    def lengths(self) -> list[int]:
        """The draft lengths, ascending."""
        return sorted({dl for row in self.table.rows if isinstance(dl := row["dl"], int)})

    def assert_at_least(self, acceptance_length: float) -> None:
        """Fails where the AL of a category is shown to be lower: its upper limit lies below.

        Raises:
            GateFailure: an ``AssertionError`` that names the categories.
        """
        __tracebackhide__ = True
        low = [
            f"{row['slice']} {found.value:.2f} (at most {found.high:.2f})"
            for row in self.table.rows
            if isinstance(found := row["acceptance_length"], Estimate)
            and found.high is not None
            and found.high < acceptance_length
        ]
        if low:
            raise GateFailure(f"AL below {acceptance_length:g}: {', '.join(low)}")


def categories(records: Sequence[RecordSummary]) -> Categories:
    """AL by category of every run in ``records``.

    Raises:
        NoData: no record with SD has an AL.
    """
    records, notes = latest(records)
    name = names_of(records)
    rows = [
        {
            "run": name(record),
            "dl": record.case.dl,
            "bs": record.case.bs,
            "slice": record.case.slice,
            "acceptance_length": found,
            "acceptance_rate": metric(record, "acceptance_rate"),
        }
        for record in sorted(records, key=lambda record: (record.case.dl, record.case.bs))
        if record.case.method != "none"
        and (found := metric(record, "acceptance_length")) is not None
    ]
    if not rows:
        raise NoData("no record with speculative decoding has an acceptance length")
    columns = (
        Column("run", "run", "text"),
        Column("dl", "DL"),
        Column("bs", "BS"),
        Column("slice", "category", "text"),
        Column("acceptance_length", "AL"),
        Column("acceptance_rate", "accepted", "percent", 0),
    )
    return Categories(Table(NAME, "AL by category", columns, tuple(rows), tuple(notes)))
