"""Two engines with the same drafter on the same prompts: SPEED-Bench (arXiv 2604.09557), fig 15."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_speedbench.analysis.runs import (
    differs,
    latest,
    metric,
    paired_ratio,
    ratio,
    run_text,
)
from pytest_speedbench.analysis.table import Column, Table, Value, cell
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.errors import GateFailure, NoData
from pytest_speedbench.quantities import change_of
from pytest_speedbench.splits import ALL
from pytest_speedbench.stats import Estimate

NAME = "engines"


@dataclass(frozen=True, slots=True)
class Engines:
    """Both engines side by side, category by category."""

    names: tuple[str, str]
    table: Table

    def assert_equal_within(self, margin: float) -> None:
        """Fails where the AL of a category is shown to differ by more than ``margin``.

        Raises:
            GateFailure: an ``AssertionError`` that names the categories.
        """
        __tracebackhide__ = True
        off = [
            f"{row['slice']} DL {row['dl']} BS {row['bs']} {change_of(found.value, 1)}"
            for row in self.table.rows
            if isinstance(found := row["al_ratio"], Estimate) and differs(found, margin)
        ]
        if off:
            raise GateFailure(
                f"AL of {self.names[1]} differs from {self.names[0]} by more than {margin:.0%}: "
                f"{', '.join(off)}"
            )


def engines(records: Sequence[Record]) -> Engines:
    """The cases that exactly two engines have measured, side by side.

    AL is paired sample by sample; output tokens/s are compared by their intervals. Of several runs
    of one case on one engine the last in ``records`` is taken, with a note.

    Raises:
        NoData: the records are not of two engines, or share no case.
    """
    names = list(dict.fromkeys(record.case.engine for record in records))
    if len(names) != 2:
        raise NoData(f"expected runs of two engines, got {', '.join(names) or 'none'}")
    first, second = names
    records, notes = latest(records, lambda record: (record.case.engine, *_case(record)))
    one, two = ({_case(r): r for r in records if r.case.engine == name} for name in names)
    pairs = [(record, two[case]) for case, record in one.items() if case in two]
    if not pairs:
        raise NoData(
            f"{first} and {second} share no case: method, DL, BS, split, category, sampling, "
            "prompt form and prefix caching must be the same"
        )
    rows = [_row(*pair) for pair in pairs]
    differences = dict.fromkeys(text for pair in pairs for text in _differences(*pair))
    notes = [*differences, *_unpaired(records), *notes]
    columns = (
        Column("method", "method", "text"),
        Column("dl", "DL"),
        Column("bs", "BS"),
        Column("slice", "category", "text"),
        Column("al_first", f"AL {first}", "value"),
        Column("al_second", f"AL {second}", "value"),
        Column("al_ratio", "change", "change", 1),
        Column("tps_first", f"tokens/s {first}", digits=0, printed=False),
        Column("tps_second", f"tokens/s {second}", digits=0, printed=False),
        Column("tps_ratio", "tokens/s", "change", 0, printed=False),
    )
    title = f"{second} relative to {first}"
    speeds = [_speed(row, first, second, columns[-1]) for row in rows if row["tps_ratio"]]
    table = Table(NAME, title, columns, tuple(rows), (*speeds, *notes))
    return Engines((first, second), table)


def _speed(row: Mapping[str, Value], first: str, second: str, column: Column) -> str:
    """Output tokens/s of one run on both, one sentence."""
    plain = Column("", "", "value", 0)
    one, two = (cell(row[key], plain) for key in ("tps_first", "tps_second"))
    ratio = cell(row["tps_ratio"], column)
    return f"{row['run']}: {one} tokens/s {first}, {two} {second}, {ratio}"


def _case(record: Record) -> tuple[object, ...]:
    """What both engines must share; a model has another name on each."""
    case = record.case.model_dump(exclude={"engine", "model", "drafter", "environment"})
    return tuple(case.values())


def _unpaired(records: Iterable[Record]) -> Iterator[str]:
    """The runs that only one of the engines has."""
    runs: dict[str, list[str]] = {}
    for record in records:
        runs.setdefault(record.case.engine, []).append(run_text(record))
    for engine, other in zip(runs, reversed(runs), strict=True):
        if alone := [text for text in dict.fromkeys(runs[engine]) if text not in runs[other]]:
            yield f"only on {engine}: {', '.join(alone)}"


def _row(record: Record, partner: Record) -> Mapping[str, Value]:
    # Speed belongs to the run: it is shown once.
    whole = record.case.slice == ALL
    first = metric(record, "output_tps") if whole else None
    second = metric(partner, "output_tps") if whole else None
    return {
        "run": run_text(record),
        "method": record.case.method,
        "dl": record.case.dl,
        "bs": record.case.bs,
        "slice": record.case.slice,
        "al_first": metric(record, "acceptance_length"),
        "al_second": metric(partner, "acceptance_length"),
        "al_ratio": paired_ratio(partner, record),
        "tps_first": first,
        "tps_second": second,
        "tps_ratio": ratio(second, first),
    }


def _differences(record: Record, partner: Record) -> Iterator[str]:
    """What should be the same in both, and is not; what one does not know is not compared."""
    drafters = [r.spec.drafter.weights if r.spec.drafter else "" for r in (record, partner)]
    pairs = (
        ("target weights", record.model.weights, partner.model.weights),
        ("drafter weights", *drafters),
        ("chat template", record.template, partner.template),
        ("split", record.split.digest[:8], partner.split.digest[:8]),
        ("dtype", record.engine.known_dtype, partner.engine.known_dtype),
    )
    for what, one, two in pairs:
        if one and two and one != two:
            yield f"{what} differs: {one[:12]} and {two[:12]}"
