"""What the plugin costs where nothing is measured: ratios of runs taken in turns.

* ``benchmark``: ``pytest -q`` on a project of one plain test, with and without pytest-benchmark,
  which shows what a millisecond is on this machine.
* ``start``: the same with our plugin, and with pytest-benchmark alone. Wanted: at most 4 ms more.
* ``wheel``: ``pytest -q`` in an environment with pytest-benchmark and the given wheel, and in one
  without the wheel. This has what ``start`` has not: pytest reads the list of a plugin's files.
* ``collect``: collecting a grid of 10,000 cases, and a plain ``parametrize`` of 10,000. Wanted: at
  most 1.25 times as long.

``of least`` is the difference of the quickest runs: other work on the machine only ever adds.

Run: ``python benchmarks/collection.py [--wheel dist/pytest_speedbench-*.whl]``
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
import venv
from importlib.metadata import version
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
OTHERS = ("cacheprovider", "hypothesispytest", "anyio", "xdist", "html", "metadata")
QUIET = tuple(word for name in OTHERS for word in ("-p", f"no:{name}"))
# An installed package has its bytecode, whatever this environment says about writing it.
WITH_BYTECODE = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
WITHOUT = ("-p", "no:speedbench")


class Command(NamedTuple):
    """One pytest run."""

    folder: Path
    arguments: tuple[str, ...]
    python: str = sys.executable


class Cost(NamedTuple):
    """Seconds of one run: by the clock, and of the processor (a busy machine moves it less)."""

    wall: float
    cpu: float


def cost(command: Command, cache: Path) -> Cost:
    """What one pytest run takes."""
    begin, cpu = time.perf_counter(), children_cpu()
    done = subprocess.run(
        [command.python, "-m", "pytest", *QUIET, *command.arguments],
        cwd=command.folder,
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


def alternate(runs: int, *commands: Command) -> list[list[Cost]]:
    """Costs of each command, taken in turns after one warm-up each."""
    costs: list[list[Cost]] = [[] for _ in commands]
    for number in range(runs + 1):
        for place in range(len(commands))[:: 1 if number % 2 else -1]:
            command = commands[place]
            taken = cost(command, command.folder.parent / "bytecode")
            if number:
                costs[place].append(taken)
    return costs


def environment(folder: Path, *wheels: Path) -> str:
    """The Python of an environment with pytest and pytest-benchmark as here, and ``wheels``."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    same = (f"{name}=={version(name)}" for name in ("pytest", "pytest-benchmark"))
    pip = [python, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *same], check=True)
    if wheels:  # its dependencies are not imported at the start
        subprocess.run([*pip, "--no-deps", *map(str, wheels)], check=True)
    return python


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
    parser.add_argument("--wheel", type=Path, help="measured too, installed")
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
            Command(plain, ("-q", *WITHOUT, "-p", "no:benchmark")),
            Command(plain, ("-q", *WITHOUT)),
            Command(plain, ("-q",)),
        )
        show("benchmark", bare, alone, "about 41 ms where the 4 below were set")
        show("start", alone, ours, "difference ≤ 4 ms")
        if options.wheel:
            pythons = environment(base / "without"), environment(base / "with", options.wheel)
            runs = alternate(options.runs, *(Command(plain, ("-q",), one) for one in pythons))
            show("wheel", *runs, "")
        table = project(base, "parametrize", PARAMETRIZE.format(n=options.cases))
        grid = project(base, "grid", GRID.format(n=options.cases))
        runs = alternate(
            max(3, options.runs // 3),
            *(Command(folder, ("--collect-only", "-qq")) for folder in (table, grid)),
        )
        show("collect", *runs, "ratio ≤ 1.25")


if __name__ == "__main__":
    main()
