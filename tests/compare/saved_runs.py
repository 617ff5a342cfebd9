"""Saved runs made by hand, as files that every reader of records takes."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_speedbench.baselines.packing import pack_ids, pack_numbers
from pytest_speedbench.baselines.schema import EXTRA_KEY, SCHEMA, Record

TOKENS = 48


def record(
    slice_name: str = "math",
    *,
    seed: int = 0,
    samples: Sequence[int] = range(40),
    accept: float = 0.6,
    speed: float = 1.0,
    rounds: int = 5,
    loops: float = 0.0,
    **changes: Any,
) -> Record:
    """A record of one slice: requests of a geometric acceptance process, and timed rounds.

    ``loops`` is the share of samples whose answers repeat four tokens.

    The same ``seed`` gives the same acceptance; ``speed`` scales the throughput with SD.
    """
    rng = np.random.default_rng(seed + 7)
    method = changes.pop("method", "eagle3")
    bs = changes.pop("bs", 4)
    dl = 0 if method == "none" else changes.pop("dl", 3)
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "case": {
            "engine": "vllm",
            "model": "m",
            "method": method,
            "dl": dl,
            "bs": bs,
            "split": "qualitative",
            "slice": slice_name,
        },
        "engine": {"name": "vllm", "version": "1", "device": "cpu", "dtype": "float32"},
        "model": {"name": "m", "weights": "w1"},
        "spec": {"method": method, "draft_length": dl},
        "split": {"name": "qualitative", "version": "1", "digest": "d1", "samples": 0},
        "sampling": {"max_tokens": TOKENS, "temperature": 0.0, "seed": 0},
        "template": "t1",
        "prompt_form": "token_ids",
        "machine": {"fingerprint": "f1", "cpu": "CPU", "cores": 2, "memory_gib": 8},
        "metrics": {},
        "rounds": [_round(rng, 100.0 * speed) for _ in range(rounds)],
        "reference_rounds": [] if method == "none" else [_round(rng, 70.0) for _ in range(rounds)],
        "requests": [
            _request(number, seed, accept, dl, looping=number < loops * len(samples))
            for number in samples
        ],
    }
    return Record.model_validate({**data, **changes})


def _round(rng: np.random.Generator, tps: float) -> dict[str, Any]:
    noise = float(rng.normal(1.0, 0.01))
    return {
        "tokens": 1000,
        "seconds": 1000 / (tps * noise),
        "steady": True,
        "requests": 40,
        "acceptance_length": 2.0,
        "step_time": 0.01 * noise,
    }


def _request(
    number: int, seed: int, accept: float, dl: int, *, looping: bool = False
) -> dict[str, Any]:
    rng = np.random.default_rng([seed, number])
    steps: list[int] = []
    while (left := TOKENS - 1 - sum(steps)) > 0:
        steps.append(min(left, int(min(rng.geometric(1 - accept), dl + 1))))
    return {
        "sample": f"s{number}",
        "category": "math",
        "turn": 0,
        "prompt_tokens": 10,
        "tokens": TOKENS,
        "prefill_tokens": 1,
        "steps": pack_numbers(steps),
        "ids": pack_ids([n % 4 if looping else n for n in range(TOKENS)]),
        "sent": 0.0,
        "first": 0.1,
        "last": 1.0,
        "finish": "length",
    }


def save(path: Path, records: Iterable[Record], *, day: int = 2, **commit: Any) -> Path:
    """Writes ``records`` as pytest-benchmark saves a session."""
    benchmarks = [
        {
            "name": str(r.case),
            "extra_info": {EXTRA_KEY: r.model_dump(mode="json", by_alias=True)},
        }
        for r in records
    ]
    data = {
        "benchmarks": benchmarks,
        "commit_info": {"id": "c" * 40, "dirty": False, "branch": "main", **commit},
        "datetime": f"2026-01-{day:02}T03:04:05+00:00",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def unpack(packed: Path, path: Path) -> Path:
    """A saved file of ``benchmarks/results``, decompressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.decompress(packed.read_bytes()))
    return path
