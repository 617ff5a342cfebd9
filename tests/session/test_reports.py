"""What a session writes fits the terminal: at most 80 columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.session.reports import WIDEST, within

TEXT = st.text(st.sampled_from("ab ·%-\n"), max_size=400)


@given(TEXT, st.integers(0, 40))
def test_only_a_single_word_is_longer_than_the_terminal(text: str, margin: int) -> None:
    for line in within(text, margin).split("\n"):
        assert len(line) <= WIDEST - margin or " " not in line.strip()


@given(TEXT)
def test_no_word_is_lost(text: str) -> None:
    assert within(text).split() == text.split()


def test_further_lines_are_indented_and_short_lines_stay() -> None:
    text = f"  head: {'word ' * 20}\n  as it is"
    assert within(text).split("\n") == [
        f"  head: {'word ' * 14}".rstrip(),
        f"    {'word ' * 6}".rstrip(),
        "  as it is",
    ]


def test_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert max(map(len, within("word " * 30).split("\n"))) <= 40
    monkeypatch.setenv("COLUMNS", "1")
    assert max(map(len, within("word " * 30, 30).split("\n"))) <= 20
