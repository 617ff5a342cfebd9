"""Sessions killed at random moments: is every finished case saved or recovered, and what is left?

Each session measures eight cases, one after another, and notes each that it has finished. It is
ended at a random moment; then `speedbench recover` runs. A case that was noted must be in the
storage, and no process of the session may be alive.

    python benchmarks/kill_moments.py --moments 30 [--workers 2] [--engine transformers]
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

@pytest.mark.speed(bs=[1, 2], dl=[1, 2, 3, 4], category="math", samples={samples}, max_tokens=16)
def test_gate(speed):
    length = speed.acceptance_length
    with open("finished", "a") as out:
        setting = speed.run.setting
        out.write(f"{{setting.batch_size}} {{setting.speculation.draft_length}}\\n")
"""
OPTIONS = {
    "simulated": ("--speed-model", "org/model", "--speed-method", "eagle3"),
    "transformers": ("--speed-model", "demo", "--speed-engine-arg", "dtype=float32"),
}
LIMIT_SECONDS = 10.0  # what CI systems leave between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Killed:
    """How one session ended."""

    after: float
    signal: str
    finished: int
    kept: int
    ended_in: float
    alive: int


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
    family = descendants(process.pid)
    begun = time.monotonic()
    process.send_signal(number)
    process.wait()
    while alive(family) and time.monotonic() - begun < 30:
        time.sleep(0.05)
    ended = time.monotonic() - begun
    subprocess.run(
        [sys.executable, "-c", "from pytest_speedbench.cli import main; main()", "recover"],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    noted = folder / "finished"
    lines = noted.read_text().split("\n") if noted.exists() else []
    finished = {tuple(map(int, line.split())) for line in lines if line.count(" ") == 1}
    runs = Store(folder / ".benchmarks").runs() if (folder / ".benchmarks").exists() else []
    kept = {(key.bs, key.dl) for run in runs for key in run.keys}
    return Killed(
        after, number.name, len(finished), len(finished & kept), ended, len(alive(family))
    )


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
    results = []
    for moment in range(options.moments):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            text = TEST.format(samples=80 if options.engine == "simulated" else 1)
            (folder / "test_it.py").write_text(text)
            number = signal.SIGKILL if moment % 2 else signal.SIGTERM
            results.append(kill(folder, draws.uniform(0.5, options.longest), number, command))
    print("| signal | sessions | cases finished | of them kept | slowest end, s | left alive |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name in ("SIGTERM", "SIGKILL"):
        own = [result for result in results if result.signal == name]
        print(
            f"| {name} | {len(own)} | {sum(r.finished for r in own)} | "
            f"{sum(r.kept for r in own)} | {max(r.ended_in for r in own):.1f} | "
            f"{sum(r.alive for r in own)} |"
        )
    late = [r for r in results if r.signal == "SIGTERM" and r.ended_in > LIMIT_SECONDS]
    lost = [r for r in results if r.kept < r.finished]
    print(f"\nlost: {lost or 'nothing'}; ended later than {LIMIT_SECONDS:g} s: {late or 'none'}")


if __name__ == "__main__":
    main()
