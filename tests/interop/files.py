"""Files of other tools, and what is read from them.

AIPerf 0.13, vLLM 0.32, guidellm 0.8 and speculators' evaluate.py wrote those in ``data`` from vLLM
servers; the others have the form that their tools publish.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.interop.foreign import ForeignRun, ForeignTotals, Given
from pytest_speedbench.interop.imports import import_run
from pytest_speedbench.interop.recognise import read_foreign
from pytest_speedbench.interop.stated import Stated

DATA = Path(__file__).parent / "data"
PROMPTS = str(DATA / "prompts.jsonl")


def run_in(path: Path, given: Given = Given()) -> ForeignRun:  # noqa: B008
    found = read_foreign(path, given)
    assert isinstance(found, ForeignRun)
    return found


def totals_in(path: Path, given: Given = Given()) -> ForeignTotals:  # noqa: B008
    found = read_foreign(path, given)
    assert isinstance(found, ForeignTotals)
    return found


def records_of(path: Path, **case: Any) -> dict[str, Record]:
    stated = Stated(case.pop("split", PROMPTS), case)
    found = import_run(run_in(path, stated.given), path, stated)
    return {record.case.slice: record for record in found.records}


def written(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def lines(path: Path, rows: list[Any]) -> Path:
    return written(path, "".join(json.dumps(row) + "\n" for row in rows))


def aiperf_lines() -> list[dict[str, Any]]:
    text = (DATA / "aiperf/profile_export.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


CONFIGURATION = {
    "engine": "VLLM",
    "speculative_algorithm": "EAGLE3",
    "draft_length": 3,
    "concurrency": 4,
    "output_length": 64,
    "temperature": None,
    "ignore_eos": False,
    "completions": False,
    "runtime_params": {},
    "specdec_bench_version": "1.0.0",
}


def responses(**changes: Any) -> list[dict[str, Any]]:
    """Two answers of 8 tokens: 1 by the prefill, then steps of 3, 2, 2, of which the last is not
    written."""
    rows = [json.loads(line) for line in (DATA / "prompts.jsonl").read_text().splitlines()[:2]]
    return [
        {
            "question_id": row["id"],
            "category": row["category"],
            "turns": [row["prompt"]],
            "acceptance_lengths": [3, 2],
            "choices": [{"index": 0, "turns": ["…"]}],
            **changes,
        }
        for row in rows
    ]


def specdec(folder: Path, rows: list[dict[str, Any]], **configuration: Any) -> Path:
    lines(folder / "specbench_responses.jsonl", rows)
    written(folder / "configuration.json", CONFIGURATION | configuration)
    return folder


def llama_result(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": name,
        "category": "coding",
        "ok": True,
        "turns": 1,
        "latency_s": 1.5,
        "prompt_tokens": 20,
        "completion_tokens": 32,
        "draft_n": 30,
        "draft_n_accepted": 15,
        "finish_reason": "length",
        "prompt_ms": 200.0,
        **changes,
    }


def llama(path: Path, results: list[dict[str, Any]]) -> Path:
    config = {"osl": 32, "concurrency": 1, "extra_inputs": {"temperature": 0}}
    data = {"config": config, "selected_samples": len(results), "summary": [], "results": results}
    return written(path, data)


ACCEPTANCE_CSV = """subset,num_drafts,num_draft_tokens,num_accepted_tokens,acceptance_length,\
acceptance_at_pos_0,acceptance_at_pos_1
HumanEval,100.0,300.0,150.0,2.5,0.9,0.6
qa,0.0,0.0,0.0,0,0,0
"""

TRTLLM = {"TestQwen3_4B::test_eagle3": {"ref_al": 2.028, "min_al": 1.927}}

GOLDEN = """# dataset: coding
_metadata:
  draft-model: org/head
m3:
  thinking_on:
    1: 1.78
    2: 2.38
    3: 2.31
"""
