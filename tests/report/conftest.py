"""Records and results made by hand."""

from __future__ import annotations

from typing import Any

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.results import CaseResult
from pytest_speedbench.compare.verdict import Outcome, Verdict


def estimate(value: float, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": 8, "level": 0.95, "unit": ""}


def record(slice_name: str = "math", dl: int = 3, bs: int = 1, **changes: Any) -> Record:
    """A record of one slice; ``changes`` replace whole fields, ``metrics`` adds to them."""
    method = changes.pop("method", "eagle3")
    metrics = {
        "acceptance_length": estimate(2.5, 2.4, 2.6),
        "acceptance_length_macro": estimate(2.55, 2.4, 2.7),
        "acceptance_rate": estimate(0.52, 0.5, 0.54),
        "speedup": estimate(1.4, 1.3, 1.5),
        "output_tps": estimate(140.0 * bs, 130.0, 150.0),
        "reference_tps": estimate(100.0 * bs, 99.0, 101.0),
        "user_tps": estimate(140.0 - bs, 130.0, 150.0),
        "acceptance_by_position": [estimate(0.7, 0.6, 0.8), estimate(0.5), None],
        **changes.pop("metrics", {}),
    }
    timing = {"tokens": 100, "seconds": 1.0, "steady": True, "requests": 8}
    data: dict[str, Any] = {
        "schema": 1,
        "case": {
            "engine": "vllm",
            "model": "m",
            "method": method,
            "dl": dl,
            "bs": bs,
            "split": "qualitative",
            "slice": slice_name,
        },
        "engine": {
            "name": "vllm",
            "version": "0.32.0",
            "device": "cpu",
            "dtype": "bfloat16",
            "args": {"max_model_len": 4096},
        },
        "model": {"name": "m", "weights": "w1"},
        "spec": {"method": method, "draft_length": dl, "drafter": {"name": "head"}},
        "split": {"name": "qualitative", "version": "1", "digest": "d1", "samples": 8},
        "sampling": {"max_tokens": 128, "temperature": 0.0, "seed": 0},
        "template": "t1",
        "prompt_form": "token_ids",
        "machine": {"fingerprint": "f1", "cpu": "CPU", "cores": 2, "memory_gib": 8},
        "metrics": {name: value for name, value in metrics.items() if value is not None},
        "rounds": [timing] * 3,
        "reference_rounds": [timing] * 3,
        "engine_acceptance_length": 2.61,
    }
    return Record.model_validate({**data, **changes})


def result(
    measured: Record,
    *words: Outcome,
    reason: str = "because",
    baseline: Record | None = None,
    **group: str,
) -> CaseResult:
    """One case with a verdict for each of ``words``."""
    key: CaseKey = measured.case
    verdicts = [
        Verdict(
            str(key), "acceptance_length", outcome, reason, 0.99, 0.97, 1.01, 0.02, baseline="0001"
        )
        for outcome in words
    ]
    name = group.get("group", f"{key.engine} {key.method} dl{key.dl} bs{key.bs}")
    return CaseResult(
        f"test_a.py::test[{key.slice}]",
        key.slice,
        str(key),
        name,
        measured,
        verdicts,
        baseline=baseline,
    )
