"""The drawings of one run beside its baseline, each with the numbers that it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pytest_speedbench.analysis.length import LengthCurve, pooled_length
from pytest_speedbench.analysis.step_lengths import step_lengths
from pytest_speedbench.baselines.measured import MetricRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.attribution import Attribution
from pytest_speedbench.compare.judge import verdict_on
from pytest_speedbench.compare.results import CaseResult
from pytest_speedbench.errors import NoData
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH
from pytest_speedbench.quantities import change_of, span_of
from pytest_speedbench.report import charts
from pytest_speedbench.report.charts import Interval, Series
from pytest_speedbench.report.titles import title_of
from pytest_speedbench.report.view import NOTHING, widest

OLD, NEW = "baseline", "this run"
_CHANGE = "change of the speedup"


@dataclass(frozen=True, slots=True)
class Numbers:
    """A small table: titles of its columns, and rows of a name and cells."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """One drawing, empty where only the first runs of a page are drawn, and its numbers.

    ``numbers`` is None where the table of the run has them.
    """

    title: str
    svg: str
    note: str
    numbers: Numbers | None


Draw = Callable[[], str]


def figures_of(cases: Sequence[CaseResult], anchor: str, *, drawn: bool) -> list[Figure]:
    """All figures of one run.

    Args:
        cases: those of the run.
        anchor: sets the ids of its drawings apart.
        drawn: whether to draw, or to give the numbers alone.

    Raises:
        RecordError: a request of a record is damaged.
    """
    case = widest(cases)
    if case.record.spec.method == "none":  # every step emits one token
        return []
    sides = [(OLD, case.baseline)] if case.baseline else []
    sides.append((NEW if case.baseline else title_of(case.record), case.record))
    of = f"of {title_of(case.record)}"
    found = (
        _slices(cases, anchor, of),
        _attribution(cases, anchor, of),
        _positions(sides, cases, anchor, of),
        _step_lengths(sides, anchor, of),
        _depths(sides, anchor, of),
        # It reads every request whole: too long to do for all runs of a page.
        _input_lengths(sides, anchor, of) if drawn else None,
    )
    return [
        Figure(title, draw() if drawn else "", note, numbers)
        for title, draw, note, numbers in filter(None, found)
        if drawn or numbers
    ]


_Found = tuple[str, Draw, str, Numbers | None] | None


def _slices(cases: Sequence[CaseResult], anchor: str, of: str) -> _Found:
    """AL of every slice, those that lost most first."""
    ordered = sorted(cases, key=_ratio)
    series = [series_of(NEW, (_metric(case.record) for case in ordered))]
    if any(case.baseline for case in cases):
        old = (None if case.baseline is None else _metric(case.baseline) for case in ordered)
        series.insert(0, series_of(OLD, old))
    if len(ordered) * len(series) < 2 or not any(v for one in series for v in one.values):
        return None
    names = [case.record.case.slice for case in ordered]
    title = "AL by category" + (", old against new" if len(series) > 1 else "")
    return (
        title,
        lambda: charts.forest(f"{anchor}-al", f"{title} {of}", names, series),
        "Marks are values, bars their 95% intervals over samples."
        + (" The largest loss is at the top." if len(series) > 1 else ""),
        None,
    )


def _ratio(case: CaseResult) -> float:
    """AL new / AL old: that of the verdict, which pairs samples, where there is one."""
    verdict = verdict_on(ACCEPTANCE_LENGTH, case.verdicts)
    if verdict is not None and verdict.ratio is not None:
        return verdict.ratio
    old, new = case.baseline and _metric(case.baseline), _metric(case.record)
    return new.value / old.value if old and new else math.inf


def _metric(record: Record) -> MetricRecord | None:
    return record.metric(ACCEPTANCE_LENGTH)


def series_of(name: str, metrics: Iterable[MetricRecord | None]) -> Series:
    """Metrics as values of a drawing."""
    return Series(
        name, tuple(None if m is None else Interval(m.value, m.low, m.high) for m in metrics)
    )


def _attribution(cases: Sequence[CaseResult], anchor: str, of: str) -> _Found:
    """What the change of speedup is due to."""
    found = next((case.attribution for case in cases if case.attribution), None)
    if found is None or not found.causes:
        return None
    parts = (found.total, *found.causes)
    values = tuple(
        Interval(
            100 * (f.factor - 1),
            None if f.low is None else 100 * (f.low - 1),
            None if f.high is None else 100 * (f.high - 1),
        )
        for f in parts
    )
    names = [f.name for f in parts]
    return (
        "What the change of speedup is due to",
        lambda: charts.forest(
            f"{anchor}-cause",
            f"{_CHANGE} by cause {of}",
            names,
            [Series(_CHANGE, values)],
            f"{_CHANGE} (%)",
            0.0,
        ),
        "The product of the causes is the change of speedup; right of zero is faster.",
        _attribution_numbers(found),
    )


def _attribution_numbers(found: Attribution) -> Numbers:
    rows = tuple(
        (
            f.name,
            (
                change_of(f.factor, 1),
                span_of(f.low, f.high, 1) or NOTHING,
            ),
        )
        for f in (found.total, *found.causes)
    )
    return Numbers(("change", "95%"), rows)


_Sides = Sequence[tuple[str, Record]]


def _positions(sides: _Sides, cases: Sequence[CaseResult], anchor: str, of: str) -> _Found:
    series = _beside([series_of(name, _positions_of(record)) for name, record in sides])
    if not series:
        return None
    longest = len(series[0].values)
    rows = [(one.name, one.values) for one in series]
    if len(cases) > 1:
        rows += [
            (case.record.case.slice, series_of("", found).values)
            for case in cases
            if (found := _positions_of(case.record)) and case is not widest(cases)
        ]
    return (
        "Acceptance by position",
        lambda: charts.positions(f"{anchor}-position", f"Acceptance by position {of}", series),
        "Chance that draft token k is accepted, given that those before it were.",
        Numbers(
            tuple(str(k) for k in range(1, longest + 1)),
            tuple((name, _cells(values, longest, "{:.0%}")) for name, values in rows),
        ),
    )


def _beside(series: Sequence[Series]) -> list[Series]:
    """Series of one length, so that each keeps its colour, its name in the legend and its row of
    numbers where only the other has values; none where no series has any."""
    longest = max(len(one.values) for one in series)
    if not longest:
        return []
    return [Series(s.name, (*s.values, *(None,) * (longest - len(s.values)))) for s in series]


def _positions_of(record: Record) -> list[MetricRecord | None]:
    found = record.metrics.get("acceptance_by_position")
    return found if isinstance(found, list) else []


def _cells(values: Sequence[Interval | None], count: int, form: str) -> tuple[str, ...]:
    padded = (*values, *(None,) * (count - len(values)))
    return tuple(NOTHING if value is None else form.format(value.value) for value in padded)


def _step_lengths(sides: _Sides, anchor: str, of: str) -> _Found:
    series = _beside([Series(name, _shares(record)) for name, record in sides])
    if not series:
        return None
    longest = len(series[0].values)
    return (
        "Step lengths",
        lambda: charts.step_lengths(f"{anchor}-steps", f"Step lengths {of}", series),
        "Share of the decoding steps that emitted so many tokens; 1 is a step without an accepted "
        "draft token.",
        Numbers(
            tuple(str(k) for k in range(1, longest + 1)),
            tuple((one.name, _cells(one.values, longest, "{:.1%}")) for one in series),
        ),
    )


def _shares(record: Record) -> tuple[Interval, ...]:
    try:
        return tuple(map(Interval, step_lengths(record)))
    except NoData:
        return ()


def _depths(sides: _Sides, anchor: str, of: str) -> _Found:
    """AL by position in the context, where either side reaches several buckets."""
    ends = sorted({bucket.end for _, record in sides for bucket in record.depth})
    if all(len(record.depth) < 2 for _, record in sides):
        return None
    series = []
    for name, record in sides:
        known = {bucket.end: bucket.acceptance_length for bucket in record.depth}
        series.append(series_of(name, map(known.get, ends)))
    labels = tuple(f"below {end // 1024}k" for end in ends)
    return (
        "AL by position in the context",
        lambda: charts.depths(
            f"{anchor}-depth", f"AL by position in the context {of}", series, labels
        ),
        "AL of the decoding steps that start at these positions.",
        Numbers(labels, tuple((s.name, _cells(s.values, len(ends), "{:.2f}")) for s in series)),
    )


def _input_lengths(sides: _Sides, anchor: str, of: str) -> _Found:
    curves = [(name, _curve(record)) for name, record in sides]
    if not any(curve for _, curve in curves):
        return None
    rows = tuple((name, _curve_cells(curve)) for name, curve in curves)
    return (
        "AL over the length of the input",
        lambda: charts.input_lengths(f"{anchor}-input", f"AL over input length {of}", curves),
        "A point is a request; the line is a regression on the logarithm of the length.",
        Numbers(("shortest", "longest", "a doubling"), rows),
    )


def _curve(record: Record) -> LengthCurve | None:
    try:
        return pooled_length(record)
    except NoData:
        return None


def _curve_cells(curve: LengthCurve | None) -> tuple[str, ...]:
    if curve is None:
        return (NOTHING,) * 3
    slope = curve.slope
    return f"{slope.shortest:,}", f"{slope.longest:,}", change_of(1 + slope.per_doubling.value, 1)
