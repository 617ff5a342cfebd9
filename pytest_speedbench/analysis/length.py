"""AL over the length of the input, by entropy tier: SPEED-Bench (arXiv 2604.09557), figures 13
and 16."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_speedbench.analysis.runs import latest, names_of, run_of
from pytest_speedbench.analysis.table import Column, Table, Value
from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.errors import GateFailure, NoData
from pytest_speedbench.quantities import change_of
from pytest_speedbench.splits import ALL
from pytest_speedbench.stats.slope import LengthSample, LengthSlope, length_slope

NAME = "length"


@dataclass(frozen=True, slots=True)
class LengthCurve:
    """One run and tier: its samples by input length, and how AL changes along them."""

    run: str
    dl: int
    bs: int
    tier: str
    samples: tuple[LengthSample, ...]
    slope: LengthSlope


@dataclass(frozen=True, slots=True)
class Length:
    """How AL changes with the length of the input, tier by tier."""

    curves: tuple[LengthCurve, ...]
    table: Table

    def assert_no_fall(self, margin: float) -> None:
        """Fails where AL is shown to fall by more than ``margin`` over the measured lengths.

        Raises:
            GateFailure: an ``AssertionError`` that names the tiers.
        """
        __tracebackhide__ = True
        falls = [
            f"{curve.tier} {change_of(1 + change.value, 1)} from {curve.slope.shortest:,} to "
            f"{curve.slope.longest:,} tokens"
            for curve in self.curves
            if (change := curve.slope.over_range).high is not None and change.high < -margin
        ]
        if falls:
            raise GateFailure(f"AL falls with input length by more than {margin:.0%}: {falls[0]}")


def length(records: Sequence[Record]) -> Length:
    """The slope of AL over log2 of the input length, for every run and tier.

    Runs on splits of several lengths (``throughput_1k``, ``throughput_2k``, …) are taken together.

    Args:
        records: of any runs.

    Raises:
        NoData: no tier has inputs of several lengths.
        RecordError: a request of a record is damaged.
    """
    records, notes = latest(records)
    name = names_of(records, but=["split"])
    groups: dict[tuple[str, int, int], dict[str, list[LengthSample]]] = {}
    for record in _slices(records):
        tiers = groups.setdefault((name(record), record.case.dl, record.case.bs), {})
        for tier, sample in _samples(record):
            tiers.setdefault(tier, []).append(sample)
    curves, reason = [], ""
    for (run, dl, bs), tiers in groups.items():
        for tier, samples in tiers.items():
            try:
                slope = length_slope(samples)
            except NoData as error:
                reason = reason or f"{tier}: {error}"
                continue
            curves.append(LengthCurve(run, dl, bs, tier, tuple(samples), slope))
    if not curves:
        raise NoData(reason or "no record has a decoding step")
    return Length(tuple(curves), _table(curves, notes))


def pooled_length(record: Record) -> LengthCurve:
    """All tiers of a record together, as a figure needs them: without intervals.

    Raises:
        NoData: no inputs of several lengths.
        RecordError: a request of the record is damaged.
    """
    samples = tuple(sample for _, sample in _samples(record))
    case = record.case
    return LengthCurve("", case.dl, case.bs, ALL, samples, length_slope(samples, level=None))


def _table(curves: Iterable[LengthCurve], notes: Iterable[str]) -> Table:
    rows: list[Mapping[str, Value]] = [
        {
            "run": curve.run,
            "dl": curve.dl,
            "bs": curve.bs,
            "tier": curve.tier,
            "shortest": curve.slope.shortest,
            "longest": curve.slope.longest,
            "per_doubling": curve.slope.per_doubling,
            "over_range": curve.slope.over_range,
        }
        for curve in curves
    ]
    columns = (
        Column("run", "run", "text"),
        Column("dl", "DL"),
        Column("bs", "BS"),
        Column("tier", "slice", "text"),
        Column("shortest", "from"),
        Column("longest", "to"),
        Column("per_doubling", "a doubling", "difference", 1),
        Column("over_range", "over the range", "difference", 1),
    )
    return Table(
        NAME, "Change of AL over input length in tokens", columns, tuple(rows), tuple(notes)
    )


def _slices(records: Sequence[Record]) -> list[Record]:
    """Every request once: slices, or the whole where there are none."""
    sliced = {run_of(record) for record in records if record.case.slice != ALL}
    return [r for r in records if (r.case.slice != ALL) == (run_of(r) in sliced)]


def _samples(record: Record) -> Iterable[tuple[str, LengthSample]]:
    """The requests of a record with a decoding step, with their categories."""
    inputs = {(r.sample, r.turn): r.prompt_tokens for r in record.requests}
    for trace in traces_of(record):
        steps = trace.step_count
        tokens = inputs[trace.sample, trace.turn]
        if steps and tokens:
            yield trace.stratum, LengthSample(tokens, trace.decode_tokens, steps)
