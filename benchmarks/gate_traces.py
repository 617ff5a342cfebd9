"""Recorded runs of real engines, and the healthy rebuilds among them.

A rebuild is the same model, method, drafter, DL and prompts, run at another batch size or recorded
in another file (another dtype, attention backend, machine): other kernels, other rounding.
"""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.baselines.schema import EXTRA_KEY, Record, parse_record
from pytest_speedbench.stats.data import StepTrace, clusters, step_traces
from pytest_speedbench.stats.pairing import common_prefix

TRACE_FILES = {
    "EAGLE-3 full vocabulary, DL 3": "eagle3-v49152-dl3",
    "EAGLE-3 4096 tokens, DL 3": "eagle3-v4096-dl3",
    "EAGLE-3 8192 tokens, DL 5": "eagle3-v8192-dl5",
    "n-gram, DL 3": "ngram3",
}
SPEC_BENCH = "Spec-Bench prompts"
CHAT = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
FEWEST_PROMPTS = 88  # eight a category: fewer are no population to draw sessions from

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Run:
    """One recorded run; runs of one ``family`` are rebuilds of one another."""

    family: str
    prompts: str
    bs: int
    draft_length: int
    source: str
    traces: tuple[StepTrace, ...]


def load_traces(folder: Path) -> list[Run]:
    """The recorded traces of Spec-Bench prompts, where the folder has them."""
    runs = []
    for name, tag in TRACE_FILES.items():
        path = folder / f"vllm0.24-h100-smollm2-{tag}.json.gz"
        with gzip.open(path, "rt") as file:
            record = json.load(file)
        for run in record["runs"]:
            family = f"vllm {name}, {SPEC_BENCH}"
            dl = int(tag[-1])
            runs.append(Run(family, SPEC_BENCH, run["bs"], dl, path.name, _traces(run["rows"])))
    return runs


def _traces(rows: Sequence[dict[str, Any]]) -> tuple[StepTrace, ...]:
    return tuple(
        StepTrace(
            sample=str(row["id"]),
            stratum=_category(str(row["cat"]), number),
            turn=0,
            prefill_tokens=int(row["steps"][0]),
            steps=np.array(row["steps"][1:], dtype=np.int64),
            token_ids=np.array(row["toks"], dtype=np.int64),
        )
        for number, row in enumerate(rows)
    )


def _category(name: str, number: int) -> str:
    """Eleven categories out of Spec-Bench's six: each of the five large ones in two halves."""
    return "chat" if name in CHAT else f"{name}-{number // 2 % 2}"


def read_records(path: Path) -> Iterator[Record]:
    """Every case of a saved pytest-benchmark file (``.json``, ``.json.xz``, ``.json.gz``)."""
    openers: dict[str, Any] = {".xz": lzma.open, ".gz": gzip.open}
    with openers.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
        benchmarks = json.load(file)["benchmarks"]
    for benchmark in benchmarks:
        yield parse_record(benchmark["extra_info"][EXTRA_KEY])


def load_records(path: Path) -> list[Run]:
    """The runs with SD of a saved file."""
    found: dict[tuple[str, int], dict[tuple[str, int], StepTrace]] = {}
    families: dict[str, tuple[str, int]] = {}
    for record in read_records(path):
        if record.spec.method == "none" or record.partial or record.sampling.temperature:
            continue
        prompts = f"{record.split.name} {record.split.version}"
        families[_family(record)] = prompts, record.spec.draft_length
        traces = found.setdefault((_family(record), record.case.bs), {})
        recorded = step_traces(traces_of(record), "the benchmark")
        traces.update({(trace.sample, trace.turn): trace for trace in recorded})
    return [
        Run(family, families[family][0], bs, families[family][1], path.name, tuple(traces.values()))
        for (family, bs), traces in found.items()
    ]


def _family(record: Record) -> str:
    drafter = record.spec.drafter.name.rpartition("-")[2] if record.spec.drafter else ""
    method = f"{record.spec.method} {drafter}".strip()
    split = f"{record.split.name} {record.split.version}"
    return f"{record.case.engine} {method}, DL {record.spec.draft_length}, {split}"


@dataclass(frozen=True, slots=True, eq=False)
class Arm:
    """All turns of one run, padded: ``end`` has shape (turns, longest), for every decoded token
    the end of its step; ``lengths`` the decoded tokens of each turn."""

    end: Ints
    lengths: Ints

    @classmethod
    def of(cls, traces: Sequence[StepTrace]) -> Arm:
        lengths = np.array([trace.decode_tokens for trace in traces])
        end = np.zeros((len(traces), max(1, int(lengths.max()))), dtype=np.int64)
        for row, trace in enumerate(traces):
            end[row, : lengths[row]] = np.repeat(np.cumsum(trace.steps), trace.steps)
        return cls(end, lengths)


@dataclass(frozen=True, slots=True, eq=False)
class Rebuild:
    """Two runs of the same prompts.

    Attributes:
        name: for the tables.
        family: of the first run.
        samples, strata: of each sample.
        owner: shape (turns,), the sample of each turn.
        arms: both runs.
        divergences: shape (turns,), decoded tokens before the texts diverge; all where they do not.
        draft_length: of both runs.
    """

    name: str
    family: str
    samples: tuple[str, ...]
    strata: NDArray[np.str_]
    owner: Ints
    arms: tuple[Arm, Arm]
    divergences: Ints
    draft_length: int

    @property
    def coverage(self) -> float:
        """Share of both runs' tokens before the texts diverge."""
        everything = sum(float(arm.lengths.sum()) for arm in self.arms)
        return 2 * float(self.divergences.sum()) / everything


def rebuilds(runs: Sequence[Run]) -> Iterator[Rebuild]:
    """Every pair of runs of one family with enough prompts in common."""
    for old, new in combinations(runs, 2):
        if old.family == new.family:
            pair = match(old, new)
            if len(pair.samples) >= FEWEST_PROMPTS:
                yield pair


def match(old: Run, new: Run, name: str = "") -> Rebuild:
    """Pair two runs by sample and turn, and find where their texts diverge."""
    olds, news = clusters(old.traces), clusters(new.traces)
    samples = tuple(sample for sample in olds if sample in news)
    owner: list[int] = []
    turns: tuple[list[StepTrace], list[StepTrace]] = ([], [])
    divergences: list[int] = []
    for number, sample in enumerate(samples):
        same = True
        for before, after in zip(olds[sample], news[sample], strict=False):
            assert before.token_ids is not None
            assert after.token_ids is not None
            cut = common_prefix(before.token_ids, after.token_ids) if same else 0
            same = same and cut == before.output_tokens == after.output_tokens
            owner.append(number)
            turns[0].append(before)
            turns[1].append(after)
            # Both prefills emit as many tokens: the engine is the same.
            divergences.append(max(0, cut - before.prefill_tokens))
    return Rebuild(
        name or f"{old.family}: {_difference(old, new)}",
        old.family,
        samples,
        np.array([olds[sample][0].stratum for sample in samples]),
        np.array(owner),
        (Arm.of(turns[0]), Arm.of(turns[1])),
        np.array(divergences),
        max(old.draft_length, new.draft_length),
    )


def _difference(old: Run, new: Run) -> str:
    if old.source == new.source:
        return f"BS {old.bs} / {new.bs}"
    if old.bs == new.bs:
        return f"{old.source} / {new.source}"
    return f"BS {old.bs} / {new.bs} of {new.source}"
