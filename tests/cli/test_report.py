"""``speedbench report``: a saved run shown again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Speedbench

pytestmark = pytest.mark.usefixtures("plain_figures")


@pytest.fixture(autouse=True)
def _here(project: Path) -> None:
    """Every test runs in the project."""


def test_terminal(speedbench: Speedbench) -> None:
    result = speedbench("report", "1")
    assert (result.code, result.err) == (0, "")
    assert "0001 of " in result.out
    assert "simulated · sim · eagle3 · DL 3 · BS 1" in result.out
    assert "speedup " in result.out
    names = [line.split()[0] for line in result.out.splitlines() if line.startswith("  ")]
    assert {"alpha", "beta", "all"} <= set(names)


def test_markdown_and_html(speedbench: Speedbench, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    page, text = tmp_path / "r.html", tmp_path / "new" / "folder" / "r.md"
    result = speedbench("report", "base", "--html", page, "--markdown", text)
    assert result.code == 0
    assert result.out == f"written: {page}\nwritten: {text}\n"
    assert text.read_text().startswith("## Speculative decoding")
    assert "| alpha | 40 |" in text.read_text()
    assert "alpha" in page.read_text()
    assert "</html>" in page.read_text()


def test_html_without_jinja2(
    speedbench: Speedbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = speedbench("report", "1", "--html", tmp_path / "r.html")
    assert result.code == 2
    assert "pip install 'pytest-speedbench[report]'" in result.err
    assert not (tmp_path / "r.html").exists()


def test_cannot_write(speedbench: Speedbench, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.touch()
    path = taken / "new" / "r.md"
    result = speedbench("report", "1", "--markdown", path)
    assert result.code == 2
    expected = f"--markdown {path}: {taken} is a file, and a folder is expected"
    assert result.err == f"speedbench: {expected}\n"


def test_unknown_run(speedbench: Speedbench) -> None:
    result = speedbench("report", "77")
    assert (result.code, result.out) == (2, "")
    assert "speedbench: 77: no file, no run number or name" in result.err


def test_file_cut_in_half(speedbench: Speedbench, saved: Path) -> None:
    path = saved / "0001_base.json"
    path.write_text(path.read_text()[:5000])
    assert "was it cut off?" in speedbench("report", "1").err


def test_how_alpha_was_divided_is_shown_as_in_the_session(
    speedbench: Speedbench, edited: Callable[..., Path]
) -> None:
    verdict = {"metric": "acceptance_length", "outcome": "pass"}
    edited("0009_gated", lambda record: record.update(verdicts=[verdict]))
    result = speedbench("show", "9")
    assert "gate: 3 pass α = 0.01 for a false fail anywhere in 3 cases" in result.words


def test_a_run_whose_session_was_interrupted(
    speedbench: Speedbench, edited: Callable[..., Path]
) -> None:
    edited("0009_cut", lambda record: record["gate"].update(session="interrupted", cases=9))
    wanted = "the session was interrupted: 3 of 9 cases were measured; never a default baseline"
    assert wanted in speedbench("show", "9").words
    assert "session interrupted" in speedbench("history", "alpha").words
    assert wanted not in speedbench("show", "1").words


# -- old beside new -------------------------------------------------------------------------


def test_against_another_run(speedbench: Speedbench, tmp_path: Path) -> None:
    page, text = tmp_path / "r.html", tmp_path / "r.md"
    result = speedbench("report", "worse", "--against", "base", "--html", page, "--markdown", text)
    assert result.code == 0
    assert "## Speculative decoding: ✗ Regression" in text.read_text()
    assert "[r.html](<" in text.read_text()
    assert "AL by category, old against new" in page.read_text()
    assert "Prompts that lost most" in page.read_text()
    assert "output prompt-text" not in page.read_text()


def test_a_comparison_of_saved_runs_is_no_unsaved_session(speedbench: Speedbench) -> None:
    result = speedbench("report", "worse", "--against", "base")
    assert "not saved" not in result.out
    assert "intended? accept it: speedbench baseline promote 0003_worse --reason" in result.words


def test_a_run_that_is_named_by_its_path(
    speedbench: Speedbench, saved: Path, project: Path
) -> None:
    (project / "here.json").write_bytes((saved / "0003_worse.json").read_bytes())
    result = speedbench("report", "here.json", "--against", "base")
    assert (result.code, result.err) == (0, "")
    assert "saved: here.json" in result.out
    assert "accept it: speedbench baseline promote REF --reason TEXT" in result.words


def test_prompts_that_a_split_does_not_hold(
    speedbench: Speedbench, tmp_path: Path, project: Path
) -> None:
    pytest.importorskip("jinja2")
    (project / "other.jsonl").write_text(
        '{"id": "alpha-0", "category": "alpha", "turns": ["Something else"]}\n'
    )
    options = ("--html", tmp_path / "r.html", "--text", "--split", "other.jsonl")
    result = speedbench("report", "3", "--against", "1", *options)
    assert result.code == 0
    assert result.err == "prompts not found in other.jsonl: give --split, their split or file\n"


def test_prompts_and_outputs_as_text(speedbench: Speedbench, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    options = ("--html", page, "--text", "--split", "prompts.jsonl")
    assert speedbench("report", "3", "--against", "1", *options).code == 0
    text = page.read_text()
    assert 'class="d0"> w' in text
    assert "Tell me of " in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--html", "x.pdf"), "--html x.pdf: expected a path that ends in .html"),
        (("--markdown", "x.html"), "--markdown x.html: expected a path that ends in .md"),
        (("--against", "77"), "77: no file, no run number or name"),
    ],
)
def test_wrong_usage(speedbench: Speedbench, options: tuple[str, ...], message: str) -> None:
    result = speedbench("report", "1", *options)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert not Path("x.html").exists()


# -- records of many kinds ------------------------------------------------------------------


def test_records_without_requests(
    speedbench: Speedbench, edited: Callable[..., Path], tmp_path: Path
) -> None:
    bare = edited("0009_bare", lambda record: record.update(requests=[]))
    page = tmp_path / "r.html"
    assert speedbench("report", bare, "--html", page).code == 0
    assert "Acceptance by position" in page.read_text()
    assert "Step lengths" not in page.read_text()
    result = speedbench("report", bare, "--against", "1", "--html", page)
    assert (result.code, result.err) == (0, "")
    assert "AL by category, old against new" in page.read_text()
    assert "Prompts that lost most" not in page.read_text()


def test_records_of_a_later_schema(speedbench: Speedbench, edited: Callable[..., Path]) -> None:
    later = edited("0009_later", lambda record: record.update(schema=99))
    result = speedbench("report", later)
    assert (result.code, result.out) == (2, "")
    assert "written by a later version (schema 99" in result.err


def test_cases_of_one_side(speedbench: Speedbench, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    result = speedbench("report", "base", "--against", "same", "--html", page)
    assert result.code == 0
    assert "no baseline" in page.read_text()


def test_an_empty_storage(speedbench: Speedbench, tmp_path: Path) -> None:
    result = speedbench("report", "1", "--storage", tmp_path / "none")
    assert (result.code, result.out) == (2, "")
    assert "1: no file, no run number or name" in result.err
