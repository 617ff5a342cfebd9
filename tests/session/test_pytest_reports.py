"""What a session writes fits the terminal: at most 80 columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.report.folding import WIDEST
from pytest_speedbench.session.pytest_reports import within

LINE = st.text(st.sampled_from("ab ·%-"), max_size=400)


@given(LINE, st.sampled_from(["", "E"]))
def test_only_a_single_word_is_longer_than_the_terminal(text: str, mark: str) -> None:
    for line in within(mark + text, mark):
        assert line.startswith(mark)
        assert len(line) <= WIDEST or " " not in line.removeprefix(mark).strip()


@given(LINE)
def test_no_word_is_lost(text: str) -> None:
    assert " ".join(within(text)).split() == text.split()


def test_further_lines_are_indented_and_short_lines_stay() -> None:
    assert within("  as it is") == ["  as it is"]
    assert within(f"E   head: {'word ' * 20}", "E") == [
        f"E   head: {'word ' * 14}".rstrip(),
        f"E     {'word ' * 6}".rstrip(),
    ]


def test_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, within("word " * 30))) <= 40
    monkeypatch.setenv("COLUMNS", "1")
    assert max(map(len, within("word " * 30))) <= 20
