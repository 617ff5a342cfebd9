"""Output TPS per GPU against user TPS over the batch size, without SD too: SPEED-Bench
(arXiv 2604.09557), figures 6 and 7."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pytest_speedbench.analysis.runs import gpus, latest, metric, names_of, timing_notes, whole
from pytest_speedbench.analysis.table import Column, Table, Value
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.errors import GateFailure, NoData
from pytest_speedbench.stats import Estimate

NAME = "pareto"
_SEVERAL = (
    "several runs without SD of one batch size, the first is shown: each speedup is against the "
    "one that was measured beside it"
)
WITHOUT = "no SD"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One run as a point of the plane.

    Attributes:
        run: what is measured; ``no SD`` for the arm without, with its engine, model or split where
            there are several.
        bs: batch size.
        dl: draft length, 0 without SD.
        output_tps: output tokens per second and GPU.
        user_tps: tokens per second that one request sees.
        speedup: over no SD at this batch size; None for that arm itself, or where not measured.
        on_frontier: no other point is better in one of the two and not worse in the other.
    """

    run: str
    bs: int
    dl: int
    output_tps: float
    user_tps: float
    speedup: Estimate | None
    on_frontier: bool = False


@dataclass(frozen=True, slots=True)
class Pareto:
    """All operating points, and where SD stops being faster."""

    points: tuple[OperatingPoint, ...]
    table: Table

    def crossover(self, run: str, dl: int) -> int | None:
        """The smallest BS at which ``run`` is no faster than no SD; None where there is none.

        By the upper limit of the speedup, where it has one.
        """
        return _crossover(self.points, run, dl)

    def assert_faster_up_to(self, bs: int) -> None:
        """Fails where SD is shown to be no faster than no SD at a batch size up to ``bs``.

        Raises:
            GateFailure: an ``AssertionError`` that names the points.
        """
        __tracebackhide__ = True
        slow = [
            f"{point.run} DL {point.dl} BS {point.bs} {point.speedup.value:.2f}x"
            for point in self.points
            if point.bs <= bs
            and point.speedup is not None
            and point.speedup.high is not None
            and point.speedup.high <= 1
        ]
        if slow:
            raise GateFailure(f"no faster than no SD: {', '.join(slow)}")


def pareto(records: Sequence[Record]) -> Pareto:
    """The operating points of every run, and of the arm without SD that took turns with it.

    Raises:
        NoData: no run was timed.
    """
    records, again = latest(records)
    runs = [record for record in whole(records) if metric(record, "output_tps") is not None]
    name, setting = names_of(runs), names_of(runs, but=("method", "drafter"))
    found: dict[tuple[str, int, int], OperatingPoint] = {}
    several_plain = False
    for record in runs:
        plain = f"{WITHOUT} {setting(record)}".rstrip()
        measured = _point(record, plain if record.case.method == "none" else name(record))
        for point in filter(None, (measured, _without(record, plain))):
            shown = found.setdefault((point.run, point.dl, point.bs), point)
            several_plain = several_plain or shown != point
    if not found:
        raise NoData("no run was timed (--speed-rounds 0), or no request had two output events")
    points = _with_frontier(sorted(found.values(), key=lambda p: (p.run, p.dl, p.bs)))
    rows: list[Mapping[str, Value]] = [
        {
            "run": point.run,
            "dl": point.dl or None,
            "bs": point.bs,
            "user_tps": point.user_tps,
            "output_tps": point.output_tps,
            "speedup": point.speedup,
            "on_frontier": "frontier" if point.on_frontier else "",
        }
        for point in points
    ]
    columns = (
        Column("run", "run", "text"),
        Column("dl", "DL"),
        Column("bs", "BS"),
        Column("user_tps", "user tok/s", digits=1),
        Column("output_tps", "tok/s per GPU", digits=0),
        Column("speedup", "speedup"),
        Column("on_frontier", "", "text"),
    )
    notes = (
        *again,
        *([_SEVERAL] if several_plain else ()),
        *timing_notes(runs),
        *(
            f"{run} DL {dl}: no faster than no SD from BS {bs} on"
            for run, dl in dict.fromkeys((p.run, p.dl) for p in points if p.dl)
            if (bs := _crossover(points, run, dl)) is not None
        ),
    )
    title = "Output tokens/s per GPU against user tokens/s"
    return Pareto(tuple(points), Table(NAME, title, columns, tuple(rows), notes))


def _crossover(points: Iterable[OperatingPoint], run: str, dl: int) -> int | None:
    slower = [
        point.bs
        for point in points
        if (point.run, point.dl) == (run, dl)
        and point.speedup is not None
        and (point.speedup.value if point.speedup.high is None else point.speedup.high) <= 1
    ]
    return min(slower, default=None)


def _point(record: Record, name: str) -> OperatingPoint | None:
    output, user = metric(record, "output_tps"), metric(record, "user_tps")
    if output is None or user is None:
        return None
    plain = record.case.method == "none"
    return OperatingPoint(
        name,
        record.case.bs,
        0 if plain else record.case.dl,
        output.value / gpus(record),
        user.value,
        None if plain else metric(record, "speedup"),
    )


def _without(record: Record, name: str) -> OperatingPoint | None:
    """The arm without SD, from its rounds: a step emits one token of each request there."""
    output = metric(record, "reference_tps")
    times = [r.step_time for r in record.reference_rounds if r.step_time]
    if output is None or not times:
        return None
    user = len(times) / sum(times)
    return OperatingPoint(name, record.case.bs, 0, output.value / gpus(record), user, None)


def _with_frontier(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    return [replace(p, on_frontier=not any(_dominates(q, p) for q in points)) for p in points]


def _dominates(one: OperatingPoint, other: OperatingPoint) -> bool:
    """Whether ``one`` is at least as good in both, and better in one."""
    pairs = (one.output_tps, other.output_tps), (one.user_tps, other.user_tps)
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
