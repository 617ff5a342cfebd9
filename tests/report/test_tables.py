"""Tables of a terminal: text wraps, numbers never break, and everything stays within the width."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pytest_speedbench.report.folding import folded
from pytest_speedbench.report.tables import Column, table_lines

words = st.lists(st.text("ab–日", min_size=1, max_size=14), max_size=6).map(" ".join)
numbers = st.integers(0, 10**9).map("{:,}".format) | st.sampled_from(["–", "2.03 [1.82, 2.18]"])


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], list[list[str]]]:
    """A column of names, and any others beside it."""
    sides = draw(st.lists(st.sampled_from(["left", "right"]), min_size=1, max_size=7))
    columns: list[Column] = [("name", "left")]
    columns += [(draw(words), "left" if side == "left" else "right") for side in sides]
    cells = st.tuples(*(words if side == "left" else numbers for _, side in columns))
    return columns, list(map(list, draw(st.lists(cells, max_size=5))))


@given(tables(), st.integers(40, 120))
def test_numbers_stand_whole_within_the_width(
    table: tuple[list[Column], list[list[str]]], width: int
) -> None:
    columns, rows = table
    lines = list(table_lines(columns, rows, width))
    assert all(cell_len(line.text) <= width for line in lines)
    for number, row in enumerate(rows):
        own = [line.text for line in lines if line.row == number]
        for cell, (_, side) in zip(row, columns, strict=True):
            if side == "right":
                assert any(cell in text for text in own)
            else:
                parts = [part for part in cell.split() if cell_len(part) <= 12]
                assert all(any(part in text for text in own) for part in parts)


def test_a_table_that_fits_is_one_line_a_row() -> None:
    lines = table_lines([("name", "left"), ("n", "right")], [["math", "8"], ["qa", "12"]], 80)
    assert [line.text for line in lines] == ["name   n", "────────", "math   8", "qa    12"]


def test_a_wider_table_is_divided_and_names_its_rows_again() -> None:
    columns: list[Column] = [("name", "left"), *((f"column{n}", "right") for n in range(4))]
    lines = [line.text for line in table_lines(columns, [["math", *"1234"]], 30)]
    assert lines == [
        *("name  column0  column1", "──────────────────────", "math        1        2", ""),
        *("name  column2  column3", "──────────────────────", "math        3        4"),
    ]


def test_titles_of_numbers_give_way_where_that_keeps_text_in_one_line() -> None:
    columns: list[Column] = [("case", "left"), ("old AL", "right"), ("verdict", "left")]
    rows = [("all", "2.07", "fail, lost at least 8.30%")]
    width = len("all   2.07  fail, lost at least 8.30%") + 1
    title = next(table_lines(columns, rows, width)).text
    assert title.split() == ["case", "old", "verdict"]
    assert sum(line.row == 0 for line in table_lines(columns, rows, width)) == 1
    narrow = [line.text for line in table_lines(columns, rows, width - 6)]
    assert "old AL" in narrow[0]
    assert sum(line.row == 0 for line in table_lines(columns, rows, width - 6)) == 2


def test_a_name_is_broken_between_its_parts() -> None:
    columns: list[Column] = [("run", "left"), ("AL", "right")]
    names = ["eagle3 SmolLM2-135M-Instruct", "aNameWithoutAnyParts"]
    cells = [line.text for line in table_lines(columns, [[name, "2.0"] for name in names], 19)]
    assert cells[2:] == [
        *("eagle3          2.0", "SmolLM2-135M-", "Instruct"),
        *("aNameWithoutAn  2.0", "yParts"),
    ]


def test_a_batch_size_and_a_draft_length_are_not_broken() -> None:
    title = "vllm · eagle3 · DL 3 · a-head-with-a-name · BS 128"
    assert folded(title, 46, "", "  ") == [title.removesuffix(" BS 128"), "  BS 128"]
    columns: list[Column] = [("run", "left"), ("AL", "right")]
    cells = [line.text for line in table_lines(columns, [["ngram · DL 7 · BS 32", "1.66"]], 24)]
    assert cells[2:] == ["ngram · DL 7 ·      1.66", "BS 32"]
