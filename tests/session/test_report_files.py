"""Reports that cannot be written are refused, and those that can leave no trace of the check."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_speedbench.errors import ReportError
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.session.report_files import check_reports


def test_a_new_file_is_not_there_yet_and_its_folder_is(tmp_path: Path) -> None:
    path = tmp_path / "out" / "z.md"
    check_reports(Settings(summary=str(path)))
    assert path.parent.is_dir()
    assert not path.exists()


def test_a_file_that_is_there_keeps_its_text(tmp_path: Path) -> None:
    path = tmp_path / "z.md"
    path.write_text("before")
    check_reports(Settings(summary=str(path)))
    assert path.read_text() == "before"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    check_reports(Settings(summary=str(tmp_path / "pipe")))


@pytest.mark.parametrize("place", [".", "file/z.md", "/proc/z.md"])
def test_a_place_where_no_file_can_be(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(ReportError, match=f"^--speed-summary={place}: no file can be written"):
        check_reports(Settings(summary=place))
