"""Two builds side by side in one session: an environment of its own, other arguments, a verdict."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_speedbench.baselines.storage import Store, read_run
from pytest_speedbench.cli import app
from pytest_speedbench.compare.api import compare
from pytest_speedbench.measure.pool import EnginePool
from pytest_speedbench.stats import bound_text

from .conftest import EngineLog, Project, text_of

pytestmark = pytest.mark.usefixtures("plain_figures")

LOSS = ("--speed-engine-arg=acceptance=0.2", "--speed-against-arg=acceptance=0.7")
TIMED = "acceptance_length:10%,speedup:10%,output_tps:10%"


@pytest.fixture
def against(bare_python: str) -> str:
    return f"--speed-against-python={bare_python}"


def outcomes(project: Project, metric: str = "acceptance_length") -> list[str]:
    """The verdicts of the last saved run on one metric."""
    verdicts = [v for record in project.records() for v in record.verdicts]
    return [verdict.outcome for verdict in verdicts if verdict.metric == metric]


def test_the_environment_of_a_build_needs_no_plugin(
    project: Project, against: str, bare_python: str
) -> None:
    project.gate(body="speed.assert_no_regression()")
    result = project.run(against, *LOSS, "--benchmark-save=head", speed_samples="40")
    result.assert_outcomes(failed=1)
    text = text_of(result)
    assert f"reference build (python {bare_python}, other acceptance)" in text
    assert "gate: 1 fail (against reference build)" in text
    assert "changed: acceptance: 0.7 → 0.2" in text
    run = read_run(project.saved[-1])
    own, other = next(iter(run.records.values())), run.reference_build[0]
    assert own.side is not None
    assert other.side is not None
    assert own.side.session == other.side.session
    assert (own.side.reference, other.side.reference) == (False, True)
    assert (own.engine.commit, other.engine.commit) == ("unknown", "unknown")
    assert (own.engine.args["acceptance"], other.engine.args["acceptance"]) == (0.2, 0.7)
    outputs = [{r.sample: r.token_ids.tolist() for r in x.requests} for x in (own, other)]
    assert outputs[0] == outputs[1]


def test_the_same_build_passes(project: Project, against: str) -> None:
    project.gate()
    wide = "--speed-compare-fail=acceptance_length:30%"
    result = project.run(against, wide, "--benchmark-save=head", speed_samples="40")
    result.assert_outcomes(passed=1)
    assert outcomes(project) == ["pass"]


def test_the_reference_build_is_nobodys_baseline(project: Project, against: str) -> None:
    project.gate()
    project.run(against, *LOSS, "--speed-inconclusive=pass", "--benchmark-save=first")
    project.run("--speed-compare", "--speed-engine-arg=acceptance=0.7", "--benchmark-save=second")
    assert outcomes(project) == ["no baseline"]
    runs = Store(project.path / ".benchmarks").runs()
    assert [len(run.summaries) for run in runs] == [1, 1]


def test_a_stored_reference_is_shown_and_does_not_gate(project: Project, against: str) -> None:
    project.gate()
    project.run("--benchmark-save=stored", *LOSS[:1])
    result = project.run(against, *LOSS, "--speed-compare=stored", speed_samples="40")
    result.assert_outcomes(failed=1)
    text = text_of(result)
    assert "for comparison, against the saved run 0001" in text
    assert "not gated" in text
    assert "against reference build" in text


def test_each_round_is_a_start_where_timing_is_gated(project: Project, engines: EngineLog) -> None:
    project.gate()
    result = project.run(
        "--speed-against-arg=step_ms=30",
        "--speed-compare-fail=output_tps:10%",
        "--benchmark-save=head",
        "--speed-inconclusive=pass",
        speed_rounds="4",
    )
    result.assert_outcomes(passed=1)
    assert len(engines.starts) == 4 * 4
    assert engines.alive == []
    record = project.records()[0]
    assert [r.start for r in record.rounds] == [0, 1, 2, 3]
    assert outcomes(project, "output_tps") == ["improved"]


def test_without_a_gated_timing_no_engine_starts_twice(
    project: Project, engines: EngineLog
) -> None:
    project.gate(body="speed.assert_no_regression(output_tps='10%')")
    result = project.run(
        "--speed-against-arg=step_ms=30", "--benchmark-save=head", speed_rounds="3"
    )
    result.assert_outcomes(passed=1)
    assert len(engines.starts) == 4
    assert outcomes(project, "output_tps") == ["not gated"]
    assert "1 start of each build" in text_of(result)


@pytest.mark.parametrize(("room", "tps"), [(2, "pass"), (1, "not gated")])
def test_builds_that_do_not_fit_beside_each_other(
    project: Project, monkeypatch: pytest.MonkeyPatch, room: int, tps: str
) -> None:
    """Two engines: throughput alone; one: AL alone, from one build after the other."""

    def fits(self: EnginePool, config: object, others: list[object]) -> bool:
        return len(others) < room

    monkeypatch.setattr(EnginePool, "room_beside", fits)
    project.gate()
    result = project.run(
        "--speed-against-arg=build=2",
        f"--speed-compare-fail={TIMED}",
        "--speed-inconclusive=pass",
        "--benchmark-save=head",
        speed_rounds="3",
    )
    result.assert_outcomes(passed=1)
    assert outcomes(project, "output_tps") == [tps]
    assert outcomes(project, "speedup") == ["not gated"]
    assert "the engines of both builds do not fit beside each other" in text_of(result)


def test_the_command_and_python_give_the_verdicts_of_the_session(project: Project) -> None:
    project.gate()
    arguments = (*LOSS, f"--speed-compare-fail={TIMED}", "--benchmark-save=head")
    project.run(*arguments, speed_rounds="3", speed_samples="40")
    run = read_run(project.saved[-1])
    margins = {"acceptance_length": 0.1}
    found = compare(run.reference_build, run.records.values(), margins).verdicts
    assert [str(verdict) for verdict in found] == [
        f"acceptance_length: fail ({v.ratio - 1:+.2%}), "
        f"{bound_text(v.shown_low, v.shown_high)}, {v.reason}"
        for record in run.records.values()
        for v in record.verdicts
        if v.ratio
    ]
    path = str(project.saved[-1])
    done = CliRunner().invoke(app, ["compare", path, path, "--fail", "acceptance_length:10%"])
    assert done.exit_code == 1
    assert "gate: 1 fail" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speed-against-python=none/bin/python"], "no such interpreter"),
        (["--speed-against-arg=speling=1"], "no argument 'speling'"),
    ],
)
def test_a_build_that_cannot_run_is_one_error_before_anything_is_measured(
    project: Project, engines: EngineLog, arguments: list[str], message: str
) -> None:
    project.gate()
    result = project.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{message}*"])
    assert engines.starts == []


@pytest.mark.parametrize(
    ("marker", "arguments", "message"),
    [
        ("against_url='http://127.0.0.1:1'", [], "name that of the build under test"),
        ("soak=4, against_arg={'build': 2}", [], "a soak measures one engine alone"),
        ("method='ngram', against_drafter='d'", [], "method ngram uses no drafter"),
        ("against_arg={'build': 2}", ["--speed-early"], "leave one of them out"),
    ],
)
def test_contradictions(project: Project, marker: str, arguments: list[str], message: str) -> None:
    project.gate(marker)
    result = project.run(*arguments)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{message}*"])


def test_a_drafter_of_the_reference_build(project: Project) -> None:
    project.gate("against_drafter='org/old'")
    project.run("--speed-drafter=org/new", "--speed-inconclusive=pass", "--benchmark-save=head")
    run = read_run(project.saved[-1])
    names = [
        r.spec.drafter and r.spec.drafter.name
        for r in (*run.records.values(), *run.reference_build)
    ]
    assert names == ["org/new", "org/old"]


def test_xdist_keeps_both_builds_on_one_worker(project: Project, against: str) -> None:
    project.gate("category=['math', 'qa']")
    result = project.run(
        against, "-n2", "--speed-inconclusive=pass", "--benchmark-save=head", speed_dl="2,3"
    )
    result.assert_outcomes(passed=4)
    run = read_run(project.saved[-1])
    assert len(run.records) == len(run.reference_build) == 4


def test_reports_say_which_build_is_which(project: Project, against: str, tmp_path: Path) -> None:
    project.gate()
    project.run(against, f"--speed-summary={tmp_path}/s.md", f"--speed-report={tmp_path}/r.html")
    for name in ("s.md", "r.html"):
        assert "reference build" in (tmp_path / name).read_text(encoding="utf-8")
