"""An error of ours, of whatever class, is one message and no traceback; a bug keeps its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_speedbench.engines import registry
from pytest_speedbench.session import pytest_reports

from .conftest import Project

ENGINE = """
from pytest_speedbench import EngineType
from pytest_speedbench.errors import CannotRun, EngineUnavailable, SpeedbenchError

class OutOfLuck(SpeedbenchError):
    "A class that the package does not know."

def start(config, timeout):
    raise {error}

ENGINE = EngineType("unlucky", ("none",), start, tokenizer="words")
"""


@pytest.fixture
def unlucky(project: Project) -> Iterator[Project]:
    """A project with an installed engine of a third party, which does not start."""
    installed = project.pytester.mkdir("unlucky-1.0.dist-info")
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: unlucky\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(
        "[pytest_speedbench.engines]\nunlucky = unlucky:ENGINE\n"
    )
    project.pytester.syspathinsert()
    project.gate("method='none'")
    project.ini |= {"speed_engine": "unlucky", "speed_method": "none"}
    registry._third_parties.cache_clear()
    yield project
    registry._third_parties.cache_clear()
    registry.engine_type.cache_clear()


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        ("OutOfLuck('no luck today: try again tomorrow')", "errors"),
        ("CannotRun('no luck today: try again tomorrow')", "skipped"),
        ("EngineUnavailable('no luck today: try again tomorrow')", "skipped"),
    ],
)
def test_an_error_of_ours(unlucky: Project, error: str, outcome: str) -> None:
    unlucky.file("unlucky.py", ENGINE.format(error=error))
    result = unlucky.run("-rs")
    result.assert_outcomes(**{outcome: 1})
    text = result.stdout.str()
    assert "no luck today: try again tomorrow" in text
    assert "unlucky.py" not in text
    assert "Traceback" not in text


def test_a_bug_shows_where_it_is(unlucky: Project) -> None:
    unlucky.file("unlucky.py", ENGINE.format(error="KeyError('luck')"))
    result = unlucky.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*unlucky.py:*: KeyError*"])


def test_failures_fit_the_terminal(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed assert, an error in the body of a test, and a gate that fails behind it."""
    monkeypatch.setattr(pytest_reports, "line_width", lambda: 80)
    bodies = ("assert speed.acceptance_length >= 3.9", "speed.assert_lossless()", "speed.traces")
    tests = "".join(
        f"@pytest.mark.speed\ndef test_{n}(speed):\n    {body}\n" for n, body in enumerate(bodies)
    )
    project.file("test_it.py", f"import pytest\n{tests}")
    result = project.run("--speed-engine-arg=speculation_off=1", "--color=no")
    result.assert_outcomes(failed=3)
    start = next(n for n, line in enumerate(result.outlines) if "= FAILURES =" in line)
    end = next(n for n, line in enumerate(result.outlines) if "= speedbench =" in line)
    shown = [line for line in result.outlines[start + 1 : end] if not line.startswith("_")]
    assert max(map(len, shown)) <= 80
    assert any("assert_lossless needs the arm" in line for line in shown)
