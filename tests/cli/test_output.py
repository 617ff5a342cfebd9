"""Tables of the commands."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_speedbench.cli.output import Justify, Lines

cells = st.text(st.sampled_from("ab 1–日"), max_size=9)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_table_that_fits_looks_as_a_fitted_one(
    capsys: pytest.CaptureFixture[str], data: st.DataObject
) -> None:
    width = data.draw(st.integers(1, 5))
    sides: list[Justify] = [data.draw(st.sampled_from(["left", "right"])) for _ in range(width)]
    columns = [(f"head{number}", side) for number, side in enumerate(sides)]
    rows = data.draw(st.lists(st.lists(cells.map(str.strip), min_size=width, max_size=width)))
    capsys.readouterr()
    lines = Lines()
    assert lines._plain_table(columns, [(row, "") for row in rows])
    plain = capsys.readouterr().out
    lines._fitted_table(columns, [(row, "") for row in rows], frozenset())
    fitted = capsys.readouterr().out
    assert [text.rstrip() for text in plain.splitlines()] == [
        text.rstrip() for text in fitted.splitlines()
    ]


def test_a_table_that_does_not_fit_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    Lines().table([("a", "left"), ("b", "left")], [["x" * 100, "y" * 100]], ["red"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 110


@pytest.mark.parametrize("columns", [1, 2, 5, 12, 40])
def test_a_terminal_may_be_narrow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = Lines()
    lines.table([("a", "left"), ("b", "right")], [["x" * 50, "1–2"]], wrap=frozenset({"a"}))
    lines.item("  evidence   ", "some words and " + "x" * 50)
    lines.exact("git bisect start")
    assert capsys.readouterr().out.endswith("git bisect start\n")
