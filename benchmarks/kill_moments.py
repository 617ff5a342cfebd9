"""Sessions killed at random moments: is every finished case kept, and what is left behind?

Each session measures its cases one after another and notes each that it has finished. At a random
moment `speedbench recover` runs beside it, which must leave its journal alone; then the session is
ended, by SIGTERM and SIGKILL in turn, and `speedbench recover` runs again. A case that was noted
must be in the storage, every saved run must be readable, and no process of the session may live.

    python benchmarks/kill_moments.py --engine transformers --longest 40
    python benchmarks/kill_moments.py --workers 2
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from pytest_speedbench.baselines.storage import Store

TEST = """
import pytest

@pytest.mark.speed({grid}, category="math")
def test_gate(speed):
    speed.acceptance_length
    with open("finished", "a") as out:
        setting = speed.run.setting
        out.write(f"{{setting.batch_size}} {{setting.speculation.draft_length}}\\n")
"""
GRIDS = {
    "simulated": "bs=[1, 2], dl=[1, 2, 3, 4], samples=80, max_tokens=16",
    "transformers": "dl=[1, 2, 3, 4, 5, 6, 7, 8], samples=1, max_tokens=4",
}
OPTIONS = {
    "simulated": ("--speed-model", "org/model", "--speed-method", "eagle3"),
    "transformers": ("--speed-model", "demo", "--speed-engine-arg", "dtype=float32"),
}
LIMIT_SECONDS = 10.0  # what CI systems leave between SIGTERM and SIGKILL
RECOVER = [sys.executable, "-c", "from pytest_speedbench.cli import main; main()", "recover"]


@dataclass(frozen=True)
class Killed:
    """How one session ended."""

    after: float
    signal: str
    finished: int
    kept: int
    ended_in: float
    alive: int
    unreadable: int
    journals_taken: int


def descendants(pid: int) -> list[int]:
    """Processes started by ``pid``, and by those."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(folder.name)] = int(fields[1])
    found, open_ = [], [pid]
    while open_:
        parent = open_.pop()
        children = [child for child, own in parents.items() if own == parent]
        found += children
        open_ += children
    return found


def alive(pids: list[int]) -> list[int]:
    running = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            running.append(pid)
    return running


def kill(folder: Path, after: float, number: signal.Signals, command: list[str]) -> Killed:
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(after)
    taken = journals_taken(folder, process)
    family = descendants(process.pid)
    begun = time.monotonic()
    process.send_signal(number)
    process.wait()
    while alive(family) and time.monotonic() - begun < 30:
        time.sleep(0.05)
    ended = time.monotonic() - begun
    subprocess.run(RECOVER, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    finished = noted(folder)
    kept, unreadable = saved(folder / ".benchmarks")
    return Killed(
        after,
        number.name,
        len(finished),
        len(finished & kept),
        ended,
        len(alive(family)),
        unreadable,
        taken,
    )


def journals_taken(folder: Path, process: subprocess.Popen[bytes]) -> int:
    """How many journals of the live session `speedbench recover` takes; it must be none."""
    done = subprocess.run(RECOVER, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.count("recovered") if process.poll() is None else 0


def noted(folder: Path) -> set[tuple[int, int]]:
    """Batch size and draft length of each case that the session has finished."""
    file = folder / "finished"
    lines = file.read_text().splitlines() if file.exists() else []
    return {(int(bs), int(dl)) for bs, dl in map(str.split, lines)}


def saved(storage: Path) -> tuple[set[tuple[int, int]], int]:
    """The cases in a storage, and how many of its files cannot be read."""
    if not storage.exists():
        return set(), 0
    store = Store(storage)
    kept = {(key.bs, key.dl) for run in store.runs() for key in run.records}
    return kept, len(store.problems)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moments", type=int, default=30)
    parser.add_argument("--longest", type=float, default=12.0, help="seconds")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--engine", choices=sorted(OPTIONS), default="simulated")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draws = random.Random(options.seed)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--benchmark-autosave", "--speed-rounds", "0", "--speed-engine", options.engine]
    command += OPTIONS[options.engine]
    if options.workers:
        command += [f"-n{options.workers}", "--dist=loadgroup"]
    os.environ["GIT_CEILING_DIRECTORIES"] = tempfile.gettempdir()
    os.environ["OMP_NUM_THREADS"] = "1"
    results = []
    for moment in range(options.moments):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            (folder / "test_it.py").write_text(TEST.format(grid=GRIDS[options.engine]))
            number = signal.SIGKILL if moment % 2 else signal.SIGTERM
            results.append(kill(folder, draws.uniform(0.5, options.longest), number, command))
    print("\n".join(table(results)))


def table(results: list[Killed]) -> list[str]:
    """One row a signal, in Markdown."""
    lines = [
        "| signal | sessions | of them with finished cases | cases finished | of them kept | "
        "slowest end, s | processes left | unreadable files | live journals taken |",
        "| --- |" + " ---: |" * 8,
    ]
    for name in ("SIGTERM", "SIGKILL"):
        own = [result for result in results if result.signal == name]
        cells = (
            len(own),
            sum(r.finished > 0 for r in own),
            sum(r.finished for r in own),
            sum(r.kept for r in own),
            f"{max(r.ended_in for r in own):.1f}",
            sum(r.alive for r in own),
            sum(r.unreadable for r in own),
            sum(r.journals_taken for r in own),
        )
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    late = [r for r in results if r.signal == "SIGTERM" and r.ended_in > LIMIT_SECONDS]
    lost = [r for r in results if r.kept < r.finished]
    return [
        *lines,
        "",
        f"lost: {lost or 'nothing'}; ended after {LIMIT_SECONDS:g} s: {late or 'none'}",
    ]


if __name__ == "__main__":
    main()
