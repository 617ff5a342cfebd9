"""What a file or a user states against what the file counts, and files that are not whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.errors import ForeignFileError
from pytest_speedbench.interop.foreign import Given
from pytest_speedbench.interop.recognise import read_foreign
from tests.interop.files import DATA, aiperf_lines, lines, records_of, run_in, totals_in, written

HEADER = "subset,num_drafts,num_accepted_tokens,acceptance_length\n"


def vllm_result(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((DATA / "vllm_bench.json").read_text())
    return data | changes


def aiperf_folder(folder: Path, rows: list[dict[str, Any]], *files: str) -> Path:
    for name in files:
        shutil.copy(DATA / "aiperf" / name, folder)
    lines(folder / "profile_export.jsonl", rows)
    return folder


# -- several results in one file --------------------------------------------------------------


@pytest.mark.parametrize("name", ["results.json", "results.jsonl"])
def test_each_result_that_vllm_appended_to_a_file_is_read(name: str, tmp_path: Path) -> None:
    """As ``vllm bench serve --append-result`` writes them, one document a line."""
    path = lines(tmp_path / name, [vllm_result(), vllm_result(total_output_tokens=340)])
    found = totals_in(path, Given("eagle3"))
    assert [t.name for t in found.thresholds] == ["smollm2, result 1", "smollm2, result 2"]
    lengths = [t.acceptance_length for t in found.thresholds]
    assert lengths == pytest.approx([327 / 175, 328 / 175])


def test_two_documents_of_another_tool_are_counted(tmp_path: Path) -> None:
    text = (DATA / "guidellm.json").read_text()
    with pytest.raises(ForeignFileError, match="guidellm, which records no acceptance"):
        read_foreign(written(tmp_path / "two.json", text + text), Given())
    llama = {"config": {}, "selected_samples": 1, "results": []}
    with pytest.raises(ForeignFileError, match="holds 2 results, one JSON document each"):
        read_foreign(lines(tmp_path / "llama.json", [llama, llama]), Given())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a:\n  acceptance_length: 2\n" * 2, "has 'a' twice: give each result its own file"),
        ("a:\n  ref_al: 2\n---\nb:\n  ref_al: 2\n", "holds 2 YAML documents"),
    ],
)
def test_two_tables_in_one_file_are_not_half_read(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ForeignFileError, match=problem):
        totals_in(written(tmp_path / "golden.yaml", text))


def test_the_header_of_a_second_run_is_no_row(tmp_path: Path) -> None:
    text = f"{HEADER}qa,100,150,2.5\n"
    found = totals_in(written(tmp_path / "acceptance.csv", text + text))
    assert found.notes == ("qa: 2 runs in one file, whose counts are added",)


def test_a_run_that_specdec_bench_appended_is_told(tmp_path: Path) -> None:
    text = (DATA / "specdec_bench_earlier/acceptance_rate.json").read_text()
    path = written(tmp_path / "acceptance_rate.json", json.loads(text) * 2)
    assert "the last of 2 runs in this folder" in totals_in(path).notes


def test_the_same_prompt_again_is_left_out_and_told(tmp_path: Path) -> None:
    rows = aiperf_lines()
    inputs = json.loads((DATA / "aiperf/inputs.json").read_text())
    again = rows[0]["metadata"]["conversation_id"]
    inputs["data"].append(
        {**next(d for d in inputs["data"] if d["session_id"] == again), "session_id": "again"}
    )
    rows.append({**rows[0], "metadata": rows[0]["metadata"] | {"conversation_id": "again"}})
    written(tmp_path / "inputs.json", inputs)
    record = records_of(aiperf_folder(tmp_path, rows))["all"]
    assert len(record.requests) == 12
    assert "1 request left out: the same prompt again" in record.notes


# -- averages that a file states --------------------------------------------------------------


def test_an_average_of_vllm_that_its_counts_contradict_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "r.json", vllm_result(spec_decode_acceptance_length=2.5))
    (note,) = totals_in(path, Given("eagle3")).notes
    assert note.startswith("spec_decode_acceptance_length says 2.500")
    assert "give 1.954" in note


def test_an_average_of_speculators_that_its_counts_contradict_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "acceptance.csv", f"{HEADER}qa,100,150,2.5\nmath,100,150,2.9\n")
    (note,) = totals_in(path).notes
    assert note.startswith("math: acceptance_length says 2.900")
    assert "give 2.500" in note


def test_an_average_of_aiperf_that_its_counts_contradict_is_told(tmp_path: Path) -> None:
    rows = aiperf_lines()
    for row in rows[:2]:
        row["spec_decode_acceptance"]["mean_acceptance_length"] = 3.9
    (note,) = run_in(aiperf_folder(tmp_path, rows)).notes
    assert note.startswith("2 requests of 12: mean_acceptance_length says 3.900")


def test_a_mean_of_specdec_bench_beyond_all_requests_is_told(tmp_path: Path) -> None:
    (data,) = json.loads((DATA / "specdec_bench_earlier/acceptance_rate.json").read_text())
    path = written(tmp_path / "acceptance_rate.json", [data | {"Average_AL": 3.0}])
    assert totals_in(path).notes[-1].startswith("Average_AL says 3.000")


def test_a_limit_of_tensorrt_llm_above_its_value_is_told(tmp_path: Path) -> None:
    path = written(tmp_path / "al.yaml", "TestA::test:\n  ref_al: 2.0\n  min_al: 2.5\n")
    assert totals_in(path).notes == ("TestA::test: min_al 2.5 is above ref_al 2",)


@pytest.mark.parametrize("source", ["vllm_bench.json", "speculators", "specdec_bench_earlier"])
def test_files_of_the_real_tools_contradict_nothing(source: str) -> None:
    assert not any("edited" in note for note in totals_in(DATA / source, Given("eagle3")).notes)


# -- what a user states -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ({"dl": 2}, "has a draft of 3 tokens, and --dl says 2"),
        ({"method": "none"}, "--method says none"),
        ({"max_tokens": 8}, r"has \d+ output tokens, and --max-tokens says 8"),
        ({"model": "org/other"}, "names the model smollm2, and --model says org/other"),
    ],
)
def test_the_requests_themselves_contradict_what_is_stated(
    stated: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    """Of a folder that says nothing of the draft length and the output length."""
    rows = aiperf_lines()
    for row in rows:
        accepted = row["spec_decode_acceptance"] | {"num_spec_tokens": None}
        accepted["per_step_accepted"] = [min(n, 2) for n in accepted["per_step_accepted"]]
        row["spec_decode_acceptance"] = accepted
    aiperf_folder(tmp_path, rows, "profile_export_aiperf.json")
    prompts = [{"id": row["metadata"]["conversation_id"], "prompt": "?"} for row in rows]
    split = lines(tmp_path / "ids.jsonl", prompts)
    with pytest.raises(ForeignFileError, match=problem):
        records_of(tmp_path, split=str(split), **stated)


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (Given("none"), "counts drafts, and --method says none"),
        (Given(draft_length=1), "525 draft tokens in 175 drafts, and --dl says 1"),
    ],
)
def test_totals_contradict_what_is_stated(given: Given, problem: str, tmp_path: Path) -> None:
    data = vllm_result(spec_decode_per_position_acceptance_rates=[])
    with pytest.raises(ForeignFileError, match=problem):
        totals_in(written(tmp_path / "r.json", data), given)


# -- files that are not whole -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("subset,num_dra", r"it has 'subset', 'num_dra'\. Was it cut off.*num_accepted_tokens"),
        (HEADER, "has a header and no rows"),
        (HEADER + "qa,100,1", "row 2 has 3 of 4 columns"),
    ],
)
def test_a_table_that_is_cut_names_what_is_missing(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ForeignFileError, match=problem):
        totals_in(written(tmp_path / "acceptance.csv", text))


def test_a_last_line_without_an_end_is_told(tmp_path: Path) -> None:
    whole = totals_in(written(tmp_path / "acceptance.csv", f"{HEADER}qa,100,150,2.5\n"))
    cut = totals_in(written(tmp_path / "acceptance.csv", f"{HEADER}qa,100,150,2.5"))
    assert whole.notes == ()
    assert cut.notes == ("the last line of the file has no line break: was it cut off there?",)


def test_requests_that_aiperfs_summary_counts_and_its_records_lack(tmp_path: Path) -> None:
    aiperf_folder(tmp_path, aiperf_lines()[:8], "profile_export_aiperf.json")
    (note,) = run_in(tmp_path).notes
    assert note.startswith("profile_export_aiperf.json counts 12 requests")
    assert "has 8" in note


def test_a_file_of_an_unknown_tool_is_compared_with_those_of_its_kind(tmp_path: Path) -> None:
    path = written(tmp_path / "x.yaml", "model: m\nacceptance: 2.5\n")
    with pytest.raises(ForeignFileError) as caught:
        read_foreign(path, Given())
    message = str(caught.value)
    assert "it has 'model', 'acceptance'" in message
    assert "ref_al and min_al" in message
    assert "AIPerf" not in message


def test_a_value_of_another_type_is_told_without_names_of_our_classes(tmp_path: Path) -> None:
    rows = [row | {"metadata": -1} for row in aiperf_lines()]
    with pytest.raises(ForeignFileError) as caught:
        run_in(aiperf_folder(tmp_path, rows))
    assert "line 1: metadata: expected an object, got -1" in str(caught.value)
