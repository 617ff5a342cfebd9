"""The incidents of ``examples/incidents`` replayed: the rule of the day beside our verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples" / "incidents"
PAGE = Path(__file__).parents[1] / "docs" / "incidents.md"
FILES = sorted(path.name for path in EXAMPLES.glob("test_*.py"))


def test_the_incidents(pytester: pytest.Pytester) -> None:
    """They run as a user runs them, and the session ends with both verdicts on each."""
    for path in EXAMPLES.glob("*.py"):
        (pytester.path / path.name).write_text(path.read_text())
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    assert set(result.parseoutcomes()) == {"passed"}
    text = result.stdout.str()
    assert "incidents replayed" in text
    for heading in ("what happened", "rule in force", "our gate"):
        assert text.count(heading) >= len(FILES)


def test_there_are_four() -> None:
    assert len(FILES) == 4


def test_the_page_names_every_incident_and_its_file() -> None:
    text = PAGE.read_text(encoding="utf-8")
    for name in FILES:
        assert f"examples/incidents/{name}" in text
