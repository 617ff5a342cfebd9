"""What the plugin costs where nothing is measured: ratios of runs taken in turns.

* ``benchmark``: ``pytest -q`` on a project of one plain test, with and without pytest-benchmark,
  which shows what a millisecond is on this machine.
* ``start``: the same with our plugin, and with pytest-benchmark alone. Wanted: at most 4 ms more.
* ``collect``: collecting a grid of 10,000 cases, and a plain ``parametrize`` of 10,000. Wanted: at
  most 1.25 times as long.

``of least`` is the difference of the quickest runs: other work on the machine only ever adds.

Run: ``python benchmarks/collection.py``
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PLAIN = "def test_plain(): pass\n"
PARAMETRIZE = """
import pytest

@pytest.mark.parametrize("case", range({n}))
def test_gate(case): pass
"""
GRID = """
import pytest

@pytest.mark.speed(engine="simulated", method="eagle3", category="math",
                   bs=list(range(1, {n} // 10 + 1)), dl=list(range(1, 11)))
def test_gate(speed): pass
"""
# Other plugins of the environment would only add noise.
QUIET = ("-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio", "-p", "no:xdist")
# An installed package has its bytecode, whatever this environment says about writing it.
WITH_BYTECODE = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
WITHOUT = ("-p", "no:speedbench")


class Cost(NamedTuple):
    """Seconds of one run: by the clock, and of the processor (a busy machine moves it less)."""

    wall: float
    cpu: float


def cost(folder: Path, cache: Path, *arguments: str) -> Cost:
    """What one pytest run in ``folder`` takes."""
    begin, cpu = time.perf_counter(), children_cpu()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *QUIET, *arguments],
        cwd=folder,
        env={**WITH_BYTECODE, "PYTHONPYCACHEPREFIX": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )
    taken = Cost(time.perf_counter() - begin, children_cpu() - cpu)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return taken


def children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def alternate(runs: int, *commands: tuple[Path, Sequence[str]]) -> list[list[Cost]]:
    """Costs of each command, taken in turns after one warm-up each."""
    costs: list[list[Cost]] = [[] for _ in commands]
    for number in range(runs + 1):
        for place in range(len(commands))[:: 1 if number % 2 else -1]:
            folder, arguments = commands[place]
            taken = cost(folder, folder.parent / "bytecode", *arguments)
            if number:
                costs[place].append(taken)
    return costs


def project(base: Path, name: str, text: str) -> Path:
    folder = base / name
    folder.mkdir()
    (folder / "test_it.py").write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder


def show(title: str, without: list[Cost], with_it: list[Cost], wanted: str) -> None:
    for name in Cost._fields:
        first, second = ([getattr(run, name) for run in runs] for runs in (without, with_it))
        before, after = statistics.median(first), statistics.median(second)
        more = statistics.median(b - a for a, b in zip(first, second, strict=True))
        print(
            f"{f'{title}, {name}':<14}{before * 1e3:>10.1f}{after * 1e3:>10.1f}"
            f"{more * 1e3:>12.1f}{1e3 * (min(second) - min(first)):>9.1f}"
            f"{after / before:>9.2f}   {wanted}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--cases", type=int, default=10_000)
    options = parser.parse_args()
    print(f"medians of {options.runs} alternating runs; ms")
    print(
        f"{'':<14}{'without':>10}{'with':>10}{'difference':>12}{'of least':>9}{'ratio':>9}   wanted"
    )
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        plain = project(base, "plain", PLAIN)
        bare, alone, ours = alternate(
            options.runs,
            (plain, ["-q", *WITHOUT, "-p", "no:benchmark"]),
            (plain, ["-q", *WITHOUT]),
            (plain, ["-q"]),
        )
        show("benchmark", bare, alone, "about 41 ms where the 4 below were set")
        show("start", alone, ours, "difference ≤ 4 ms")
        table = project(base, "parametrize", PARAMETRIZE.format(n=options.cases))
        grid = project(base, "grid", GRID.format(n=options.cases))
        collect = ["--collect-only", "-qq"]
        show(
            "collect",
            *alternate(max(3, options.runs // 3), (table, collect), (grid, collect)),
            "ratio ≤ 1.25",
        )


if __name__ == "__main__":
    main()
