"""What others wrote is made printable, and every place that prints does so."""

from __future__ import annotations

import ast
import codecs
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import pytest_speedbench
from pytest_speedbench.errors import SpeedbenchError
from pytest_speedbench.escapes import (
    html_table,
    label,
    markdown_cell,
    on_terminal,
    printable,
    shortened,
    stand_in_for,
)

PACKAGE = Path(pytest_speedbench.__file__).parent
COMMANDS = ("error", "Warning", "add-mask", "set-output", "stop-commands", "group")
nasty = st.lists(
    st.characters()
    | st.sampled_from("\x1b\x07\r\n\t\x85\x9b\u202e\u2066\u200b\ud800:#[|`*_<>&")
    | st.sampled_from(["::", "##[", "::error", "\n::"]),
    max_size=20,
).map("".join)


@given(nasty)
def test_a_terminal_gets_no_character_that_it_lacks(text: str) -> None:
    for encoding in ("ascii", "latin-1", "cp1252"):
        shown = on_terminal(printable(text), encoding)
        shown.encode(encoding)
        assert on_terminal(shown, encoding) == shown
    assert on_terminal(printable(text), "utf-8") == printable(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("AL 2.70 → 2.50 · α = 0.01", "AL 2.70 -> 2.50 | alpha = 0.01"),
        ("1.33–2.65 … 10× ±5", "1.33-2.65 ... 10x +/-5"),
        ("─" * 9, "-" * 9),
        ("modèle 模", r"mod\xe8le \u6a21"),
    ],
)
def test_stand_ins_of_an_ascii_terminal(text: str, shown: str) -> None:
    assert on_terminal(text, "ascii") == shown
    codecs.register_error("test-stand-ins", stand_in_for)
    assert text.encode("ascii", "test-stand-ins").decode() == shown


def test_what_the_encoding_has_stays() -> None:
    assert on_terminal("é · →", "latin-1") == "é · ->"


def test_cells_of_a_notebook_stay_text() -> None:
    found = html_table(("<b>",), [("<script>\x1b",)])
    assert "<th>&lt;b&gt;</th>" in found
    assert r"<td>&lt;script&gt;\x1b</td>" in found


def test_escape_sequences_are_shown() -> None:
    assert printable("a\x1b[31mred\x1b[0m") == r"a\x1b[31mred\x1b[0m"
    assert printable("a\nb\tc\r") == "a\nb\tc\\r"
    assert label("a\nb\tc") == r"a\nb\tc"


@pytest.mark.parametrize("character", ["\x9b", "\u202e", "\u2066", "\u200b", "\ud800", "\u2028"])
def test_the_relatives_of_escape_sequences_are_shown(character: str) -> None:
    for escape in (printable, label, markdown_cell):
        assert character not in escape(f"a{character}b")
        assert escape(f"a{character}b").encode()


@example(":::error")
@example("###[error]")
@given(nasty)
def test_nothing_unprintable_is_left_and_a_second_pass_changes_nothing(text: str) -> None:
    for escape in (printable, label):
        once = escape(text)
        assert all(c.isprintable() or c in "\n\t" for c in once)
        assert escape(once) == once
    assert label(text).isprintable()
    assert markdown_cell(text).isprintable()


@given(nasty, st.sampled_from(COMMANDS), nasty)
def test_no_line_is_a_command_to_a_ci_system_wherever_it_is_wrapped(
    before: str, command: str, after: str
) -> None:
    text = printable(f"{before}::{command} file=a::{after}##[{command}]{after}")
    assert not re.search(rf"::({'|'.join(COMMANDS)})\b", text, re.I)
    assert not any(line.strip().startswith("::") for line in text.split("\n"))
    assert "##[" not in text


def test_ids_of_tests_stay_as_they_are() -> None:
    text = "tests/test_it.py::TestGate::test_gate[math-bs1]"
    assert printable(text) == text


def test_markdown_has_no_markup_of_others() -> None:
    cell = markdown_cell("a|b\n<img src=x> [l](u) `c` *b* ~s~ $x$ &lt;")
    assert cell == (r"a\|b &lt;img src=x&gt; \[l\](u) \`c\` \*b\* \~s\~ \$x\$ &amp;lt;")


def test_a_long_text_is_cut_in_the_middle() -> None:
    assert shortened("abc", 3) == "abc"
    assert shortened("a" * 500 + "b" * 500, 10) == "aaaaa … 990 characters left out … bbbbb"
    assert len(str(SpeedbenchError("x" * 10_000_000))) < 21_000


def test_the_message_of_an_error_is_printable() -> None:
    assert str(SpeedbenchError("no run \x1b[31m\u202e")) == r"no run \x1b[31m\u202e"


# -- every place that prints ------------------------------------------------------------------

ESCAPES = {"printable", "label", "markdown_cell", "shown"}
SINKS = {
    *("print", "echo", "secho", "write_line", "rewrite", "section", "info", "writerow"),
    *("warnings.warn", "place.warn", "stdout.write", "stderr.write"),
    *("pytest.fail", "pytest.skip", "pytest.exit", "pytest.UsageError"),
}
# Functions whose output is not escaped by a call in the same expression, and who escapes it.
ELSEWHERE = {
    "cli/output.py:item": "text is printable",
    "cli/output.py:table": "label() escapes every cell",
    "cli/export.py:export": "printable() but for parquet, which no terminal gets",
    "cli/history_output.py:show_csv": "label() escapes every field",
    "session/summary.py:_annotate": "github_command() escapes its data",
    "errors.py:warn": "shown() is its first line",
    "plan/precedence.py:load_settings": "the message of a SpeedbenchError",
    "session/collection.py:_check_options": "the message of a SpeedbenchError",
    "session/summary.py:check": "the message of a SpeedbenchError",
    "engines/backend.py:__getattr__": "a name of ours",
    "engines/host.py:__getattr__": "a name of ours",
    # The output of these processes goes to their parent, which quotes it in an error.
    "engines/survey.py:": "a child process",
    "engines/llama_cpp/xllamacpp_server.py:main": "a child process",
    "engines/serving/supervisor.py:main": "a child process",
}
# Outcomes of tests of ours: session/pytest_reports.py cleans the report of each.
IN_REPORTS = ("session/hooks.py", "session/collection.py:pytest_runtest_setup", "conformance/")


@pytest.fixture(scope="module")
def places() -> list[tuple[str, ast.Call, str]]:
    """Each call that prints: file and function, the call, and the name of what prints."""
    trees = {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    return [place for name, tree in trees.items() for place in _places(tree, name, "")]


def _places(node: ast.AST, file: str, function: str) -> Iterator[tuple[str, ast.Call, str]]:
    if isinstance(node, ast.FunctionDef):
        function = node.name
    if isinstance(node, ast.Call) and _prints(node.func):
        yield f"{file}:{function}", node, ast.unparse(node.func)
    for child in ast.iter_child_nodes(node):
        yield from _places(child, file, function)


def _prints(function: ast.expr) -> bool:
    called = ast.unparse(function)
    ours = called in ("echo", "rewrite")  # those of cli/output.py
    return not ours and any(called == sink or called.endswith(f".{sink}") for sink in SINKS)


def _escaped(argument: ast.expr) -> bool:
    if isinstance(argument, ast.Constant):
        return True
    if not isinstance(argument, ast.Call):
        return False
    called = ast.unparse(argument.func)
    return _escaped(argument.args[0]) if called == "on_terminal" else called in ESCAPES


def test_every_place_that_prints_escapes_what_it_prints(
    places: list[tuple[str, ast.Call, str]],
) -> None:
    open_ = [
        f"{place}:{call.lineno} {called}"
        for place, call, called in places
        if place not in ELSEWHERE
        and not (called.startswith("pytest.") and place.startswith(IN_REPORTS))
        and not all(map(_escaped, call.args[:1]))
    ]
    assert open_ == []


def test_the_list_of_places_is_true(places: list[tuple[str, ast.Call, str]]) -> None:
    found = {place for place, _, _ in places}
    assert found >= set(ELSEWHERE)
    assert {"cli/output.py:echo", "session/progress.py:show"} <= found
