"""Drafters beside each other: AL of each category, where runs differ in the drafter alone."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_speedbench.compare.results import CaseResult
from pytest_speedbench.report import charts
from pytest_speedbench.report.html.evidence import Figure, Numbers, series_of
from pytest_speedbench.report.view import NOTHING, widest

_MOST_FIGURES = 2


def drafter_figures(runs: Sequence[Sequence[CaseResult]]) -> list[Figure]:
    """A figure for each draft length and batch size that several drafters or methods share."""
    groups: dict[tuple[object, ...], dict[str, Sequence[CaseResult]]] = {}
    for cases in runs:
        record = widest(cases).record
        case = record.case
        if case.method != "none" and not record.of_reference_build:
            name = record.spec.drafter.name if record.spec.drafter else case.method
            key = (case.engine, case.model, case.dl, case.bs, case.split, case.temperature)
            groups.setdefault(key, {}).setdefault(name, cases)
    several = [arms for arms in groups.values() if len(arms) > 1]
    return [_figure(number, arms) for number, arms in enumerate(several[:_MOST_FIGURES])]


def _figure(number: int, arms: dict[str, Sequence[CaseResult]]) -> Figure:
    lengths = {
        name: {case.record.case.slice: case.record.metric("acceptance_length") for case in cases}
        for name, cases in arms.items()
    }
    slices = list(dict.fromkeys(s for own in lengths.values() for s in own))
    series = [series_of(name, map(own.get, slices)) for name, own in lengths.items()]
    case = widest(next(iter(arms.values()))).record.case
    title = f"AL of each drafter, DL {case.dl}, BS {case.bs}"
    rows = tuple(
        (s, tuple(NOTHING if (v := one.values[n]) is None else f"{v.value:.2f}" for one in series))
        for n, s in enumerate(slices)
    )
    return Figure(
        title,
        charts.forest(f"drafters-{number}", title, slices, series),
        "The drafters of one target at the same draft length and batch size.",
        Numbers(tuple(arms), rows),
    )
