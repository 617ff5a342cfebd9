"""How far AL on one split is off that on another: SPEED-Bench (arXiv 2604.09557), figures 5, 14."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_speedbench.analysis.runs import differs, latest, metric, names_of
from pytest_speedbench.analysis.table import Column, Table, Value
from pytest_speedbench.baselines.schema import RecordSummary
from pytest_speedbench.errors import GateFailure, NoData
from pytest_speedbench.quantities import change_of
from pytest_speedbench.splits.check import partner_of
from pytest_speedbench.stats import Estimate
from pytest_speedbench.stats.contrast import ratio_of

NAME = "bias"


@dataclass(frozen=True, slots=True)
class Bias:
    """AL of each category on another split relative to this one."""

    table: Table

    def assert_within(self, margin: float) -> None:
        """Fails where a category is shown to differ by more than ``margin``, 0.1 for 10%.

        Raises:
            GateFailure: an ``AssertionError`` that names the categories.
        """
        __tracebackhide__ = True
        off = [
            f"{row['slice']} {change_of(ratio.value, 1)}"
            for row in self.table.rows
            if isinstance(ratio := row["ratio"], Estimate) and differs(ratio, margin)
        ]
        if off:
            raise GateFailure(f"AL differs by more than {margin:.0%}: {', '.join(off)}")


def bias(ours: Sequence[RecordSummary], theirs: Sequence[RecordSummary]) -> Bias:
    """AL on the split of ``theirs`` over that of ``ours``, category by category.

    Categories pair by name, or with the nearest one of Spec-Bench; engine, model, method, DL and BS
    must be the same.

    Raises:
        NoData: no category of one run has a partner in the other.
    """
    ours, notes = latest(ours)
    others: dict[tuple[object, ...], dict[str, RecordSummary]] = {}
    for record in theirs:
        others.setdefault(_setting(record), {})[record.case.slice] = record
    name = names_of(ours)
    rows: list[Mapping[str, Value]] = []
    for record in ours:
        known = others.get(_setting(record), {})
        partner = known.get(partner_of(record.case.slice, known))
        own = metric(record, "acceptance_length")
        other = None if partner is None else metric(partner, "acceptance_length")
        if partner is None or own is None or other is None:
            continue
        rows.append(
            {
                "run": name(record),
                "dl": record.case.dl,
                "bs": record.case.bs,
                "slice": record.case.slice,
                "partner": partner.case.slice,
                "ours": own,
                "theirs": other,
                "ratio": ratio_of(other, own),
            }
        )
    if not rows:
        raise NoData(
            "no category of the first run has a partner in the second: both must have the same "
            "engine, model, method, DL and BS"
        )
    splits = ours[0].case.split, theirs[0].case.split
    columns = (
        Column("run", "run", "text"),
        Column("dl", "DL"),
        Column("bs", "BS"),
        Column("slice", "category", "text"),
        Column("partner", "there", "text"),
        Column("ours", f"AL, {splits[0]}"),
        Column("theirs", f"AL, {splits[1]}"),
        Column("ratio", "difference", "change", 1),
    )
    title = f"AL on {splits[1]} relative to {splits[0]}"
    return Bias(Table(NAME, title, columns, tuple(rows), tuple(notes)))


def _setting(record: RecordSummary) -> tuple[object, ...]:
    case = record.case
    return case.engine, case.model, case.method, case.dl, case.bs
