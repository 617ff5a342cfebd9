"""The incidents of ``examples/incidents`` replayed: the rule of the day beside our verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples" / "incidents"
PAGE = Path(__file__).parents[1] / "docs" / "incidents.md"
FILES = sorted(path.name for path in EXAMPLES.glob("test_*.py"))


@pytest.mark.parametrize("name", FILES)
def test_an_incident(pytester: pytest.Pytester, name: str) -> None:
    """Runs as a user runs it, and ends with both verdicts."""
    for path in (EXAMPLES / "conftest.py", EXAMPLES / name):
        (pytester.path / path.name).write_text(path.read_text())
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:hypothesispytest")
    outcomes = result.parseoutcomes()
    assert set(outcomes) == {"passed"}
    text = result.stdout.str()
    for heading in ("incidents replayed", "what happened", "rule in force", "our gate"):
        assert heading in text


def test_there_are_four() -> None:
    assert len(FILES) == 4


def test_the_page_names_every_incident_and_its_file() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in FILES:
        assert f"examples/incidents/{name}" in text
