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

from pytest_speedbench.baselines.records import write_record
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.gate import Levels, gate
from pytest_speedbench.compare.match import compare_identity, identity_of
from pytest_speedbench.compare.verdict import Verdict
from pytest_speedbench.engines.protocol import Sampling, Speculation
from pytest_speedbench.plan.cases import Case, RunKey
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.plan.values import ALL_SAMPLES
from pytest_speedbench.session.bench import Bench
from pytest_speedbench.session.speed_session import key_of
from pytest_speedbench.stats import divide_alpha

ALPHA = 0.01
VERDICTS = pytest.StashKey[list[tuple[str, str, str, str]]]()

Measure = Callable[..., dict[str, Record]]
Tell = Callable[[str, str, str, str], None]


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Measures one simulated engine over a split of your own making.

    ``prompts`` maps a category to its number of prompts; every further argument is one of the
    simulated engine's. Gives the record of each category, and of ``all``.
    """

    def run(
        prompts: Mapping[str, int],
        *,
        method: str = "eagle3",
        dl: int = 3,
        max_tokens: int = 128,
        seed: int = 0,
        **engine: object,
    ) -> dict[str, Record]:
        split = tmp_path / "prompts.jsonl"
        split.write_text("".join(_rows(prompts)))
        bench = Bench(Settings(engine_arg=tuple(engine.items()), rounds=0))
        speculation, sampling = Speculation(method, dl), Sampling(max_tokens, seed=seed)
        key = RunKey("simulated", "m", speculation, 8, str(split), ALL_SAMPLES, sampling)
        cases = {name: Case(key, name) for name in ("all", *prompts)}
        for case in cases.values():
            bench.add(case)
        try:
            measured = bench.run(key)
        finally:
            bench.pool.close_all()
        return {
            name: write_record(measured.view(name), key_of(case)) for name, case in cases.items()
        }

    return run


def _rows(prompts: Mapping[str, int]) -> Iterator[str]:
    for category, count in prompts.items():
        for number in range(count):
            text = f"Prompt {number} of {category}"
            row = {"id": f"{category}-{number}", "category": category, "prompt": text}
            yield json.dumps(row) + "\n"


def compare(old: Record, new: Record, margin: float, comparisons: int = 1) -> Verdict:
    """Our gate: has AL fallen by more than ``margin``? α is divided over ``comparisons``."""
    fail_alpha = divide_alpha(ALPHA, [1.0] * comparisons)[0]
    match = compare_identity(old, None, identity_of(new))
    name = new.case.slice
    return gate(name, new, match, "acceptance_length", margin, Levels(ALPHA, fail_alpha))


def acceptance_length(record: Record) -> float:
    """The plain mean that the rules of the day looked at."""
    metric = record.metric("acceptance_length")
    assert metric is not None
    return metric.value


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Puts one row into the table at the end: incident, what happened, the rule's outcome, ours."""

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
