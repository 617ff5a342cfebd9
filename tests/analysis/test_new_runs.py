"""``speedbench analyze NAME --measure``: a figure of a new run, in one command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_speedbench.baselines.storage import Store
from pytest_speedbench.cli import app
from pytest_speedbench.compare.eligible import ANY
from pytest_speedbench.errors import EngineError
from pytest_speedbench.measure.run import Run
from pytest_speedbench.plan.cases import RunKey
from pytest_speedbench.session.bench import Bench

HEAD = [
    *("--measure", "engine=simulated", "--measure", "model=org/model"),
    *("--measure", "method=eagle3", "--measure", "samples=1", "--measure", "max-tokens=8"),
    *("--measure", "rounds=1"),
]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def analyze(*arguments: str) -> list[dict[str, object]]:
    done = CliRunner().invoke(app, ["analyze", *arguments, "--json", "found.json"])
    assert done.exit_code == 0, done.output
    rows: list[dict[str, object]] = json.loads(Path("found.json").read_text())["rows"]
    return rows


def test_a_new_run_has_the_grid_of_its_figure_and_can_be_kept() -> None:
    fresh = analyze("categories", *HEAD, "--save", "lengths")
    assert {row["dl"] for row in fresh} == {1, 3, 5}
    assert analyze("categories", "lengths") == fresh
    (run,) = Store(".benchmarks").runs()
    reasons = {ANY.objection(record, run) for record in run.summaries}
    assert reasons == {"it was measured by speedbench analyze categories"}


@pytest.mark.parametrize(
    ("ended", "code"), [(EngineError("no memory"), 2), (KeyboardInterrupt(), 130)]
)
def test_what_was_measured_before_the_end_is_kept(
    monkeypatch: pytest.MonkeyPatch, ended: BaseException, code: int
) -> None:
    measure = Bench.run

    def until_the_last(bench: Bench, run: RunKey, attempt: int = 1) -> Run:
        if run.speculation.draft_length == 5:
            raise ended
        return measure(bench, run, attempt)

    monkeypatch.setattr(Bench, "run", until_the_last)
    done = CliRunner().invoke(app, ["analyze", "categories", *HEAD, "--save", "kept"])
    assert done.exit_code == code
    (run,) = Store(".benchmarks").runs()
    assert {key.dl for key in run.keys} == {1, 3}
    told = f"{len(run.keys)} cases that had been measured when the run ended"
    assert told in done.output.replace("\n", " ")


def test_options_replace_the_grid() -> None:
    found = analyze("pareto", *HEAD, "--measure", "bs=2", "--measure", "dl=1")
    assert {row["bs"] for row in found} == {2}


def test_bias_measures_the_other_split_too() -> None:
    rows = [{"id": "one", "category": "math", "prompt": "Add 2 and 3."}]
    Path("other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = analyze("bias", *HEAD, "--measure", "split=qualitative", "--against", "other.jsonl")
    assert [row["slice"] for row in found] == ["math"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected RUN, a saved run, or --measure KEY=VALUE"),
        (["--measure", "model"], "--measure: expected KEY=VALUE, such as model=demo, got 'model'"),
        (["--measure", "modle=demo"], "did you mean 'model'?"),
        (["--measure", "dl=x"], "dl=x: expected an integer >= 1"),
        (["--measure", "compare=main"], "compare belongs to a pytest session"),
        (["old", "--measure", "model=demo"], "leave one of them out"),
        (["old", "--save", "new"], "--save has no effect without --measure"),
    ],
)
def test_one_clear_error(arguments: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["analyze", "categories", *arguments])
    assert done.exit_code == 2
    assert message in done.output.replace("\n", " ")
