"""What the commands print, at any width."""

from __future__ import annotations

import pytest

from pytest_speedbench.cli.output import Lines


def test_a_table_that_does_not_fit_is_wrapped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    Lines().table([("a", "left"), ("b", "left")], [["x" * 100, "y" * 100]], ["red"])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert (shown.count("x"), shown.count("y")) == (100, 100)


def test_a_paragraph_keeps_its_indentation(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    Lines().line("  a sentence that is longer than this")
    assert capsys.readouterr().out == "  a sentence that is\n  longer than this\n"


@pytest.mark.parametrize("columns", [1, 2, 5, 12, 40])
def test_a_terminal_may_be_narrow(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = Lines()
    lines.table([("a", "left"), ("b", "right")], [["x" * 50, "1–2"]])
    lines.item("  evidence   ", "some words and " + "x" * 50)
    lines.exact("git bisect start")
    assert capsys.readouterr().out.endswith("git bisect start\n")
