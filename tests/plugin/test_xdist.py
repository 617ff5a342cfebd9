"""Workers of xdist measure; the controller saves, shows and judges once."""

from __future__ import annotations

import pytest

from .conftest import Project, text_of

pytest.importorskip("xdist")


@pytest.fixture
def spread(project: Project) -> Project:
    project.gate("dl=[1, 3], category=['math', 'qa']")
    return project


def test_all_workers_reach_one_record(spread: Project) -> None:
    result = spread.run_apart(
        "-n2", "--benchmark-autosave", "--speed-compare", "--speed-summary=o.md"
    )
    result.assert_outcomes(passed=4)
    assert len(spread.saved) == 1
    assert len(spread.records()) == 4
    text = text_of(result)
    assert "gate: 4 no baseline" in text
    assert "eagle3 · DL 1 · BS 1" in text
    assert "eagle3 · DL 3 · BS 1" in text
    assert "α = 0.01 for false fails of the whole session, 0.0025 a comparison" in text
    assert (spread.path / "o.md").exists()

    result = spread.run_apart("-n2", "--speed-compare", "--dist=loadgroup")
    assert "gate: 4 undecided (against 0001" in result.stdout.str()
    assert "0 of" not in result.stdout.str()


def test_nothing_compared_fails_the_session_of_workers_too(spread: Project) -> None:
    spread.run("--benchmark-autosave")
    result = spread.run_apart("-n2", "--speed-compare", "--speed-bs=2")
    result.assert_outcomes(passed=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "0 of 4 compared with the saved runs: no record of this case" in result.stdout.str()


def test_an_unknown_baseline_ends_the_run_of_workers_too(spread: Project) -> None:
    result = spread.run_apart("-n2", "--speed-compare=nowhere")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--speed-compare=nowhere: no file" in result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


def test_n0_is_a_plain_run(project: Project) -> None:
    project.gate()
    project.run_apart("-n0", "--benchmark-autosave").assert_outcomes(passed=1)
    assert len(project.records()) == 1
