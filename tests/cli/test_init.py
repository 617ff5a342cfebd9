"""``speedbench init``: what it writes works, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Speedbench


def test_writes_a_test_and_a_workflow(speedbench: Speedbench, tmp_path: Path) -> None:
    result = speedbench("init", tmp_path)
    test, workflow = tmp_path / "test_speed.py", tmp_path / ".github/workflows/speedbench.yml"
    assert result.code == 0
    assert f"written: {test}\nwritten: {workflow}\nnext: pip install " in result.out
    assert "--speed-compare" in workflow.read_text()
    assert "fetch-depth: 0" in workflow.read_text()


def test_into_the_folder_of_tests_if_there_is_one(speedbench: Speedbench, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    speedbench("init", tmp_path)
    assert (tmp_path / "tests" / "test_speed.py").exists()


def test_never_overwrites(speedbench: Speedbench, tmp_path: Path) -> None:
    test = tmp_path / "test_speed.py"
    test.write_text("mine")
    result = speedbench("init", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert f"nothing written: {test} already there; move it away first" in result.err
    assert test.read_text() == "mine"
    assert not (tmp_path / ".github").exists()


def test_no_folder(speedbench: Speedbench, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    result = speedbench("init", path)
    assert (result.code, f"{path} is no folder" in result.err) == (2, True)


def test_new_folder_and_the_working_folder(
    speedbench: Speedbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert speedbench("init", tmp_path / "new").code == 0
    monkeypatch.chdir(tmp_path)
    assert speedbench("init").out.startswith("written: test_speed.py\n")


def test_the_starter_test_runs(
    speedbench: Speedbench, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert speedbench("init", pytester.path).code == 0
    result = pytester.runpytest_subprocess(
        *("-m", "speed", "--speed-engine", "simulated", "--speed-method", "eagle3"),
        *("--speed-samples", "1", "--speed-max-tokens", "8", "--speed-rounds", "0"),
    )
    result.assert_outcomes(passed=4)
