"""Two real environments: transformers with SmolLM2, the other one without our package."""

from __future__ import annotations

import importlib.util
import venv
from pathlib import Path

import pytest

from pytest_speedbench.baselines.storage import read_run

from .conftest import needs_demo

pytestmark = [needs_demo, pytest.mark.engine]

SESSION = """
import pytest

@pytest.mark.speed(method="ngram", dl=3)
def test_it(speed):
    assert speed.acceptance_length >= 1
"""
SPLIT = """
{"id": "a", "category": "copy", "prompt": "Repeat: one two three one two three one two"}
{"id": "b", "category": "copy", "prompt": "Repeat: red boat red boat red boat red"}
"""


@pytest.fixture
def other_python(tmp_path: Path) -> str:
    """An environment of its own in which the packages of this one can be imported."""
    spec = importlib.util.find_spec("transformers")
    assert spec is not None
    assert spec.origin is not None
    venv.create(tmp_path / "environment", with_pip=False, symlinks=True)
    python = tmp_path / "environment" / "bin" / "python"
    (site,) = (tmp_path / "environment" / "lib").glob("python*/site-packages")
    (site / "engine.pth").write_text(f"{Path(spec.origin).parents[1]}\n", encoding="utf-8")
    return str(python)


def test_the_same_engine_in_another_environment_gives_the_same(
    pytester: pytest.Pytester, other_python: str
) -> None:
    pytester.makeini(
        "[pytest]\nspeed_engine = transformers\nspeed_split = copy.jsonl\nspeed_samples = all\n"
        "speed_max_tokens = 12\nspeed_rounds = 0\nspeed_engine_arg = dtype=float32\n"
    )
    (pytester.path / "copy.jsonl").write_text(SPLIT.lstrip(), encoding="utf-8")
    pytester.makepyfile(SESSION)
    result = pytester.runpytest_subprocess(
        f"--speed-against-python={other_python}",
        "--speed-inconclusive=pass",
        "--benchmark-save=both",
    )
    result.assert_outcomes(passed=1)
    (path,) = pytester.path.glob(".benchmarks/*/*_both.json")
    run = read_run(path)
    (own,), (other,) = run.records.values(), run.reference_build
    assert own.engine.packages == other.engine.packages
    assert {r.sample: r.ids for r in own.requests} == {r.sample: r.ids for r in other.requests}
    assert {r.sample: r.steps for r in own.requests} == {r.sample: r.steps for r in other.requests}
