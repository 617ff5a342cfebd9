"""``speedbench compare``: every exit code, every message."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.schema import SCHEMA
from pytest_speedbench.cli.compare import _named

from .conftest import Speedbench

Edited = Callable[[str, Callable[[dict[str, Any]], None]], Path]
AT_10 = ("--fail", "acceptance_length:10%")


@pytest.fixture(autouse=True)
def _here(project: Path) -> None:
    """Every test runs in the project."""


def test_no_regression_is_zero(speedbench: Speedbench) -> None:
    result = speedbench("compare", "1", "2", *AT_10)
    assert (result.code, result.err) == (0, "")
    assert "OLD 0001 of " in result.words
    assert "NEW 0002 of " in result.words
    assert "simulated · sim · eagle3 · DL 3 · BS 1 · prompts" in result.out
    assert re.search(r"^ +all .* pass, lost at most \d+\.\d\d%$", result.out, re.M)
    assert "+0.00%" in result.out


def test_what_only_one_side_has_is_named(speedbench: Speedbench) -> None:
    for old, new, side in ((1, 2, "OLD"), (2, 1, "NEW")):
        printed = speedbench("compare", old, new, *AT_10).words
        assert re.search(
            rf"only in {side} \(0001\): simulated sim eagle3 dl3 bs1 \(\S+: beta\)", printed
        )


def test_what_many_cases_share_is_named_once(speedbench: Speedbench) -> None:
    keys = [
        CaseKey(
            engine="vllm", model="m", method="eagle3", dl=dl, bs=1, split="qualitative", slice=name
        )
        for dl in range(1, 10)
        for name in ("math", "all")
    ]
    text = _named([*keys, keys[0].model_copy(update={"bs": 8})])
    runs = ", ".join(f"dl{dl} bs1" for dl in range(1, 7))
    assert text == (
        f", vllm m eagle3: {runs} and 3 more (qualitative: math, all); dl1 bs8 (qualitative: math)"
    )


def test_the_points_of_a_sweep_are_one_table(speedbench: Speedbench, saved: Path) -> None:
    base = json.loads((saved / "0001_base.json").read_text())
    records = [benchmark["extra_info"]["speedbench"] for benchmark in base["benchmarks"]]
    whole = next(record for record in records if record["case"]["slice"] == "all")
    for name, acceptance in (("0008_old", {}), ("0009_new", {"acceptance": "0.9"})):
        slow, fast = copy.deepcopy(whole), copy.deepcopy(whole)
        fast["case"]["bs"], fast["engine"]["args"] = 8, acceptance
        runs = [{"name": "a", "extra_info": {"speedbench": record}} for record in (slow, fast)]
        (saved / f"{name}.json").write_text(json.dumps(base | {"benchmarks": runs}))
    result = speedbench("compare", "8", "9", *AT_10)
    assert result.out.count("AL old") == 1
    assert re.findall(r"^  (BS \d)  all ", result.out, re.M) == ["BS 1", "BS 8"]
    assert "BS 8: changed: acceptance: – → 0.9" in result.words
    assert "BS 1, BS 8: speedup " in result.words  # the same of both


def test_regression_is_one(speedbench: Speedbench) -> None:
    result = speedbench("compare", "base", "worse")
    assert result.code == 1
    assert "fail: " in result.words
    assert "lost at least " in result.words
    assert "gate: 3 fail" in result.words
    assert "α = 0.01 for a false fail anywhere in 3 cases, 0.0017 for the first" in result.words


def test_alpha_is_divided_over_cases_and_metrics(speedbench: Speedbench) -> None:
    result = speedbench(
        "compare", "1", "3", "--alpha", "6%", "--fail", "acceptance_length:2%,speedup:5%"
    )
    assert "α = 0.06 for a false fail anywhere in 3 cases, 0.01 for the first" in result.words
    assert result.code == 1


def test_how_rare_a_loss_is_reckoned_with_can_be_set(speedbench: Speedbench) -> None:
    assert speedbench("compare", "1", "2", *AT_10).out.count(" pass") > 1
    careful = speedbench("compare", "1", "2", *AT_10, "--reach", "0")
    assert " undecided" in careful.out
    refused = speedbench("compare", "1", "2", "--reach", "x")
    assert refused.code == 2
    assert "--reach: cannot read 'x'" in refused.err


def test_margin_of_one_slice(speedbench: Speedbench) -> None:
    result = speedbench("compare", "1", "3", "--fail", "acceptance_length/alpha:50%")
    assert "anywhere in 3 cases" in result.words  # the selected ones, gated or not
    assert "not gated" in result.out
    assert result.code == 0


def test_undecided_fails_only_if_asked(speedbench: Speedbench) -> None:
    tiny = ("compare", "1", "1", "--fail", "acceptance_length:0.01%")
    result = speedbench(*tiny)
    assert result.code == 0
    assert "gate: 3 undecided" in result.words
    assert re.search(r"undecided, [-+][\d.]+% to [-+][\d.]+%$", result.out, re.M)
    assert "more samples like these would settle it" in result.words
    assert speedbench(*tiny, "--inconclusive", "pass").code == 0
    assert speedbench(*tiny, "--inconclusive", "fail").code == 1


def test_incomparable_is_one(speedbench: Speedbench, edited: Edited) -> None:
    edited("0009_other", lambda record: record["model"].update(weights="f" * 16))
    result = speedbench("compare", "1", "9")
    assert result.code == 1
    assert "incomparable: " in result.words
    assert "model weights: " in result.words
    assert "gate: 3 incomparable" in result.words


def test_speculation_off_is_one(speedbench: Speedbench, edited: Edited) -> None:
    edited("0009_off", lambda record: record.update(speculation_off="the engine drafted nothing"))
    result = speedbench("compare", "1", "9")
    assert result.code == 1
    assert "speculation off: " in result.words
    assert "the engine drafted nothing" in result.words


def test_a_run_without_requests_is_two(speedbench: Speedbench, edited: Edited) -> None:
    edited("0009_bare", lambda record: record.update(requests=[]))
    result = speedbench("compare", "1", "9")
    assert result.code == 2
    assert "undecided" in result.out
    assert "nothing was compared: the runs have no sample in common (40 and 0" in result.err


def test_categories_that_decide_nothing_are_two(speedbench: Speedbench, saved: Path) -> None:
    data = json.loads((saved / "0001_base.json").read_text())
    alone = data["benchmarks"][0]["extra_info"]["speedbench"]
    alone["gate"]["beside_all"] = True
    alone["requests"] = alone["requests"][:6]
    del data["benchmarks"][1:]
    (saved / "0009_alone.json").write_text(json.dumps(data))
    result = speedbench("compare", "1", "9")
    assert result.code == 2
    assert "gate: 1 not gated" in result.out
    assert result.out.count("lost at most") == 1
    assert "nothing was gated: the samples of NEW decide none" in result.err
    assert "lost at most" not in result.err


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda found: found[0].update(steps="1 x"), "'requests.0.steps': not packed as records"),
        (lambda found: found.extend(found[:1]), "'requests': sample 'alpha-"),
    ],
)
def test_damage_is_two_and_names_the_file(
    speedbench: Speedbench, edited: Edited, change: Callable[[list[Any]], None], problem: str
) -> None:
    edited("0009_damaged", lambda record: change(record["requests"]))
    result = speedbench("compare", "1", "9")
    assert (result.code, result.out) == (2, "")
    assert "0009_damaged.json, " in result.err
    assert f"damaged at {problem}" in result.err


def test_nothing_in_common_is_two(speedbench: Speedbench) -> None:
    result = speedbench("compare", "1", "longer")
    assert result.code == 2
    assert "nothing was compared: no case of NEW has a record in OLD" in result.err
    assert "only in NEW (0004): simulated sim eagle3 dl5 bs1 " in result.words


def test_map_pairs_different_cases_on_purpose(speedbench: Speedbench) -> None:
    result = speedbench("compare", "1", "4", "--map", "dl=3:5", "--fail", "acceptance_length:50%")
    assert "DL 3 → 5" in result.out
    assert "only in" not in result.out
    assert result.code == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dl=4:5", "--map dl=4:5: OLD has no case with dl=4; it has: 3"),
        ("dl=3:7", "--map dl=3:7: NEW has no case with dl=7; it has: 5"),
        ("dl=x:5", "--map: cannot read 'dl=x:5': dl: expected an integer, got 'x'"),
        ("temperature=0:0.7", "--map temperature=0.0:0.7: NEW has no case with temperature=0.7"),
        ("dl", "--map: cannot read 'dl': expected AXIS=OLD:NEW, such as dl=3:5"),
        (
            "size=1:2",
            "--map: cannot read 'size=1:2': no axis 'size'; did you mean 'slice'?; a case has:",
        ),
    ],
)
def test_map_that_cannot_be(speedbench: Speedbench, text: str, message: str) -> None:
    result = speedbench("compare", "1", "4", "--map", text)
    assert result.code == 2
    assert message in result.err


# -- speed ----------------------------------------------------------------------------------


def test_changed_speedup_is_attributed(speedbench: Speedbench) -> None:
    result = speedbench("compare", "1", "3", "--fail", "acceptance_length:2%,speedup:5%")
    assert "speedup: not gated, 2 earlier sessions of this machine" in result.words
    parts = ("AL (drafter)", "step time with SD", "scheduling")
    assert [part for part in parts if part not in result.out] == []
    drafter = next(line for line in result.out.splitlines() if "AL (drafter)" in line)
    assert "-" in drafter.partition(")")[2]
    step = next(line for line in result.out.splitlines() if "step time with SD" in line)
    assert re.search(r"-18\.[78]%", step)  # 13 ms a step there, 16 ms here: -18.75%


def test_another_machine_is_not_compared_in_time(speedbench: Speedbench, edited: Edited) -> None:
    edited("0009_far", lambda record: record["machine"].update(fingerprint="elsewhere"))
    result = speedbench("compare", "1", "9", *AT_10)
    assert result.code == 0
    assert "speedup not compared: machine: " in result.words
    gated = speedbench("compare", "1", "9", "--fail", "acceptance_length:10%,output_tps:5%")
    assert gated.code == 0
    assert "output_tps: not gated, machine: " in gated.words


def test_other_sample_sets_are_not_compared_in_time(speedbench: Speedbench, edited: Edited) -> None:
    def fewer(record: dict[str, Any]) -> None:
        for timing in (*record["rounds"], *record["reference_rounds"]):
            timing["requests"] -= 1

    edited("0009_fewer", fewer)
    result = speedbench("compare", "1", "9", *AT_10)
    assert "speedup not compared: different samples: rounds of " in result.words


def test_records_without_step_times_of_rounds(speedbench: Speedbench, edited: Edited) -> None:
    def older(record: dict[str, Any]) -> None:
        for timing in record["rounds"]:
            del timing["step_time"]

    edited("0009_older", older)
    result = speedbench("compare", "9", "1", *AT_10)
    assert "saved without its step times" in result.words


def test_arms_that_did_not_alternate_have_no_intervals(
    speedbench: Speedbench, edited: Edited
) -> None:
    edited("0009_apart", lambda record: record["metrics"]["speedup"].update(low=None, high=None))
    result = speedbench("compare", "1", "9", *AT_10)
    assert "no intervals: the arms did not alternate" in result.words


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_rounds_are_not_gated(
    speedbench: Speedbench, edited: Edited, seconds: float
) -> None:
    edited("0009_odd", lambda record: record["rounds"][0].update(seconds=seconds))
    result = speedbench("compare", "1", "9", "--fail", "output_tps:5%")
    assert result.code == 2  # nothing else was compared either
    assert "output_tps: not gated, a round of " in result.words


# -- what OLD and NEW may be ----------------------------------------------------------------


def test_file_name_number_commit_and_branch(speedbench: Speedbench, saved: Path) -> None:
    for old in (saved / "0001_base.json", "0001_base", "base", "1", "at-base", "HEAD~1"):
        assert "OLD  0001 of" in speedbench("compare", old, "2", *AT_10).out


def test_storage_elsewhere(
    speedbench: Speedbench, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for storage in (project / ".benchmarks", f"file://{project / '.benchmarks'}"):
        assert speedbench("compare", "1", "2", *AT_10, "--storage", storage).code == 0
    far = speedbench("compare", "1", "2", "--storage", "elasticsearch+http://host")
    assert (far.code, "use a folder, s3:" in far.err) == (2, True)


def test_unknown_reference(speedbench: Speedbench) -> None:
    result = speedbench("compare", "1", "nothing-like-it")
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("speedbench: nothing-like-it: no file, no run number or name in ")
    assert "Saved: 0001_base, 0002_same, 0003_worse, 0004_longer" in result.err


def test_a_table_of_averages_is_no_run(speedbench: Speedbench, tmp_path: Path) -> None:
    table = tmp_path / "golden.yaml"
    table.write_text("acceptance_length: 2.4\n")
    result = speedbench("compare", table, "1")
    assert result.code == 2
    assert "golden.yaml is not a saved run: a table of averages has no requests" in result.err


def test_file_cut_in_half(speedbench: Speedbench, saved: Path) -> None:
    path = saved / "0001_base.json"
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    before = path.read_bytes()
    result = speedbench("compare", "1", "2")
    assert (result.code, result.out) == (2, "")
    assert f"speedbench: {path.relative_to(Path.cwd())} is not JSON" in result.err
    assert "was it cut off? Restore it, or delete it" in result.err
    assert path.read_bytes() == before
    by_commit = speedbench("compare", "at-same", "3")
    assert "skipped: " in by_commit.err
    assert "is not JSON" in by_commit.err


def test_future_schema(speedbench: Speedbench, edited: Edited) -> None:
    edited("0009_future", lambda record: record.update(schema=99))
    result = speedbench("compare", "9", "1")
    assert result.code == 2
    assert f"written by a later version (schema 99, this one reads up to {SCHEMA})" in result.err
    assert "pip install --upgrade pytest-speedbench" in result.err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"benchmarks": []}', "holds no records of pytest-speedbench"),
        ('{"benchmarks": [{"name": "x", "extra_info": {}}], "commit_info": 3}', "holds no records"),
        ('{"rows": []}', "is not a file of pytest-benchmark: it has no list 'benchmarks'"),
        ("[1, 2]", "is not a file of pytest-benchmark"),
        ("\x00\x01", "is not JSON"),
    ],
)
def test_foreign_file(speedbench: Speedbench, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "foreign.json"
    path.write_text(text)
    result = speedbench("compare", path, "1")
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert "Traceback" not in result.err


def test_damaged_requests_are_incomparable(speedbench: Speedbench, edited: Edited) -> None:
    edited("0009_damaged", lambda record: record["requests"][0].update(ids="AAAA"))
    result = speedbench("compare", "9", "1")
    assert result.code == 1
    assert "its requests are damaged" in result.words


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fail", "latency:2%"), "--fail: cannot read 'latency:2%'"),
        (("--fail", "acceptance_length:200%"), "expected a share above 0 and below 100%"),
        (("--alpha", "2"), "--alpha: cannot read '2'"),
        (("--inconclusive", "perhaps"), "perhaps"),
        (("--nonsense",), "No such option"),
    ],
)
def test_wrong_usage(speedbench: Speedbench, options: tuple[str, ...], message: str) -> None:
    result = speedbench("compare", "1", "2", *options)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_missing_argument(speedbench: Speedbench) -> None:
    result = speedbench("compare", "1")
    assert result.code == 2
    assert "Missing argument" in result.err


# -- how it looks ---------------------------------------------------------------------------


def test_fits_eighty_columns(speedbench: Speedbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = speedbench("compare", "1", "3", "--fail", "acceptance_length:2%,speedup:5%")
    assert max(map(len, result.out.splitlines())) <= 80
    assert "…" not in result.out.replace(" … ", "")  # nothing was cut off


def test_text_of_files_is_escaped(speedbench: Speedbench, saved: Path) -> None:
    path = saved / "0001_base.json"
    data = json.loads(path.read_text())
    for benchmark in data["benchmarks"]:
        record = benchmark["extra_info"]["speedbench"]
        record["case"]["model"] = "\x1b[31msim[/red]"
        record["case"]["slice"] = f"\x1b[1m{record['case']['slice']}"
        record["engine"]["version"] = "9\x1b]0;owned\x07"
    evil = saved / "0009_evil.json"
    evil.write_text(json.dumps(data))
    result = speedbench("compare", "9", "9")
    assert "\x1b" not in result.out
    assert "\\x1b[31msim[/red]" in result.out
    assert "\\x1b[1malpha" in result.out
    assert "\x1b" not in speedbench("compare", "9", "1").out


def test_partial_runs_are_said_to_be(speedbench: Speedbench, edited: Edited) -> None:
    edited("0009_partial", lambda record: record.update(partial=True))
    assert "note: NEW was stopped early" in speedbench("compare", "1", "9", *AT_10).out


def test_what_changed_is_printed_once_a_run(speedbench: Speedbench) -> None:
    printed = speedbench("compare", "base", "worse").out
    changed = [line.strip() for line in printed.splitlines() if "changed:" in line]
    assert changed == ["changed: acceptance: – → 0.3", "changed: draft_ms: – → 2"]
    assert "changed:" not in speedbench("compare", "base", "same", *AT_10).out


def test_engine_versions_are_named(speedbench: Speedbench, edited: Edited) -> None:
    edited("0009_new", lambda record: record["engine"].update(version="2"))
    assert "changed: engine.version: 1 → 2" in speedbench("compare", "1", "9", *AT_10).out


def test_what_changed_in_every_run_is_said_once(speedbench: Speedbench, saved: Path) -> None:
    for source, name, extra in (
        ("0001_base", "0008_two", {}),
        ("0003_worse", "0009_two", {"x": 1}),
    ):
        data = json.loads((saved / f"{source}.json").read_text())
        again = copy.deepcopy(data["benchmarks"])
        for benchmark in again:
            record = benchmark["extra_info"]["speedbench"]
            record["case"]["bs"] = 2
            record["engine"]["args"] |= extra
        data["benchmarks"] += again
        (saved / f"{name}.json").write_text(json.dumps(data))
    result = speedbench("compare", "8", "9")
    shown = re.findall(r"changed: (\S+): ", result.out)
    assert shown.count("acceptance") == 1
    assert shown.count("x") == 1
    assert shown.index("x") < shown.index("acceptance")
