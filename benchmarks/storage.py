"""How long a reference and a history take in a storage of many records, and how much memory.

    python benchmarks/storage.py [RECORDS] [KILOBYTES]

Prints CPU seconds and the peak memory of a fresh process for each: building the index, resolving a
case, the values of a history, and the command ``speedbench history`` with all that it prints.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

SAMPLE = Path(__file__).parents[1] / "tests/baselines/data/schema_1.json"
TASKS = ("index", "reference", "history", "command")


def grown(data: dict[str, Any], kilobytes: int, number: int) -> str:
    """The sample file, its requests repeated under other ids to the wanted size."""
    record = data["benchmarks"][0]["extra_info"]["speedbench"]
    first = record["requests"][0]
    size = len(json.dumps(first, indent=4))
    count = kilobytes * 1024 // size
    record["requests"] = [{**first, "sample": f"{first['sample']}-{n}"} for n in range(count)]
    data["commit_info"] = {"id": f"{number:040x}", "dirty": False, "branch": "main"}
    data["datetime"] = f"2026-{1 + number // 672:02}-{1 + number // 24 % 28:02}T{number % 24:02}:00"
    return json.dumps(data, indent=4)


def make(folder: Path, records: int, kilobytes: int) -> None:
    machine = folder / "Linux-CPython-3.11-64bit"
    machine.mkdir(parents=True)
    text = SAMPLE.read_text()
    for number in range(records):
        content = grown(json.loads(text), kilobytes, number)
        (machine / f"{number + 1:04}_night.json").write_text(content)


def task(name: str, folder: Path) -> None:
    if name == "command":
        from pytest_speedbench.cli import app

        with redirect_stdout(StringIO()):
            app(["history", "--storage", str(folder)], standalone_mode=False)
        return
    from pytest_speedbench.baselines.storage import Store

    store = Store(folder)
    if name == "index":
        assert store.runs()
    elif name == "reference":
        run = store.runs()[-1]
        key = next(iter(run.keys))
        assert run.candidates(key)
    else:
        points = [
            summary.metric("acceptance_length") for run in store.runs() for summary in run.summaries
        ]
        assert all(points)


def measured(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, __file__, "--task", name, str(folder)],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


def main() -> None:
    if sys.argv[1:2] == ["--task"]:
        task(sys.argv[2], Path(sys.argv[3]))
        usage = resource.getrusage(resource.RUSAGE_SELF)
        cpu = usage.ru_utime + usage.ru_stime
        print(f"{cpu:6.2f} s CPU  {usage.ru_maxrss / 1024:5.0f} MB")
        return
    records, kilobytes = (
        int(sys.argv[n]) if len(sys.argv) > n else d for n, d in ((1, 1000), (2, 300))
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "storage"
        make(folder, records, kilobytes)
        print(f"{records} records of {kilobytes} KB")
        for one in TASKS:
            print(f"{one:10} {measured(one, folder)}")


if __name__ == "__main__":
    main()
