"""The runs of the HTML report: one section each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.results import CaseResult
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.report.grid import arm_names
from pytest_speedbench.report.headline import SIGNS, TONES, severity
from pytest_speedbench.report.html.environment import reproduction
from pytest_speedbench.report.html.evidence import Figure, figures_of
from pytest_speedbench.report.html.prompts import PromptView, prompt_views
from pytest_speedbench.report.texts import Texts
from pytest_speedbench.report.view import Row, RunTable, run_table, widest

MOST_DRAWN = 3
"""Runs with drawings and prompts: each run takes a third of a second and some 150 kB."""

ReadTexts = Callable[[Record], Texts]


@dataclass(frozen=True, slots=True)
class Chip:
    """One outcome of the gate with its colour and its sign."""

    text: str
    tone: str
    sign: str


def chip(outcome: Outcome, text: str = "") -> Chip:
    """The chip of an outcome, called by its own name where there is no ``text``."""
    tone = TONES[outcome]
    return Chip(text or outcome.value, tone, SIGNS[tone])


@dataclass(frozen=True, slots=True)
class PageRow:
    """One slice and its verdict on AL."""

    row: Row
    chip: Chip | None


@dataclass(frozen=True, slots=True)
class Section:
    """One run of the page."""

    anchor: str
    label: str
    table: RunTable
    rows: tuple[PageRow, ...]
    drafter: str
    gated: bool
    compared: bool
    chip: Chip | None
    verdicts: tuple[tuple[Chip, str], ...]
    figures: tuple[Figure, ...]
    prompts: tuple[PromptView, ...]
    has_text: bool
    command: str


def sections(runs: Sequence[Sequence[CaseResult]], read_texts: ReadTexts | None) -> list[Section]:
    """One a run, the worst verdict and the largest loss first; the first ones with drawings and
    prompts.

    Raises:
        RecordError: a request of a record is damaged.
    """
    tables = [run_table(cases) for cases in runs]
    labels = _labels(runs, tables)
    speculates = [cases[0].record.spec.method != "none" for cases in runs]
    order = sorted(
        range(len(runs)),
        key=lambda n: (severity(tables[n].outcomes), not speculates[n], tables[n].worst_ratio),
    )
    return [
        _section(
            f"run-{number + 1}",
            labels[number],
            tables[number],
            runs[number],
            read_texts,
            drawn=place < MOST_DRAWN,
        )
        for place, number in enumerate(order)
    ]


def _labels(runs: Sequence[Sequence[CaseResult]], tables: Sequence[RunTable]) -> list[str]:
    """Titles; those of several runs say in what these differ."""
    arms = arm_names([cases[0].record for cases in runs])
    titles = Counter(table.title for table in tables)
    return [
        table.title if titles[table.title] == 1 else f"{table.title} ({arm})"
        for table, arm in zip(tables, arms, strict=True)
    ]


def _section(
    anchor: str,
    label: str,
    table: RunTable,
    cases: Sequence[CaseResult],
    read_texts: ReadTexts | None,
    *,
    drawn: bool,
) -> Section:
    head = widest(cases)
    record = head.record
    has_text = drawn and read_texts is not None and head.baseline is not None
    texts = read_texts(record) if has_text and read_texts else None
    worst = min(table.outcomes, key=lambda outcome: severity([outcome]), default=None)
    return Section(
        anchor=anchor,
        label=label,
        table=table,
        rows=tuple(PageRow(row, chip(row.outcome) if row.outcome else None) for row in table.rows),
        drafter=record.spec.drafter.name if record.spec.drafter else "",
        gated=table.judged,
        compared=any(case.baseline for case in cases),
        chip=None if worst is None else chip(worst),
        verdicts=tuple((chip(outcome), text) for text, outcome in table.verdicts),
        figures=tuple(figures_of(cases, anchor, drawn=drawn)),
        prompts=tuple(prompt_views(record, head.baseline, texts)) if drawn else (),
        has_text=has_text,
        command=reproduction([case.record for case in cases]),
    )
