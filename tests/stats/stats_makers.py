"""Small traces for the tests of the statistics."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pytest_speedbench.stats import StepTrace, TotalTrace

TRACES = Path(os.environ.get("SPEEDBENCH_TRACES", "no-such-folder"))


def trace(
    sample: str = "a",
    steps: Sequence[int] = (2, 1, 3),
    *,
    stratum: str = "math",
    turn: int = 0,
    prefill: int = 1,
    ids: Sequence[int] | None = None,
    has_ids: bool = True,
) -> StepTrace:
    """A trace with token ids 0, 1, 2, … unless others are given."""
    total = prefill + sum(steps)
    tokens = np.arange(total) if ids is None else np.asarray(ids)
    return StepTrace(
        sample, stratum, turn, prefill, np.array(steps, int), tokens if has_ids else None
    )


def run(
    seed: int, n: int = 60, dl: int = 3, accept: float = 0.5, tokens: int = 60
) -> list[StepTrace]:
    """A run of `n` samples in three strata; acceptance differs between samples."""
    rng = np.random.default_rng(seed)
    chances = np.clip(rng.normal(accept, 0.1, n), 0.05, 0.95)
    return [
        trace(f"s{i}", _steps(rng, chances[i], dl, tokens), stratum=f"c{i % 3}") for i in range(n)
    ]


def _steps(rng: np.random.Generator, chance: float, dl: int, tokens: int) -> list[int]:
    steps, left = [], tokens
    while left > 0:
        steps.append(min(left, int(rng.geometric(1 - chance)), dl + 1))
        left -= steps[-1]
    return steps


def slower(traces: Sequence[StepTrace], share: float, seed: int = 0) -> list[StepTrace]:
    """The same outputs with a share of the steps split in two."""
    rng = np.random.default_rng(seed)
    return [replace(t, steps=_split(rng, t.steps.tolist(), share)) for t in traces]


def _split(rng: np.random.Generator, steps: list[int], share: float) -> np.ndarray:
    pieces: list[int] = []
    for size in steps:
        cut = size > 1 and rng.random() < share
        pieces += [1, size - 1] if cut else [size]
    return np.array(pieces, int)


def diverging(traces: Sequence[StepTrace], at: int) -> list[StepTrace]:
    """The same lengths, with other tokens from position `at` on."""
    return [
        replace(t, token_ids=np.where(np.arange(t.output_tokens) < at, t.token_ids, -1))
        for t in traces
    ]


def without_ids(traces: Sequence[StepTrace]) -> list[StepTrace]:
    """As from an engine that gives no token ids."""
    return [replace(t, token_ids=None) for t in traces]


def recorded(tag: str, bs: int) -> list[StepTrace]:
    """A recorded run of vLLM; skips where the traces are not at hand."""
    path = TRACES / f"vllm0.24-h100-smollm2-{tag}.json.gz"
    if not path.exists():
        pytest.skip(f"SPEEDBENCH_TRACES names no folder with the recorded run {path.name}")
    with gzip.open(path, "rt") as file:
        runs = {r["bs"]: r["rows"] for r in json.load(file)["runs"]}
    return [trace(str(r["id"]), r["steps"][1:], stratum=r["cat"], ids=r["toks"]) for r in runs[bs]]


def totals(traces: Sequence[StepTrace], *, steps: bool = True) -> list[TotalTrace]:
    """The same requests, as from an engine that tells totals and no steps."""
    return [
        TotalTrace(
            t.sample,
            t.stratum,
            t.turn,
            t.prefill_tokens,
            t.output_tokens,
            t.step_count if steps else None,
            t.draft_tokens,
            t.accepted_tokens,
        )
        for t in traces
    ]
