"""A simulation in chunks over many processes: each finished chunk is kept, so that a run that was
cut short goes on where it stopped, and each table is written as soon as its last chunk is in."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Protocol

Counts = dict[str, float]
CHUNK = 250  # sessions


class Job(Protocol):
    """What a chunk simulates: a frozen dataclass, whose text names it."""

    def run(self, sessions: int, seed: int) -> Counts:
        """Sums over so many sessions, which differ from one seed to the next."""
        ...


@dataclass(frozen=True, slots=True)
class Row:
    """One or more lines of a table, from ``sessions`` of a job."""

    job: Job
    sessions: int
    lines: Callable[[Counts], list[str]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of simulated rows."""

    title: str
    heading: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some of the sessions of a job."""

    job: Job
    seed: int
    sessions: int

    @property
    def key(self) -> str:
        return sha256(f"{self.job!r} {self.seed} {self.sessions}".encode()).hexdigest()[:20]


class Ledger:
    """Finished chunks, one a line of a file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._found: dict[str, Counts] = {}
        if path is not None and path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                except json.JSONDecodeError:  # the line that was being written when a run was cut
                    continue
                self._found[entry["key"]] = entry["counts"]

    def __contains__(self, chunk: Chunk) -> bool:
        return chunk.key in self._found

    def add(self, chunk: Chunk, counts: Counts) -> None:
        self._found[chunk.key] = counts
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": chunk.key, "counts": counts}) + "\n")

    def total(self, row: Row) -> Counts:
        """The sums of all chunks of a row, the CPU seconds among them."""
        found: Counter[str] = Counter()
        for chunk in chunks(row):
            found.update(self._found[chunk.key])
        return dict(found)


def chunks(row: Row) -> Iterator[Chunk]:
    for seed, start in enumerate(range(0, row.sessions, CHUNK)):
        yield Chunk(row.job, seed, min(CHUNK, row.sessions - start))


def _run(chunk: Chunk) -> Counts:
    started = time.process_time()
    counts = chunk.job.run(chunk.sessions, chunk.seed)
    return {**counts, "cpu": time.process_time() - started}


def simulate(
    tables: Sequence[Table],
    ledger: Ledger,
    pool: ProcessPoolExecutor,
    finished: Callable[[list[str]], None],
) -> list[str]:
    """The lines of all tables; ``finished`` gets those of all that are complete, after each."""
    missing = {
        number: {chunk.key for row in table.rows for chunk in chunks(row) if chunk not in ledger}
        for number, table in enumerate(tables)
    }
    todo = {
        pool.submit(_run, chunk): (number, chunk)
        for number, table in enumerate(tables)
        for row in table.rows
        for chunk in chunks(row)
        if chunk not in ledger
    }
    done = [number for number, keys in missing.items() if not keys]
    started = time.monotonic()
    if done:
        finished(_lines(tables, done, ledger))
    for future in as_completed(todo):
        number, chunk = todo[future]
        ledger.add(chunk, future.result())
        missing[number].discard(chunk.key)
        if not missing[number]:
            done.append(number)
            sys.stderr.write(f"{tables[number].title}: {time.monotonic() - started:.0f} s\n")
            finished(_lines(tables, sorted(done), ledger))
    return _lines(tables, sorted(done), ledger)


def _lines(tables: Sequence[Table], done: Sequence[int], ledger: Ledger) -> list[str]:
    lines = []
    for number in done:
        table = tables[number]
        totals = [ledger.total(row) for row in table.rows]
        rows = [line for row, t in zip(table.rows, totals, strict=True) for line in row.lines(t)]
        cpu = sum(total["cpu"] for total in totals)
        lines += [f"## {table.title}", "", table.heading, *rows, "", f"{cpu:,.0f} CPU seconds.", ""]
    return lines
