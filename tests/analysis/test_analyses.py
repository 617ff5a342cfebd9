"""Each analysis on records of known composition: its table, its assertion, its command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pytest_speedbench.analysis.bias import bias
from pytest_speedbench.analysis.categories import categories
from pytest_speedbench.analysis.engines import engines
from pytest_speedbench.analysis.length import length
from pytest_speedbench.analysis.pareto import pareto
from pytest_speedbench.analysis.synthetic import synthetic
from pytest_speedbench.analysis.table import Column, Table, cell, shared, text_rows
from pytest_speedbench.analysis.tuning import tuning
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.cli import app
from pytest_speedbench.errors import GateFailure, NoData
from pytest_speedbench.report.figures import draw
from pytest_speedbench.stats import Estimate
from tests.compare.saved_runs import record, save


def metric(value: float, half: float = 0.05, unit: str = "") -> dict[str, Any]:
    low, high = value * (1 - half), value * (1 + half)
    return {"value": value, "low": low, "high": high, "n": 20, "level": 0.95, "unit": unit}


def case(slice_name: str = "all", **changes: Any) -> Record:
    """A record; ``al``, ``tps``, ``user`` and ``speedup`` are its metrics, others its fields."""
    names = {
        "al": "acceptance_length",
        "tps": "output_tps",
        "user": "user_tps",
        "speedup": "speedup",
        "plain": "reference_tps",
    }
    metrics = {names[k]: metric(changes.pop(k)) for k in list(changes) if k in names}
    key = {k: changes.pop(k) for k in ("engine", "split") if k in changes}
    found = record(slice_name, **changes)
    split = found.split.model_copy(update={"name": key.get("split", "qualitative")})
    return found.model_copy(
        update={
            "case": found.case.model_copy(update=key),
            "split": split,
            "metrics": {
                k: Record.model_validate(_with(found, k, v)).metrics[k] for k, v in metrics.items()
            },
        }
    )


def _with(found: Record, name: str, value: dict[str, Any]) -> dict[str, Any]:
    data = found.model_dump(mode="json", by_alias=True)
    return {**data, "metrics": {name: value}}


def test_categories_are_listed_by_draft_length() -> None:
    found = categories([case("math", al=2.5), case("qa", al=1.8), case("math", al=2.9, dl=5)])
    rows = [(r["slice"], r["dl"]) for r in found.table.rows]
    assert rows == [("math", 3), ("qa", 3), ("math", 5)]
    found.assert_at_least(1.8)
    with pytest.raises(GateFailure, match=r"AL below 2: qa 1\.80 \(at most 1\.89\)"):
        found.assert_at_least(2.0)


def test_categories_need_speculation() -> None:
    with pytest.raises(NoData, match="no record with speculative decoding"):
        categories([case("math", al=1.0, method="none")])


def test_bias_pairs_each_category_with_its_nearest() -> None:
    ours = [case("multilingual", al=2.0), case("coding", al=3.0)]
    theirs = [
        case("translation", al=2.6, split="spec_bench"),
        case("roleplay", al=9.0, split="spec_bench"),
    ]
    found = bias(ours, theirs)
    (row,) = found.table.rows
    assert (row["slice"], row["partner"]) == ("multilingual", "translation")
    assert isinstance(row["ratio"], Estimate)
    assert row["ratio"].value == pytest.approx(1.3)
    found.assert_within(0.3)
    with pytest.raises(GateFailure, match=r"more than 20%: multilingual \+30\.0%"):
        found.assert_within(0.2)


def test_bias_needs_the_same_setting() -> None:
    with pytest.raises(NoData, match="same engine, model, method, DL and BS"):
        bias([case("math", al=2.0)], [case("math", al=2.0, dl=5)])


def test_random_input_stands_beside_real_text_of_its_length() -> None:
    runs = [
        case(tps=100.0, split="throughput_2k"),
        case(tps=130.0, split="random_2k"),
        case(tps=999.0, split="random_8k"),
    ]
    found = synthetic(runs)
    (row,) = found.table.rows
    assert (row["isl"], row["bs"]) == (2048, 4)
    assert isinstance(row["output_tps"], Estimate)
    assert row["output_tps"].value == pytest.approx(1.3)
    found.assert_overstates_at_most(0.3)
    with pytest.raises(GateFailure, match=r"ISL 2048 BS 4 \+30%"):
        found.assert_overstates_at_most(0.1)
    with pytest.raises(NoData, match="throughput_1k,random_1k"):
        synthetic(runs[1:])


def test_the_frontier_and_the_crossover() -> None:
    runs = [
        case(bs=1, tps=50.0, user=50.0, speedup=1.5, plain=33.0),
        case(bs=8, tps=200.0, user=30.0, speedup=0.8, plain=250.0),
    ]
    found = pareto(runs)
    frontier = {(p.run, p.bs) for p in found.points if p.on_frontier}
    assert ("no SD", 8) in frontier
    assert ("eagle3", 8) not in frontier
    assert found.crossover("eagle3", 3) == 8
    assert found.table.notes == ("eagle3 DL 3: no faster than no SD from BS 8 on",)
    found.assert_faster_up_to(1)
    with pytest.raises(GateFailure, match=r"eagle3 DL 3 BS 8 0\.80x"):
        found.assert_faster_up_to(8)


def test_runs_without_sd_of_several_models_are_several() -> None:
    timed = {"tps": 50.0, "user": 50.0, "speedup": 1.5, "plain": 33.0}
    small, large = case(**timed), case(**timed)
    key = large.case.model_copy(update={"model": "large"})
    found = pareto([small, large.model_copy(update={"case": key})])
    assert {point.run for point in found.points if not point.dl} == {"no SD m", "no SD large"}
    assert not found.table.notes


def test_one_of_several_runs_without_sd_is_shown_and_it_is_said() -> None:
    first = case(dl=1, tps=50.0, user=50.0, speedup=1.5, plain=33.0)
    second = case(dl=3, tps=60.0, user=60.0, speedup=1.5, plain=40.0)
    found = pareto([first, second])
    assert [p.output_tps for p in found.points if not p.dl] == [33.0]
    (note,) = found.table.notes
    assert note.startswith("several runs without SD of one batch size, the first is shown")


@pytest.mark.parametrize("analysis", [categories, pareto, length, tuning, engines])
def test_a_case_that_was_measured_again_is_shown_once(analysis: Any) -> None:
    """Otherwise two lines have one name, or the same samples count twice."""
    timed = {"al": 2.0, "user": 30.0, "speedup": 1.2, "plain": 80.0}
    runs = [lengthened(size, 0.6, 7) for size in (1024, 16384)] if analysis is length else []
    runs += [case(dl=dl, tps=100.0 + dl, **timed) for dl in (1, 3)]
    if analysis is engines:
        runs.append(case(dl=3, tps=90.0, engine="sglang", **timed))
    once, twice = analysis(runs).table, analysis([*runs, runs[0].model_copy()]).table
    assert len(twice.rows) == len(once.rows)
    first = f"{runs[0].case.engine} eagle3 DL {runs[0].case.dl} BS {runs[0].case.bs}"
    assert f"measured again, the last is shown: {first}" in twice.notes
    assert not any("measured again" in note for note in once.notes)


def test_output_is_counted_per_gpu() -> None:
    run = case(tps=400.0, user=20.0)
    engine = run.engine.model_copy(update={"args": {"tensor_parallel_size": 4}})
    (point, _) = pareto(
        [run.model_copy(update={"engine": engine}), case(bs=1, tps=9.0, user=9.0)]
    ).points
    assert {p.output_tps for p in (point, _)} == {100.0, 9.0}


def lengthened(tokens: int, accept: float, seed: int) -> Record:
    found = record("mixed", seed=seed, accept=accept)
    requests = [
        r.model_copy(update={"prompt_tokens": tokens, "category": "mixed"}) for r in found.requests
    ]
    key = found.case.model_copy(update={"split": f"throughput_{tokens // 1024}k"})
    return found.model_copy(update={"case": key, "requests": requests})


def test_al_that_falls_with_the_input_is_found() -> None:
    runs = [
        lengthened(size, accept, size) for size, accept in ((1024, 0.75), (4096, 0.5), (16384, 0.2))
    ]
    found = length(runs)
    (curve,) = found.curves
    assert (curve.slope.shortest, curve.slope.longest, len(curve.samples)) == (1024, 16384, 120)
    with pytest.raises(GateFailure, match=r"mixed -\d+\.\d% from 1,024 to 16,384 tokens"):
        found.assert_no_fall(0.2)
    length([lengthened(size, 0.6, 7) for size in (1024, 16384)]).assert_no_fall(0.05)


def test_engines_are_paired_sample_by_sample() -> None:
    first = [case(al=2.0, tps=100.0, engine="vllm")]
    second = [case(al=2.0, tps=150.0, engine="sglang")]
    found = engines([*first, *second])
    (row,) = found.table.rows
    assert found.names == ("vllm", "sglang")
    assert isinstance(row["al_ratio"], Estimate)
    assert row["al_ratio"].value == pytest.approx(1.0)
    found.assert_equal_within(0.01)
    worse = case(al=1.5, engine="sglang", accept=0.3)
    with pytest.raises(GateFailure, match="AL of sglang differs from vllm by more than 5%: all"):
        engines([*first, worse]).assert_equal_within(0.05)


def test_runs_that_two_engines_do_not_share_are_named() -> None:
    first = [case(al=2.0, engine="vllm"), case(al=1.5, engine="vllm", dl=5)]
    second = [case(al=1.2, engine="sglang"), case(al=1.9, engine="sglang")]
    found = engines([*first, *second]).table
    (row,) = found.rows
    assert isinstance(row["al_second"], Estimate)
    assert row["al_second"].value == pytest.approx(1.9)
    bs = first[0].case.bs
    assert found.notes == (
        f"only on vllm: eagle3 DL 5 BS {bs}",
        f"measured again, the last is shown: sglang eagle3 DL 3 BS {bs}",
    )


def test_runs_at_another_temperature_are_no_pair() -> None:
    runs = [case(al=2.0, engine=name) for name in ("vllm", "sglang")]
    key = runs[1].case.model_copy(update={"temperature": 1.0})
    with pytest.raises(NoData, match=r"vllm and sglang share no case: .* sampling"):
        engines([runs[0], runs[1].model_copy(update={"case": key})])


@pytest.mark.parametrize(
    ("dtypes", "differ"),
    [
        (("bfloat16", "auto"), False),
        (("unknown", "float16"), False),
        (("bfloat16", "float16"), True),
    ],
)
def test_a_dtype_that_an_engine_does_not_report_is_no_difference(
    dtypes: tuple[str, str], differ: bool
) -> None:
    runs = [case(al=2.0, engine=name) for name in ("vllm", "sglang")]
    settings = [
        run.engine.model_copy(update={"dtype": d}) for run, d in zip(runs, dtypes, strict=True)
    ]
    table = engines(
        [run.model_copy(update={"engine": e}) for run, e in zip(runs, settings, strict=True)]
    ).table
    assert any("dtype" in note for note in table.notes) is differ


def test_two_engines_are_needed() -> None:
    with pytest.raises(NoData, match="expected runs of two engines, got vllm"):
        engines([case(al=2.0)])


def test_a_cell_has_value_and_interval() -> None:
    table = bias([case("math", al=2.0)], [case("math", al=3.0, split="other")]).table
    by_title = dict(zip((c.title for c in table.columns), text_rows(table)[0], strict=True))
    assert by_title["AL, qualitative"] == "2.00 [1.90, 2.10]"
    assert by_title["difference"].startswith("+50.0% [")
    assert cell(None, table.columns[0]) == "–"


COMMANDS = {
    "categories": ((case("math", al=2.5), case("math", al=2.9, dl=5)), ("--at-least", "2.8")),
    "synthetic": (
        (case(tps=100.0, split="throughput_2k"), case(tps=130.0, split="random_2k")),
        ("--fail", "10%"),
    ),
    "pareto": (
        (case(bs=8, tps=200.0, user=30.0, speedup=0.8, plain=250.0),),
        ("--faster-up-to", "8"),
    ),
    "length": (
        (lengthened(1024, 0.8, 1), lengthened(16384, 0.2, 2)),
        ("--fail", "5%"),
    ),
    "engines": (
        (case(al=2.0, engine="vllm"), case(al=1.4, engine="sglang", accept=0.2)),
        ("--fail", "5%"),
    ),
}


def test_a_bar_without_an_interval_has_no_whiskers() -> None:
    def marks(low: float | None, high: float | None) -> int:
        runs = [case(al=2.0, engine=name) for name in ("vllm", "sglang")]
        al = runs[0].metrics["acceptance_length"].model_copy(update={"low": low, "high": high})
        bounded = [r.model_copy(update={"metrics": {"acceptance_length": al}}) for r in runs]
        return draw(engines(bounded), ".svg").count(b"<use ")

    assert marks(2.0, 2.0) - marks(None, None) == 4  # an upper and a lower end on each bar


@pytest.mark.parametrize("name", COMMANDS)
def test_the_command_writes_table_figure_and_numbers(name: str, tmp_path: Path) -> None:
    records, check = COMMANDS[name]
    run = save(tmp_path / "0001_run.json", records)
    figure, numbers = tmp_path / "figure.png", tmp_path / "numbers.json"
    files = ["--plot", str(figure), "--json", str(numbers)]
    done = CliRunner().invoke(app, ["analyze", name, str(run), *files])
    assert done.exit_code == 0, done.output
    assert figure.read_bytes().startswith(b"\x89PNG")
    data = json.loads(numbers.read_text())
    assert data["analysis"] == name
    assert data["rows"]
    failed = CliRunner().invoke(app, ["analyze", name, str(run), *check])
    assert failed.exit_code == 1
    assert "fail: " in failed.stdout


def test_bias_takes_another_run(tmp_path: Path) -> None:
    ours = save(tmp_path / "0001_a.json", [case("math", al=2.0)])
    theirs = save(tmp_path / "0002_b.json", [case("math", al=3.0, split="other")])
    figure = tmp_path / "figure.svg"
    arguments = ["analyze", "bias", str(ours), "--against", str(theirs), "--plot", str(figure)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0
    assert "+50.0%" in done.stdout
    assert "<svg" in figure.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--plot", "figure.gif"],
            "--plot: expected a path that ends in .png, .svg, .pdf, got '.gif'",
        ),
        (["--plot", "run.json/figure.png"], "is a file, and a folder is expected"),
        (["--fail", "a lot"], "--fail: cannot read 'a lot'"),
    ],
)
def test_what_cannot_be_written_or_read_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "run.json", [lengthened(1024, 0.8, 1), lengthened(2048, 0.8, 2)])
    done = CliRunner().invoke(app, ["analyze", "length", "run.json", *arguments])
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def test_a_column_of_marks_is_no_setting_that_all_rows_share() -> None:
    columns = (Column("bs", "BS"), Column("mark", "", "text"))
    found = Table("tune", "title", columns, ({"bs": 1, "mark": "tied"}, {"bs": 1, "mark": "tied"}))
    assert shared(found) == {"BS": "1"}
