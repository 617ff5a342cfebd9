"""CPU time and memory of ``speedbench compare`` on two runs of the whole ``qualitative`` split.

    python benchmarks/compare_cost.py

Two simulated runs of 880 samples, 512 tokens an answer, one case for each category and one for all
(12), with outputs that diverge. Prints seconds of the processor and peak memory of a fresh process,
median of five; wanted: at most 1 s.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from pytest_speedbench import measure

RUNS = 5
COMPARE = """
import resource, sys
from pytest_speedbench.cli import app
app(["compare", "old", "new", "--storage", sys.argv[1]], standalone_mode=False)
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss, file=sys.stderr)
"""


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
            engine_arg={"step_ms": 0, "draft_ms": 0, "divergence": divergence},
        )
        run.save(name, storage)


def compare(storage: str) -> tuple[float, float]:
    """CPU seconds and peak memory in MB of one ``speedbench compare``."""
    done = subprocess.run(
        [sys.executable, "-c", COMPARE, storage],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    cpu, memory = done.stderr.split()[-2:]
    return float(cpu), float(memory) / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as storage:
        make(storage, tokens=512, samples="all")
        sizes = [path.stat().st_size / 1e6 for path in Path(storage).rglob("*.json")]
        found = [compare(storage) for _ in range(RUNS)]
    cpu, memory = (statistics.median(values) for values in zip(*found, strict=True))
    print(f"runs of {', '.join(f'{size:.1f}' for size in sizes)} MB: {cpu:.2f} s, {memory:.0f} MB")


if __name__ == "__main__":
    main()
