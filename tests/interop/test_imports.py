"""Files of other tools: AIPerf 0.13, vLLM 0.32, guidellm 0.8 and speculators' evaluate.py wrote
those in ``data`` from vLLM servers; the others have the form that their tools publish."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.baselines.schema import parse_record
from pytest_speedbench.baselines.storage import read_run
from pytest_speedbench.cli import app
from pytest_speedbench.errors import ForeignFileError, SpeedbenchError
from pytest_speedbench.interop.foreign import ForeignRun, Given
from pytest_speedbench.interop.foreign_file import CUT
from pytest_speedbench.interop.golden import threshold_file
from pytest_speedbench.interop.imports import document, import_run
from pytest_speedbench.interop.recognise import read_foreign
from pytest_speedbench.interop.stated import Stated
from pytest_speedbench.stats.data import StepTrace, TotalTrace
from tests.interop.files import (
    DATA,
    PROMPTS,
    aiperf_lines,
    lines,
    records_of,
    run_in,
    totals_in,
    written,
)

# -- AIPerf -----------------------------------------------------------------------------------


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
    assert "steps without a draft leave their number of steps open" in found.notes[-1]
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
    with pytest.raises(ForeignFileError, match=r"12 without acceptance.*--per-request-spec-decode"):
        run_in(lines(tmp_path / "profile_export.jsonl", rows))


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


# -- vllm bench serve -------------------------------------------------------------------------


def test_vllm_bench_serve_is_converted_by_the_tokens_of_the_same_requests() -> None:
    """339 tokens of 12 requests by 175 steps; vLLM's own figure counts what was cut off too."""
    (threshold,) = totals_in(DATA / "vllm_bench.json", Given("eagle3")).thresholds
    assert threshold.acceptance_length == pytest.approx((339 - 12) / 175)
    assert threshold.stated == pytest.approx(1 + 167 / 175)
    assert threshold.n == 12


def test_positions_must_be_those_of_the_draft_length_that_is_stated() -> None:
    with pytest.raises(ForeignFileError, match="acceptance at 3 positions, and --dl says 5"):
        totals_in(DATA / "vllm_bench.json", Given(draft_length=5))


def test_steps_without_a_draft_widen_what_is_known() -> None:
    assert totals_in(DATA / "vllm_bench.json", Given("eagle3")).notes == ()
    (note,) = totals_in(DATA / "vllm_bench.json", Given("ngram")).notes
    assert "too high" in note


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"total_output_tokens": 12}, "other requests too"),
        ({"spec_decode_accepted_tokens": 600}, "600 accepted of 525 drafted"),
        ({"spec_decode_num_drafts": 0}, "nothing was drafted"),
        ({"completed": 0}, "completed"),
        ({"spec_decode_num_drafts": "175"}, r"spec_decode_num_drafts: .*another version"),
    ],
)
def test_counters_that_do_not_fit_are_refused(
    changes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    data = json.loads((DATA / "vllm_bench.json").read_text()) | changes
    with pytest.raises(ForeignFileError, match=problem):
        totals_in(written(tmp_path / "r.json", data), Given("eagle3"))


def test_a_run_without_speculation_has_no_al(tmp_path: Path) -> None:
    data = json.loads((DATA / "vllm_bench.json").read_text())
    plain = {name: value for name, value in data.items() if not name.startswith("spec_")}
    with pytest.raises(ForeignFileError, match="without speculative decoding"):
        totals_in(written(tmp_path / "r.json", plain))


# -- specdec_bench ----------------------------------------------------------------------------

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


def test_specdec_bench_gives_steps_but_for_the_last(tmp_path: Path) -> None:
    record = records_of(specdec(tmp_path, responses()))["all"]
    assert record.imported is not None
    assert not record.imported.last_steps
    assert (record.case.method, record.case.dl, record.case.bs) == ("eagle3", 3, 4)
    assert record.sampling.max_tokens == 64
    assert [request.steps for request in record.requests] == ["3 2", "3 2"]


def test_chunks_longer_than_a_step_are_no_steps(tmp_path: Path) -> None:
    folder = specdec(tmp_path, responses(acceptance_lengths=[3, 5]))
    with pytest.raises(ForeignFileError, match=r"a chunk of 5 tokens.*at most 4 at DL 3"):
        run_in(folder)


def test_turns_without_bounds_are_left_out(tmp_path: Path) -> None:
    first, second = responses()
    second["turns"] *= 2
    found = run_in(specdec(tmp_path, [first, second]))
    assert len(found.requests) == 1
    assert "1 request left out" in found.notes[-1]


def test_the_earlier_form_gives_the_total_without_the_prefills(tmp_path: Path) -> None:
    """Chunks of 1, 3, 2, 2 twice: 4 of 8 tokens a step by its own count."""
    summary = {
        "Request_AL": {"a": 2.0, "b": 2.0},
        "Category_AL": {"coding": 2.0},
        "Average_AL": 2.0,
        "Acceptance_Length_Histogram": {"1": 2, "2": 4, "3": 2},
    }
    folder = specdec(tmp_path, responses(acceptance_lengths=None))
    written(folder / "acceptance_rate.json", [{"Acceptance_Length_Histogram": {}}, summary])
    found = totals_in(folder)
    assert found.thresholds[0].acceptance_length == pytest.approx(14 / 6)
    assert found.thresholds[0].stated == 2.0
    assert "means of means" in found.notes[0]
    alone = written(tmp_path / "alone/acceptance_rate.json", [summary])
    with pytest.raises(ForeignFileError, match="how many answers"):
        totals_in(alone)


def test_the_total_is_that_of_the_steps_behind_a_file_of_the_tools_own_code() -> None:
    """Written by specdec_bench's metric for six answers of 289 tokens by 114 decoding steps."""
    (threshold,) = totals_in(DATA / "specdec_bench_earlier").thresholds
    assert threshold.acceptance_length == pytest.approx(289 / 114)
    assert threshold.n == 6
    assert threshold.stated == pytest.approx(2.4511, abs=1e-4)


def test_the_first_form_has_left_the_prefill_out_itself(tmp_path: Path) -> None:
    summary = {"Average_AR": 2.5, "Acceptance_Length_Histogram": {"2": 2, "3": 2}}
    path = written(tmp_path / "acceptance_rate.json", [summary])
    assert totals_in(path).thresholds[0].acceptance_length == 2.5


# -- llama.cpp --------------------------------------------------------------------------------


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


def test_llama_cpp_is_paired_by_id_in_a_split_that_is_named(tmp_path: Path) -> None:
    path = llama(
        tmp_path / "spec.json",
        [
            llama_result("coding-077"),
            llama_result("coding-131", turns=2),
            llama_result("math-034", ok=False),
        ],
    )
    record = records_of(path, dl=3)["all"]
    (request,) = record.requests
    assert request.sample == "coding-077"
    assert request.totals is not None
    assert (request.totals.steps, request.totals.accepted_tokens) == (16, 15)
    assert record.imported is not None
    assert "prompts" in record.imported.unverified
    assert any("too high" in note for note in record.notes)
    with pytest.raises(ForeignFileError, match=r"holds no prompts.*--split"):
        records_of(path, split=None)


def test_a_plain_llama_server_has_no_al(tmp_path: Path) -> None:
    path = llama(tmp_path / "p.json", [llama_result("a", draft_n=0, draft_n_accepted=0)])
    with pytest.raises(ForeignFileError, match="nothing was drafted"):
        run_in(path)


# -- references -------------------------------------------------------------------------------

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


def test_speculators_counts_are_those_of_steps_with_a_draft(tmp_path: Path) -> None:
    path = written(tmp_path / "acceptance.csv", ACCEPTANCE_CSV)
    (threshold,) = totals_in(path).thresholds
    assert (threshold.name, threshold.acceptance_length) == ("HumanEval", 2.5)
    assert totals_in(tmp_path).thresholds == [threshold]
    with pytest.raises(ForeignFileError, match="ngram has steps without"):
        totals_in(path, Given("ngram"))


def test_the_file_that_speculators_wrote_of_a_real_server() -> None:
    found = totals_in(DATA / "speculators")
    lengths = {t.name.rpartition("/")[2]: t.acceptance_length for t in found.thresholds}
    assert lengths == pytest.approx({"coding": 3.5556, "math": 2.2778, "qa": 2.5}, abs=1e-4)
    with pytest.raises(ForeignFileError, match="ngram has steps without"):
        totals_in(DATA / "speculators", Given("ngram"))


def test_runs_that_speculators_appended_to_one_file_are_added(tmp_path: Path) -> None:
    again = "HumanEval,100.0,300.0,50.0,1.5,0.5,0.0\n"
    found = totals_in(written(tmp_path / "acceptance.csv", ACCEPTANCE_CSV + again))
    assert [(t.name, t.acceptance_length) for t in found.thresholds] == [("HumanEval", 2.0)]
    assert found.notes == ("HumanEval: 2 runs in one file, whose counts are added",)


def test_tensorrt_llms_limit_is_kept_beside_its_value(tmp_path: Path) -> None:
    path = written(tmp_path / "acceptance_length.yaml", yaml.safe_dump(TRTLLM))
    (threshold,) = totals_in(path).thresholds
    assert (threshold.acceptance_length, threshold.least) == (2.028, 1.927)


def test_a_golden_curve_that_falls_is_remarked(tmp_path: Path) -> None:
    found = totals_in(written(tmp_path / "m3.yaml", GOLDEN))
    assert [t.name for t in found.thresholds] == [f"m3 thinking_on dl{k}" for k in (1, 2, 3)]
    assert "AL falls at dl3" in found.notes[-1]


def test_thresholds_are_written_with_what_is_not_known(tmp_path: Path) -> None:
    found = totals_in(written(tmp_path / "m3.yaml", GOLDEN))
    table = yaml.safe_load(threshold_file(found))
    entry = {"acceptance_length": 2.38, "uncertainty": "unknown", "source": "InferenceX"}
    assert table["m3 thinking_on dl2"] == entry


# -- not convertible --------------------------------------------------------------------------


def test_sglangs_average_since_the_start_is_refused(tmp_path: Path) -> None:
    row = {"backend": "sglang", "accept_length": 2.61, "total_output_tokens": 9, "duration": 1.0}
    path = lines(tmp_path / "sglang.jsonl", [row])
    with pytest.raises(ForeignFileError, match=r"2\.61.*since its start.*--speed-engine sglang"):
        read_foreign(path, Given())


def test_guidellm_has_no_acceptance() -> None:
    with pytest.raises(ForeignFileError, match=r"no acceptance.*acceptance\.csv"):
        read_foreign(DATA / "guidellm.json", Given())


def test_aiperfs_summary_alone_is_a_mean_of_means(tmp_path: Path) -> None:
    path = tmp_path / "profile_export_aiperf.json"
    path.write_bytes((DATA / "aiperf/profile_export_aiperf.json").read_bytes())
    with pytest.raises(ForeignFileError, match=r"means over requests.*--export-level records"):
        read_foreign(path, Given())


# -- damage -----------------------------------------------------------------------------------


def published(folder: Path) -> list[Path]:
    """One file of each kind."""
    specdec(folder / "specdec", responses())
    return [
        DATA / "aiperf/profile_export.jsonl",
        DATA / "vllm_bench.json",
        DATA / "guidellm.json",
        folder / "specdec/specbench_responses.jsonl",
        llama(folder / "llama.json", [llama_result("coding-077")]),
        written(folder / "acceptance.csv", ACCEPTANCE_CSV),
        written(folder / "acceptance_length.yaml", yaml.safe_dump(TRTLLM)),
        written(folder / "golden.yaml", GOLDEN),
    ]


def refused(path: Path) -> str | None:
    """Why a file is refused; None where it is read."""
    stated = Stated(PROMPTS, {"method": "eagle3"})
    try:
        found = read_foreign(path, stated.given)
        if isinstance(found, ForeignRun):
            import_run(found, path, stated)
    except SpeedbenchError as error:
        return str(error)
    return None


def test_a_file_cut_off_anywhere_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    for path in published(tmp_path):
        content = path.read_bytes()
        for share in (0, 0.13, 0.5, 0.77, 0.999):
            cut = tmp_path / "cut" / path.name
            cut.parent.mkdir(exist_ok=True)
            cut.write_bytes(content[: int(len(content) * share)])
            problem = refused(cut)
            assert problem is None or cut.name in problem


WRONG = (None, -1, 1.5, "x", {}, 1e400)


def test_any_value_of_another_type_is_read_or_refused(tmp_path: Path) -> None:
    """Every value of every document in turn replaced by what it cannot be."""
    for path in published(tmp_path):
        if path.suffix in (".json", ".jsonl"):
            text = path.read_text()
            first = text.splitlines()[0] if path.suffix == ".jsonl" else text
            check_damage(json.loads(first), tmp_path / "wrong" / path.name)


def check_damage(data: Any, file: Path, read: Path | None = None) -> None:
    """Writes ``file`` with each wrong value at each place; ``read`` names a folder to read."""
    for place in places(data):
        for wrong in WRONG:
            written(file, replaced(copy.deepcopy(data), place, wrong))
            assert "\n" not in (refused(read or file) or "")


@pytest.mark.parametrize("name", ["inputs.json", "profile_export_aiperf.json"])
def test_damage_beside_the_requests_is_no_crash_either(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "aiperf"
    shutil.copytree(DATA / "aiperf", folder)
    head = (DATA / "aiperf/profile_export.jsonl").read_text().splitlines()[0]
    (folder / "profile_export.jsonl").write_text(head)
    data = json.loads((DATA / "aiperf" / name).read_text())
    if name == "inputs.json":
        data["data"] = data["data"][:1]
    else:
        data = {key: data[key] for key in ("aiperf_version", "input_config")}
    check_damage(data, folder / name, folder)


def places(value: Any) -> list[tuple[Any, ...]]:
    """The paths to all values of a document."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value[:2]) if isinstance(value, list) else items
    return [(), *((key, *place) for key, child in items for place in places(child))]


def replaced(document_: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    document_[place[0]] = replaced(document_[place[0]], place[1:], value)
    return document_


@pytest.mark.parametrize(
    "name", ["nothing.json", "notes.txt", "empty.jsonl", "list.json", "e.yaml"]
)
def test_files_of_nobody_are_refused(name: str, tmp_path: Path) -> None:
    contents = {"notes.txt": "hello", "empty.jsonl": " \n", "list.json": "[1]", "e.yaml": "a: 1"}
    if name in contents:
        written(tmp_path / name, contents[name])
    with pytest.raises(ForeignFileError, match=name):
        read_foreign(tmp_path / name, Given())


@pytest.mark.parametrize("name", ["empty.json", "empty.yaml"])
def test_an_empty_file_has_one_reason(name: str, tmp_path: Path) -> None:
    with pytest.raises(ForeignFileError) as caught:
        read_foreign(written(tmp_path / name, "\n"), Given())
    assert str(caught.value) == f"{name} is empty; {CUT}"


# -- the command ------------------------------------------------------------------------------


def test_the_command_writes_a_run_that_names_its_origin(tmp_path: Path) -> None:
    out = tmp_path / "base.json"
    arguments = ["import", str(DATA / "aiperf"), "--split", PROMPTS, "-o", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "1.95  1.52–2.37" in done.output
    assert "not verified: engine, model, method" in " ".join(done.output.split())
    run = read_run(out)
    assert {key.slice for key in run.keys} == {"coding", "math", "qa", "all"}
    assert all(record.imported for record in run.measured)
    shown = CliRunner().invoke(app, ["show", str(out)])
    assert shown.exit_code == 0, shown.output
    assert "note: measured by AIPerf, imported from aiperf; not verified" in shown.output


@pytest.mark.parametrize(("name", "written_as"), [("run.json", "file"), ("runs.zip", "archive")])
def test_runs_of_our_own_need_no_conversion(name: str, written_as: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(document(list(records_of(DATA / "aiperf").values())))
    with pytest.raises(ForeignFileError, match=f"{written_as} .*speedbench baseline import"):
        read_foreign(path, Given())


@pytest.mark.parametrize(
    ("source", "options", "given"),
    [
        ("vllm_bench.json", ("--bs", "3"), "--bs"),
        ("acceptance_length.yaml", ("--dl", "3", "--split", "x"), "--split, --dl"),
    ],
)
def test_averages_depend_on_little_that_can_be_stated(
    source: str, options: tuple[str, ...], given: str, tmp_path: Path
) -> None:
    written(tmp_path / "acceptance_length.yaml", yaml.safe_dump(TRTLLM))
    path = DATA / source if (DATA / source).exists() else tmp_path / source
    done = CliRunner().invoke(app, ["import", str(path), *options])
    assert done.exit_code == 2
    assert f"{given} ha" in done.output
    assert "which holds averages" in done.output


def test_the_command_shows_thresholds_and_what_they_cannot_do(tmp_path: Path) -> None:
    path = written(tmp_path / "acceptance_length.yaml", yaml.safe_dump(TRTLLM))
    out = tmp_path / "thresholds.yaml"
    done = CliRunner().invoke(app, ["import", str(path), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "uncertainty unknown" in done.output
    assert "As a threshold in a test:\n  assert speed.acceptance_length >= 1.93" in done.output
    assert yaml.safe_load(out.read_text())["TestQwen3_4B::test_eagle3"]["least"] == 1.927


@pytest.mark.parametrize(
    ("entries", "name", "value"),
    [
        ({"a": 2.9, "m eagle3 dl3 qualitative:all": 2.5, "m:qa": 2.1}, "qualitative:all", "2.50"),
        ({"b:all": 2.5, "a:all": 2.4, "a:qa": 2.1}, "a:all", "2.40"),
        ({"m:all max_tokens=16": 2.5, "m:qa": 2.1}, "m:all max_tokens=16", "2.50"),
        ({"a": 2.9, "b": 2.1, "overall": 2.6}, "b", "2.10"),
    ],
)
def test_the_suggested_threshold_is_that_of_all_or_the_smallest(
    entries: dict[str, float], name: str, value: str, tmp_path: Path
) -> None:
    data = {key: {"ref_al": 3.0, "min_al": least} for key, least in entries.items()}
    path = written(tmp_path / "acceptance_length.yaml", yaml.safe_dump(data, sort_keys=False))
    shown = " ".join(CliRunner().invoke(app, ["import", str(path)]).output.split())
    assert f"{name}: assert speed.acceptance_length >= {value}" in shown


@pytest.mark.parametrize(
    ("source", "output", "problem"),
    [
        ("gone.json", None, "gone.json does not exist"),
        ("aiperf", "base.yaml", "give a name that ends in .json"),
        ("vllm_bench.json", "base.json", "give a name that ends in .yaml"),
    ],
)
def test_the_command_ends_with_2_and_one_line(
    source: str, output: str | None, problem: str, tmp_path: Path
) -> None:
    options = ["-o", str(tmp_path / output)] if output else []
    done = CliRunner().invoke(app, ["import", str(DATA / source), *options])
    assert done.exit_code == 2
    assert problem in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [("--engine", "vlm", "did you mean 'vllm'"), ("--method", "eagle-3", "did you mean 'eagle3'")],
)
def test_misspelled_names_name_the_closest(option: str, value: str, hint: str) -> None:
    done = CliRunner().invoke(app, ["import", str(DATA / "aiperf"), option, value])
    assert done.exit_code == 2
    assert hint in done.output


def test_an_imported_record_is_written_whole() -> None:
    records = list(records_of(DATA / "aiperf").values())
    saved = json.loads(document(records))["benchmarks"]
    read = [parse_record(entry["extra_info"]["speedbench"]) for entry in saved]
    assert read == records
