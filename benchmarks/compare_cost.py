"""CPU time and memory of ``speedbench compare`` on two runs of the whole ``qualitative`` split.

    python benchmarks/compare_cost.py [STORAGE]

Two simulated runs of 880 samples, 512 tokens an answer, one case for each category and one for all
(12), with outputs that diverge; they are measured first (some minutes), or taken from a storage
with the runs ``old`` and ``new``. Prints seconds of the processor and peak memory of a fresh
process, median of nine. The whole process counts: the start of the interpreter and all imports are
also shown by themselves, and the work is what is left, from reading the files to the last line.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_speedbench import measure

RUNS = 9
COMPARE = """
import resource, sys, time
start = time.process_time()
import pytest_speedbench.compare.comparison, rich.table
from pytest_speedbench.cli import app
imported = time.process_time()
app(["compare", "old", "new", "--storage", sys.argv[1]], standalone_mode=False)
end = time.process_time()
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(end, start, imported - start, end - imported, memory, file=sys.stderr)
"""
ROWS = ("whole process", "start of the interpreter", "imports", "work", "peak memory")


def make(storage: str, tokens: int, samples: int | str) -> None:
    """Saves the runs ``old`` and ``new``."""
    for name, divergence in (("old", 0.0), ("new", 0.002)):
        run = measure(
            engine="simulated",
            model="org/model",
            method="eagle3",
            bs=64,
            dl=3,
            samples=samples,
            max_tokens=tokens,
            rounds=0,
            engine_arg={"step_ms": 1, "draft_ms": 0, "divergence": divergence},
        )
        run.save(name, storage)


def compare(storage: str) -> list[float]:
    """The values of ``ROWS`` for one ``speedbench compare``: CPU seconds, and MB."""
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, storage],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [float(value) for value in done.stderr.split()[-len(ROWS) :]]


def show(storage: str) -> None:
    """Prints the table for the runs ``old`` and ``new`` of a storage."""
    sizes = [path.stat().st_size / 1e6 for path in Path(storage).rglob("*.json")]
    runs = [compare(storage) for _ in range(RUNS)]
    found = [statistics.median(values) for values in zip(*runs, strict=True)]
    print(f"runs of {' and '.join(f'{size:.1f}' for size in sizes)} MB\n")
    print("| | |\n| --- | ---: |")
    for name, value in zip(ROWS, found, strict=True):
        unit = f"{value:.0f} MB" if name == "peak memory" else f"{value:.2f} s"
        print(f"| {name} | {unit} |")


def main() -> None:
    if sys.argv[1:]:
        show(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as storage:
        make(storage, tokens=512, samples="all")
        show(storage)


if __name__ == "__main__":
    main()
