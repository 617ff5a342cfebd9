"""``speedbench report``: a saved run shown again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from .conftest import Speedbench


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
    page, text = tmp_path / "r.html", tmp_path / "r.md"
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
    path = tmp_path / "no" / "r.md"
    result = speedbench("report", "1", "--markdown", path)
    assert result.code == 2
    assert f"speedbench: cannot write {path}: No such file or directory" in result.err


def test_unknown_run(speedbench: Speedbench) -> None:
    result = speedbench("report", "77")
    assert (result.code, result.out) == (2, "")
    assert "speedbench: 77: no file, no run number or name" in result.err


def test_file_cut_in_half(speedbench: Speedbench, saved: Path) -> None:
    path = saved / "0001_base.json"
    path.write_text(path.read_text()[:5000])
    assert "was it cut off?" in speedbench("report", "1").err
