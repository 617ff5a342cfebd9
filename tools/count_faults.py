"""Tries every kind of fault and writes how many were survived into a page of the documentation.

    python tools/count_faults.py docs/reliability.md

A fault is one test; a test that draws its input counts once, however many examples it draws. It is
survived where the test passes: one clear error or a right result, nothing measured lost, nothing
left running.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
KINDS = {
    "records": ("tests/fuzz/test_records.py", "tests/cli/test_damage.py"),
    "streams": (
        "tests/fuzz/test_streams.py",
        "tests/engines/serving/test_server_errors.py",
        "tests/engines/serving/test_broken_off.py",
        "tests/engines/serving/test_limits.py",
        "tests/engines/serving/test_event_stream.py",
    ),
    "engines": ("tests/engines/test_parent.py", "tests/plugin/test_bad_days.py"),
    "options": ("tests/fuzz/test_options.py", "tests/plan/test_settings.py"),
    "split files": ("tests/fuzz/test_split_files.py", "tests/splits/test_bad_input.py"),
    "storage": ("tests/fuzz/test_storage_model.py", "tests/baselines/test_journal.py"),
    "kills": ("tests/plugin/test_interrupted.py",),
    "terminals": ("tests/test_escapes.py", "tests/cli/test_output.py"),
    "secrets": ("tests/test_secrets.py", "tests/plugin/test_secrets.py"),
}


class Counts:
    """Faults by file: tried, and survived."""

    def __init__(self) -> None:
        self.tried: Counter[str] = Counter()
        self.survived: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):  # type: ignore[no-untyped-def]
        report = yield
        if report.when == "call" or report.failed:
            file = item.path.relative_to(ROOT).as_posix()
            self.tried[file] += 1
            self.survived[file] += report.passed
        return report


def table(counts: Counts) -> str:
    lines = ["| faults | tried | survived | tests |", "| --- | ---: | ---: | --- |"]
    for kind, files in KINDS.items():
        tried, survived = (
            sum(count[file] for file in files) for count in (counts.tried, counts.survived)
        )
        names = ", ".join(f"`{file}`" for file in files)
        lines.append(f"| {kind} | {tried:,} | {survived:,} | {names} |")
    return "\n".join(lines)


def main() -> int:
    page = ROOT / sys.argv[1]
    counts = Counts()
    files = [str(ROOT / file) for files in KINDS.values() for file in files]
    code = pytest.main(["-q", "-p", "no:xdist", *sys.argv[2:], *files], plugins=[counts])
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    text = f"{before}{BEGIN}\n{table(counts)}\n{END}{after}"
    page.write_text(text, encoding="utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
