"""Replays of known incidents on the simulated engine: real runner, records and gate, no GPU.

    pytest examples/incidents

Each test measures a run "before" and a run "after", asks the rule that was in force and our gate,
and the end of the session shows both verdicts side by side.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import pytest_speedbench
from pytest_speedbench import Record, Verdict
from pytest_speedbench import compare as compare_runs

VERDICTS = pytest.StashKey[list[tuple[str, str, str, str]]]()

Run = dict[str, Record]
"""The records of one measurement, by slice."""
Measure = Callable[..., Run]
AddRow = Callable[[str, str, str, str], None]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Measures the simulated engine over prompts of your own making.

    ``prompts`` maps a category to its number of prompts; every further argument is one of the
    engine's. Returns the record of each category, and of ``all`` where there are several.
    """

    def run(
        prompts: Mapping[str, int],
        *,
        dl: int = 3,
        max_tokens: int = 128,
        **engine: object,
    ) -> Run:
        split = tmp_path / "prompts.jsonl"
        split.write_text("".join(_rows(prompts)))
        measured = pytest_speedbench.measure(
            engine="simulated",
            engine_arg=engine,
            model="m",
            method="eagle3",
            dl=dl,
            bs=8,
            split=str(split),
            category=[*prompts, "all"] if len(prompts) > 1 else [*prompts],
            samples="all",
            max_tokens=max_tokens,
            rounds=0,
        )
        return {record.case.slice: record for record in measured.records}

    return run


def _rows(prompts: Mapping[str, int]) -> Iterator[str]:
    for category, count in prompts.items():
        for number in range(count):
            text = f"Prompt {number} of {category}"
            row = {"id": f"{category}-{number}", "category": category, "prompt": text}
            yield json.dumps(row) + "\n"


def compare(old: Run, new: Run, margin: float) -> dict[str, Verdict]:
    """Our gate, slice by slice: has AL fallen by more than ``margin``?"""
    comparison = compare_runs(old.values(), new.values(), {"acceptance_length": margin})
    return {
        case.new.case.slice: verdict
        for case in comparison.cases
        for verdict in case.verdicts
        if verdict.metric == "acceptance_length"
    }


def acceptance_length(record: Record) -> float:
    """The plain mean that the rules of the day looked at."""
    metric = record.metric("acceptance_length")
    assert metric is not None
    return metric.value


@pytest.fixture
def add_row(request: pytest.FixtureRequest) -> AddRow:
    """Adds a row to the table at the end: incident, what happened, the rule's outcome, ours."""

    def add(incident: str, happened: str, rule: str, ours: str) -> None:
        request.config.stash.setdefault(VERDICTS, []).append((incident, happened, rule, ours))

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = terminalreporter.config.stash.get(VERDICTS, [])
    if rows:
        terminalreporter.section("incidents replayed")
    for incident, happened, rule, ours in rows:
        terminalreporter.write_line(incident, bold=True)
        terminalreporter.write_line(f"  what happened   {happened}")
        terminalreporter.write_line(f"  rule in force   {rule}")
        terminalreporter.write_line(f"  our gate        {ours}")
