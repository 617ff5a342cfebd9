"""By how much random input overstates speed: SPEED-Bench (arXiv 2604.09557), figure 6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_speedbench.analysis.runs import latest, metric, names_of, ratio, whole
from pytest_speedbench.analysis.table import Column, Table, Value
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.errors import GateFailure, NoData
from pytest_speedbench.quantities import change_of
from pytest_speedbench.splits import BUCKETS, RANDOM_LENGTHS, throughput_bucket
from pytest_speedbench.stats import Estimate

NAME = "synthetic"
METRICS = ("output_tps", "speedup", "acceptance_length")


@dataclass(frozen=True, slots=True)
class Synthetic:
    """Random over real input of one length, for every batch size."""

    table: Table

    def assert_overstates_at_most(self, margin: float) -> None:
        """Fails where random input is shown to overstate output tokens/s by more than ``margin``.

        Raises:
            GateFailure: an ``AssertionError`` that names input length and batch size.
        """
        __tracebackhide__ = True
        off = [
            f"ISL {row['isl']} BS {row['bs']} {change_of(found.value, 0)}"
            for row in self.table.rows
            if isinstance(found := row["output_tps"], Estimate)
            and found.low is not None
            and found.low > 1 + margin
        ]
        if off:
            raise GateFailure(f"random input overstates output tokens/s: {', '.join(off)}")


def synthetic(records: Sequence[Record]) -> Synthetic:
    """Each run on random token ids beside the run on real text of the same length.

    Raises:
        NoData: no run on random input has a partner.
    """
    records, notes = latest(records)
    runs = whole(records)
    name = names_of(runs, but=["split"])
    real = {_setting(record): record for record in runs if not _is_random(record)}
    rows: list[Mapping[str, Value]] = []
    for record in runs:
        partner = real.get(_setting(record))
        if not _is_random(record) or partner is None:
            continue
        ratios = {key: ratio(metric(record, key), metric(partner, key)) for key in METRICS}
        rows.append(
            {
                "run": name(record),
                "isl": _length(record),
                "dl": record.case.dl,
                "bs": record.case.bs,
                "random_tps": metric(record, "output_tps"),
                "real_tps": metric(partner, "output_tps"),
                **ratios,
            }
        )
    if not rows:
        raise NoData(
            "no run on random input has a run on real text of the same length beside it: measure "
            "--speed-split throughput_1k,random_1k"
        )
    columns = (
        Column("run", "run", "text"),
        Column("isl", "ISL"),
        Column("dl", "DL"),
        Column("bs", "BS"),
        Column("random_tps", "tokens/s, random", digits=0),
        Column("real_tps", "tokens/s, real", digits=0),
        Column("output_tps", "tokens/s", "change", 0),
        Column("speedup", "speedup", "change", 0),
        Column("acceptance_length", "AL", "change", 0),
    )
    return Synthetic(
        Table(NAME, "Random relative to real input", columns, tuple(rows), tuple(notes))
    )


def _is_random(record: Record) -> bool:
    return record.split.name in RANDOM_LENGTHS


def _length(record: Record) -> int:
    """Nominal input length in tokens; 0 for a split without one."""
    name = record.split.name
    if name in RANDOM_LENGTHS:
        return RANDOM_LENGTHS[name]
    return BUCKETS.get(throughput_bucket(name) or "", 0)


def _setting(record: Record) -> tuple[object, ...]:
    case = record.case
    return case.engine, case.model, case.method, case.dl, case.bs, _length(record)
