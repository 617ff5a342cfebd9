"""Cases of one run that differ only in how tokens are chosen, or in the form of the prompts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Speedbench
from .pipelines import run_session

GRIDS = """
import pytest

@pytest.mark.speed(temperature=[0, 0.8], top_p=[0.9, 1.0])
def test_filters(speed):
    assert speed.acceptance_length > 1

@pytest.mark.speed(temperature=0.7, seed=[20261129, 20261130])
def test_seeds(speed):
    assert speed.acceptance_length > 1

@pytest.mark.speed(prompt_form="raw")
def test_form(speed):
    assert speed.acceptance_length > 1
"""
SETTINGS = ("t0.8 top_p=0.9", "t0.8", "t0.7 seed=20261129", "t0.7 seed=20261130", "raw")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a saved run of six cases."""
    folder = tmp_path_factory.mktemp("settings")
    (folder / "test_speed.py").write_text(GRIDS)
    options = ("--speed-engine=simulated", "--speed-model=sim", "--speed-method=eagle3")
    sizes = ("--speed-category=math", "--speed-samples=8", "--speed-max-tokens=8")
    few = ("--speed-rounds=1", "--benchmark-save=a")
    assert run_session(folder, "-q", *options, *sizes, *few) == 0
    return folder


@pytest.fixture(autouse=True)
def _here(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved)
    monkeypatch.setattr("pytest_speedbench.stats.power.SESSIONS", 20)


def test_each_has_a_plan_of_its_own(speedbench: Speedbench) -> None:
    out = speedbench("plan", "--margin", "20%").out
    titles = [line for line in out.splitlines() if line.startswith("simulated · ")]
    assert titles[0] == "simulated · sim · eagle3 · DL 3 · BS 1 · qualitative"
    assert [title.split(" · ")[5:-1] for title in titles[1:]] == [s.split() for s in SETTINGS]
    assert out.count("temperature 0.8: sampled outputs always differ") == 2


def test_sampled_outputs_have_nothing_in_common_in_a_simulation(speedbench: Speedbench) -> None:
    out = speedbench("plan", "--simulate", "--sessions", "1").words
    assert out.count("where outputs diverge (46% do: --diverging)") == 2  # greedy: chat and raw
    assert out.count("where outputs diverge (sampled ones do)") == 4


def test_each_has_a_name_of_its_own_in_a_comparison(speedbench: Speedbench) -> None:
    out = speedbench("compare", "1", "1").words
    for setting in SETTINGS:
        assert f" {setting.replace(' ', ' · ')} math " in out


def test_a_pair_across_settings_says_so(speedbench: Speedbench) -> None:
    out = speedbench("compare", "1", "1", "--map", "top_p=0.9:1").words
    assert " t0.8 · top_p=0.9 → default math " in out


def test_each_has_a_line_of_its_own_in_the_history(speedbench: Speedbench) -> None:
    out = speedbench("history").out
    assert "6 cases" in out
    for seed in ("seed=20261129", "seed=20261130"):
        assert seed in out


def test_each_is_a_point_of_its_own(speedbench: Speedbench) -> None:
    speedbench("analyze", "pareto", "1", "--json", "found.json")
    rows = json.loads(Path("found.json").read_text())["rows"]
    assert len({row["run"] for row in rows if row["dl"]}) == 6


def test_the_command_of_each_repeats_it(speedbench: Speedbench) -> None:
    speedbench("report", "1", "--html", "r.html")
    page = Path("r.html").read_text()
    assert page.count("--speed-temperature=0.8 --speed-seed=0 --speed-top-p=0.9") == 1
    assert page.count("--speed-prompt-form=raw") == 1
