"""Sweeps as grids: AL and speedup at each draft length and batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH
from pytest_speedbench.quantities import exact

NO_SD = "no SD"
_SEVERAL = (
    "several runs without SD of one batch size: each speedup is against the one that was measured "
    "beside it"
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One run: its AL, its speedup with its interval and what that shows.

    ``best`` marks the highest speedup of a batch size, where there are several.
    """

    acceptance_length: str
    speedup: str = ""
    interval: str = ""
    shows: str = ""
    tone: str = "plain"
    best: bool = False

    def __str__(self) -> str:
        return " ".join(filter(None, (self.acceptance_length, self.speedup)))


@dataclass(frozen=True, slots=True)
class Grid:
    """The runs of one method: a row for each draft length, the first without SD if it was timed.

    ``rows`` has shape (rows,): label, and a cell for each of ``batches``, None where none was
    measured. ``cases`` are those of the runs in it. ``note`` says where speedups of one batch size
    are against several runs without SD.
    """

    title: str
    batches: tuple[int, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    cases: frozenset[CaseKey]
    note: str = ""

    @property
    def shows(self) -> str:
        """What stands in its cells."""
        cells = [cell for name, row in self.rows if name != NO_SD for cell in row if cell]
        return "AL and speedup" if any(cell.speedup for cell in cells) else "AL"

    @property
    def marked(self) -> bool:
        """Whether any cell is the best of its batch size."""
        return any(cell.best for _, row in self.rows for cell in row if cell)


def grids(records: Sequence[Record]) -> list[Grid]:
    """A grid for each method with several runs; ``records`` has one a run.

    The reference build of a side-by-side session is in none.
    """
    records = [record for record in records if not record.of_reference_build]
    found: dict[str, list[Record]] = {}
    for name, record in zip(_grid_names(records), records, strict=True):
        found.setdefault(name, []).append(record)
    drafting = {n: own for n, own in found.items() if own[0].spec.method != "none"}
    without = [record for record in records if record.spec.method == "none"]
    return [_grid(name, own, without) for name, own in drafting.items() if len(own) > 1]


def _grid(title: str, records: Sequence[Record], without: Iterable[Record]) -> Grid:
    # A soak or an untimed run may lie at a point that another test has timed.
    timed_last = sorted(records, key=lambda record: record.metric("speedup") is not None)
    points = {(record.spec.draft_length, record.case.bs): record for record in timed_last}
    batches = tuple(sorted({bs for _, bs in points}))
    lengths = sorted({dl for dl, _ in points})
    best = {bs: _best(points, lengths, bs) for bs in batches}
    rows = [
        (
            f"DL {dl}",
            tuple(_cell(points.get((dl, bs)), best=best[bs] == dl) for bs in batches),
        )
        for dl in lengths
    ]
    plain = _plain_throughput(records, without)
    if plain:
        cells = (f"{'–'.join(plain[bs])} tok/s" if bs in plain else "" for bs in batches)
        rows.insert(0, (NO_SD, tuple(Cell(text) if text else None for text in cells)))
    note = _SEVERAL if any(len(ends) > 1 for ends in plain.values()) else ""
    if records[0].engine.simulated and "simulated" not in title:
        title = f"{title}, simulated"
    cases = frozenset(record.case for record in records)
    return Grid(title, batches, tuple(rows), cases, note)


def _plain_throughput(
    records: Iterable[Record], without: Iterable[Record]
) -> dict[int, tuple[str, ...]]:
    """Output tokens/s without SD by batch size, of runs of their own and of reference arms: the
    least and the most, one where they are equal."""
    found: dict[int, list[float]] = {}
    for group, name in ((without, "output_tps"), (records, "reference_tps")):
        for record in group:
            if metric := record.metric(name):
                found.setdefault(record.case.bs, []).append(metric.value)
    ends = {bs: (min(values), max(values)) for bs, values in found.items()}
    return {bs: tuple(dict.fromkeys(f"{end:,.0f}" for end in pair)) for bs, pair in ends.items()}


def _best(points: Mapping[tuple[int, int], Record], lengths: Sequence[int], bs: int) -> int | None:
    """The draft length with the highest speedup at a batch size; None without a choice."""
    measured = [(dl, points[dl, bs].metric("speedup")) for dl in lengths if (dl, bs) in points]
    values = {dl: speedup.value for dl, speedup in measured if speedup is not None}
    return max(values, key=values.__getitem__) if len(values) > 1 else None


def _cell(record: Record | None, *, best: bool) -> Cell | None:
    if record is None:
        return None
    length, speedup = record.metric(ACCEPTANCE_LENGTH), record.metric("speedup")
    text = "" if length is None else f"{length.value:.2f}"
    if speedup is None:
        return Cell(text)
    interval, shows, tone = "", "looks slower" if speedup.value < 1 else "looks faster", "open"
    if speedup.low is not None and speedup.high is not None:
        interval = f"{speedup.low:.2f}–{speedup.high:.2f}"
        if speedup.low > 1:
            shows, tone = "faster", "good"
        elif speedup.high < 1:
            shows, tone = "slower", "bad"
    return Cell(text, f"{speedup.value:.2f}x", interval, shows, tone, best)


def _method(record: Record) -> str:
    return NO_SD if record.spec.method == "none" else record.spec.method


def _drafter(record: Record) -> str:
    return record.spec.drafter.name if record.spec.drafter else ""


def _samples(record: Record) -> str:
    return f"{record.split.samples or 'all'} samples"


_AXES: tuple[Callable[[Record], str], ...] = (
    lambda record: record.engine.name,
    lambda record: record.model.name,
    lambda record: record.split.name,
    _method,
    _drafter,
    lambda record: f"max_tokens {record.sampling.max_tokens}",
    lambda record: f"temperature {exact(record.sampling.temperature)}",
    lambda record: " ".join(record.case.rarer()),
)


def _grid_names(records: Sequence[Record]) -> list[str]:
    """As :func:`arm_names`; a larger batch may have more samples and is in the same grid."""
    names = arm_names(records, _AXES)
    places = {
        (name, r.spec.draft_length, r.case.bs) for name, r in zip(names, records, strict=True)
    }
    return names if len(places) == len(records) else arm_names(records)


def arm_names(
    records: Sequence[Record], axes: Sequence[Callable[[Record], str]] = (*_AXES, _samples)
) -> list[str]:
    """What each run is called beside the others: its method, and whatever else they differ in."""
    shown = []
    for axis in axes:
        column = [axis(record) for record in records]
        values = set(column)
        if axis is _drafter:
            values.discard("")  # runs without SD have none
        if axis is _method or len(values) > 1:
            shown.append(column)
    return [" · ".join(filter(None, parts)) for parts in zip(*shown, strict=True)]
