"""What a shell completes: the names of saved runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pytest_speedbench.cli import app

from .conftest import Speedbench


@pytest.fixture(autouse=True)
def _here(project: Path) -> None:
    """Every test runs in the project."""


def completed(words: str) -> list[str]:
    """What bash shows behind ``words``."""
    place = str(len(words.split(" ")) - 1)
    env = {"_SPEEDBENCH_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": place}
    return CliRunner(env=env).invoke(app, [], prog_name="speedbench").stdout.split()


def test_a_run_is_completed_by_its_number_or_its_name() -> None:
    assert completed("speedbench show 0003") == ["0003_worse"]
    assert completed("speedbench compare base wo") == ["worse"]
    assert completed("speedbench export ")[:2] == ["0001_base", "0002_same"]


def test_a_promoted_run_is_completed(speedbench: Speedbench) -> None:
    assert speedbench("baseline", "promote", "1", "--name", "release").code == 0
    assert completed("speedbench plan --baseline rel") == ["release"]


@pytest.mark.parametrize("storage", ["nowhere", "memory://runs"])
def test_nothing_is_completed_where_no_run_can_be_listed(storage: str) -> None:
    assert completed(f"speedbench show --storage {storage} 00") == []
