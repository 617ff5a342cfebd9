"""Times that an engine declares are never shown as measured."""

from __future__ import annotations

from pytest_speedbench.analysis.runs import timing_notes
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.results import SessionResults
from pytest_speedbench.report.folding import WIDEST
from pytest_speedbench.report.headline import headline_of
from pytest_speedbench.report.terminal import summary_lines
from pytest_speedbench.session.cost import Cost
from tests.report.conftest import record, result


def simulated(dl: int = 3) -> Record:
    real = record("all", dl)
    engine = real.engine.model_copy(update={"name": "simulated"})
    return real.model_copy(update={"engine": engine})


def shown(*records: Record) -> str:
    results = SessionResults([result(one) for one in records])
    lines = [line.text for line in summary_lines(results, WIDEST)]
    return " ".join([headline_of(results).title, *" ".join(lines).split()])


def test_every_time_and_rate_of_a_run_is_marked() -> None:
    text = shown(simulated())
    assert "in simulated time" in text
    assert text.count("(simulated)") == 3  # the headline, tokens/s, and what a user sees
    assert "simulated" not in shown(record("all"))


def test_a_grid_is_marked() -> None:
    assert ", simulated: AL and speedup" in shown(simulated(1), simulated(3))


def test_an_analysis_says_so() -> None:
    assert timing_notes([record("all"), simulated()])
    assert not timing_notes([record("all")])


def test_an_estimated_duration_says_so() -> None:
    assert "about 2.0 min at the speed of 0001" in str(Cost(5, 9, 120.0, 1, "0001"))
    assert "about 2.0 min of simulated time at" in str(Cost(5, 9, 120.0, 1, "0001", True))
