"""AIPerf's profile exports: steps where it lists them, totals where it does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.baselines.storage import read_run
from pytest_speedbench.errors import ForeignFileError
from pytest_speedbench.interop.foreign import Given
from pytest_speedbench.stats.data import StepTrace, TotalTrace
from tests.interop.files import (
    DATA,
    aiperf_lines,
    lines,
    records_of,
    run_in,
    written,
)


@pytest.mark.parametrize("name", ["", "profile_export.jsonl", "profile_export_aiperf.json"])
def test_aiperf_gives_the_steps_that_we_measured_on_the_same_server(name: str) -> None:
    """Our own client asked the same server the same prompts, one after the other."""
    imported = records_of(DATA / "aiperf" / name)["all"]
    (ours,) = read_run(DATA / "ours.json").measured
    theirs = {trace.sample: trace for trace in traces_of(imported)}
    assert len(theirs) == len(ours.requests) == 12
    for trace in traces_of(ours):
        assert isinstance(trace, StepTrace)
        other = theirs[trace.sample]
        assert isinstance(other, StepTrace)
        assert other.steps.tolist() == trace.steps.tolist()
    for metric in ("acceptance_length", "acceptance_rate", "acceptance_by_position"):
        assert imported.metrics[metric] == ours.metrics[metric]


@pytest.mark.parametrize("method", [None, "ngram"])
def test_steps_without_a_draft_are_counted(method: str | None) -> None:
    """vLLM reports none of them: half of the steps of prompt lookup on these prompts."""
    stated = {} if method is None else {"method": method}
    theirs = traces_of(records_of(DATA / "aiperf_ngram", **stated)["all"])
    (ours,) = read_run(DATA / "ours_ngram.json").measured
    steps = {trace.sample: trace.step_count for trace in traces_of(ours)}
    assert {trace.sample: trace.step_count for trace in theirs} == steps


def test_a_number_of_steps_that_is_open_leaves_the_request_out(tmp_path: Path) -> None:
    """Without the arrival of its events."""
    text = (DATA / "aiperf_ngram/profile_export.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    for row in rows:
        del row["metrics"]["inter_chunk_latency"]
    found = run_in(lines(tmp_path / "profile_export.jsonl", rows), Given("ngram"))
    assert "steps without a draft are not counted" in found.notes[-1]
    assert len(found.requests) == 8  # the last draft of these was rejected: nothing was cut off


def test_aiperfs_own_averages_are_other_numbers() -> None:
    summary = json.loads((DATA / "aiperf/profile_export_aiperf.json").read_text())
    stated = summary["spec_decode_token_weighted_acceptance_length"]["avg"]
    al = records_of(DATA / "aiperf")["all"].metric("acceptance_length")
    assert al is not None
    assert al.value == pytest.approx(1.9492, abs=1e-4)
    assert stated == pytest.approx(2.0169, abs=1e-4)


def test_what_aiperf_says_is_verified_and_what_it_does_not_say_is_listed() -> None:
    record = records_of(DATA / "aiperf")["all"]
    assert record.imported is not None
    assert (record.imported.tool, record.imported.version) == ("AIPerf", "0.13.0")
    assert (record.case.dl, record.case.bs, record.case.temperature) == (3, 2, 0.0)
    assert record.sampling.max_tokens == 32
    assert {"engine", "model", "method", "model weights"} <= set(record.imported.unverified)
    assert (record.case.engine, record.case.model) == ("vllm", "smollm2")  # shown all the same
    assert {"dl", "bs", "split", "temperature", "sampling"}.isdisjoint(record.imported.unverified)
    stated = records_of(DATA / "aiperf", engine="vllm", method="eagle3")["all"]
    assert stated.imported is not None
    assert {"engine", "method"}.isdisjoint(stated.imported.unverified)


def test_categories_come_from_the_split_and_prompts_from_the_file() -> None:
    assert set(records_of(DATA / "aiperf")) == {"coding", "math", "qa", "all"}
    alone = records_of(DATA / "aiperf", split=None)
    assert set(alone) == {"default", "all"}
    assert alone["all"].imported is not None
    assert "split" in alone["all"].imported.unverified
    assert (
        alone["all"].metrics["acceptance_length"]
        == (records_of(DATA / "aiperf")["all"].metrics["acceptance_length"])
    )


def test_without_lists_by_step_a_request_has_totals(tmp_path: Path) -> None:
    """vLLM's level *summary*."""
    rows = aiperf_lines()
    for row in rows:
        row["spec_decode_acceptance"] |= {"per_step_accepted": None, "per_step_drafted": None}
    lines(tmp_path / "profile_export.jsonl", rows)
    (tmp_path / "inputs.json").write_bytes((DATA / "aiperf/inputs.json").read_bytes())
    record = records_of(tmp_path)["all"]
    assert all(isinstance(trace, TotalTrace) for trace in traces_of(record))
    al, whole = (
        one.metric("acceptance_length") for one in (record, records_of(DATA / "aiperf")["all"])
    )
    assert al == whole


def test_failed_and_repeated_requests_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = aiperf_lines()
    rows[0]["error"] = {"message": "gone"}
    rows[1]["metadata"]["was_cancelled"] = True
    rows[2]["spec_decode_acceptance"] = None
    rows[3]["metadata"]["benchmark_phase"] = "warmup"
    rows.append(rows[5])
    found = run_in(lines(tmp_path / "profile_export.jsonl", rows))
    assert len(found.requests) == 8
    assert set(found.notes) == {
        "2 requests left out: failed or cancelled",
        "1 request left out: without acceptance",
        "1 request left out: warm-up",
        "1 request left out: the same prompt again",
    }


def test_a_file_without_acceptance_names_the_fix(tmp_path: Path) -> None:
    rows = [row | {"spec_decode_acceptance": None} for row in aiperf_lines()]
    with pytest.raises(ForeignFileError, match=r"without acceptance: 12.*--per-request-spec"):
        run_in(lines(tmp_path / "profile_export.jsonl", rows))


@pytest.mark.parametrize("tokens", [1, 32])
def test_a_run_that_drafted_nothing_is_refused_before_its_prompts_are_missed(
    tokens: int, tmp_path: Path
) -> None:
    rows = aiperf_lines()
    nothing = {"num_spec_steps": 0, "num_draft_tokens": 0, "num_accepted_draft_tokens": 0}
    for row in rows:
        row["spec_decode_acceptance"] = {**nothing, "completion_tokens": tokens}
        row["metrics"]["inter_chunk_latency"] = {"value": [20.0] * (tokens - 1)}
    path = lines(tmp_path / "profile_export.jsonl", rows)
    with pytest.raises(ForeignFileError, match=r"nothing was drafted in this run.*--method none"):
        run_in(path)
    assert run_in(path, Given("none")).requests


def test_prompts_that_are_missing_name_the_file_that_has_them(tmp_path: Path) -> None:
    path = lines(tmp_path / "profile_export.jsonl", aiperf_lines())
    with pytest.raises(ForeignFileError, match=r"no prompts: AIPerf writes them to inputs\.json"):
        records_of(path, split=None)


def test_counts_that_cannot_have_emitted_the_tokens_are_refused(tmp_path: Path) -> None:
    rows = aiperf_lines()
    rows[4]["spec_decode_acceptance"]["completion_tokens"] = 3
    with pytest.raises(ForeignFileError, match="cannot have emitted"):
        run_in(lines(tmp_path / "profile_export.jsonl", rows))


def test_a_conversation_is_paired_by_all_of_its_turns(tmp_path: Path) -> None:
    """``inputs.json`` has one request a turn; later ones may repeat the history."""
    rows = aiperf_lines()[:2]
    for turn, row in enumerate(rows):
        row["metadata"] |= {"conversation_id": "c", "turn_index": turn}
    first = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "One?"}]
    later = [*first, {"role": "assistant", "content": "1"}, {"role": "user", "content": "Two?"}]
    payloads = [{"messages": messages, "max_tokens": 32} for messages in (first, later)]
    written(tmp_path / "inputs.json", {"data": [{"session_id": "c", "payloads": payloads}]})
    lines(tmp_path / "profile_export.jsonl", rows)
    split = lines(
        tmp_path / "split.jsonl", [{"id": "s", "turns": ["One?", "Two?"], "system": "Be brief."}]
    )
    record = records_of(tmp_path, split=str(split))["all"]
    assert [(request.sample, request.turn) for request in record.requests] == [("s", 0), ("s", 1)]


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ({"dl": 5}, "says dl 3, and --dl says 5"),
        ({"model": "org/other"}, "names the model smollm2, and --model says org/other"),
        ({"engine": "sglang"}, "names the engine vllm, and --engine says sglang"),
    ],
)
def test_what_is_stated_must_not_contradict_the_file(stated: dict[str, Any], problem: str) -> None:
    with pytest.raises(ForeignFileError, match=problem):
        records_of(DATA / "aiperf", **stated)


@pytest.mark.parametrize(
    "stated", [{"model": "org/SmolLM2"}, {"engine": "vllm-server"}, {"engine": "openai"}]
)
def test_our_own_names_of_the_same_thing_are_no_contradiction(stated: dict[str, Any]) -> None:
    assert records_of(DATA / "aiperf", **stated)["all"].requests


def test_a_draft_length_must_be_able_to_emit_the_steps(tmp_path: Path) -> None:
    rows = aiperf_lines()
    for row in rows:
        row["spec_decode_acceptance"]["num_spec_tokens"] = None
    lines(tmp_path / "profile_export.jsonl", rows)
    shutil.copy(DATA / "aiperf/inputs.json", tmp_path)
    with pytest.raises(ForeignFileError, match="emits at most 2 at --dl 1"):
        records_of(tmp_path, dl=1)


def test_prompts_of_another_split_are_refused(tmp_path: Path) -> None:
    other = lines(tmp_path / "other.jsonl", [{"id": "a", "prompt": "Something else?"}])
    with pytest.raises(ForeignFileError, match=r"none of its 12 prompts is in split 'other'"):
        records_of(DATA / "aiperf", split=str(other))
