"""The tutorial, run as it is written: with what each of its steps says."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .test_documented_commands import blocks

PAGE = "tutorial"


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One command of the page, by this interpreter."""
    program, *arguments = shlex.split(command)
    start = {
        "pytest": ("-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist"),
        "speedbench": ("-c", "from pytest_speedbench.cli import main; main()"),
    }
    return subprocess.run(
        [sys.executable, *start[program], *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
    )


@pytest.mark.nightly
def test_every_step_does_what_the_page_says(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "pytest.ini").write_text(blocks(PAGE, "ini")[0])
    (tmp_path / "test_speed.py").write_text(blocks(PAGE, "python")[0])
    script = "".join(blocks(PAGE, "bash")).splitlines()
    # The last step is a real model.
    commands = [line for line in script if not line.startswith(("pip ", "cd "))]
    done = [run(command, tmp_path) for command in commands]
    first, worse, report, promoted, again, history, sweep = done
    codes = [one.returncode for one in done]
    assert codes == [0, 1, 0, 0, 0, 0, 0], "\n".join(one.stdout + one.stderr for one in done)
    assert "12 passed" in first.stdout
    assert "changed: acceptance: – → 0.5" in worse.stdout
    assert "step time with SD" in worse.stdout
    assert "written: report.html" in report.stdout
    assert "output prompt-text" in (tmp_path / "report.html").read_text()
    assert "default is now run 0002" in promoted.stdout
    assert "1 pass" in again.stdout
    assert all(number in history.stdout for number in ("0001", "0002", "0003"))
    assert "* best of its BS" in sweep.stdout
