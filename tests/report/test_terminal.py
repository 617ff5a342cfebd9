"""The end of a session in the terminal: 80 columns, nothing twice, details where they matter."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.attribution import Attribution, Factor
from pytest_speedbench.compare.changes import Change
from pytest_speedbench.compare.results import CaseResult, SessionResults
from pytest_speedbench.compare.verdict import Outcome
from pytest_speedbench.report.folding import WIDEST
from pytest_speedbench.report.grid import grids
from pytest_speedbench.report.terminal import summary_lines
from pytest_speedbench.report.terminal_lines import COMMAND
from tests.report.conftest import estimate, record, result

CATEGORIES = ("coding", "summarization", "all")
LONG = "AL changed by -6.28% over the baseline's text; " * 4


def lines(results: SessionResults, width: int = 120) -> list[str]:
    return [line.text for line in summary_lines(results, width)]


def sweep(*outcomes: Outcome) -> list[CaseResult]:
    """Nine runs; the first has the outcomes."""
    return [
        result(
            record(name, dl, bs, metrics={"speedup": estimate(1 + dl / 10, 1.0, 2.0)}),
            *(outcomes if (dl, bs) == (1, 1) else (Outcome.PASS,)),
            reason=LONG,
            baseline=record(name, dl, bs, metrics={"acceptance_length": estimate(2.7)}),
        )
        for dl in (1, 3, 5)
        for bs in (1, 8, 32)
        for name in CATEGORIES
    ]


@pytest.mark.parametrize("outcome", Outcome)
@pytest.mark.parametrize("runs", [1, 9])
def test_no_line_is_wider_than_80_columns_or_repeats_another(outcome: Outcome, runs: int) -> None:
    cases = sweep(outcome)[: runs * len(CATEGORIES)]
    for case in cases:
        case.changes = (Change("engine.version", "0.31.0", "0.32.0"),)
        case.attribution = Attribution(
            Factor("speedup", 0.8, 0.7, 0.9), (Factor("AL (drafter)", 0.8, 0.7, 0.9),), 5, "0001"
        )
    found = lines(SessionResults(cases, family="α = 0.01 for a false fail " * 5, comparing=True))
    assert max(map(len, found)) <= WIDEST
    repeated = {text: n for text, n in Counter(filter(str.strip, found)).items() if n > 1}
    assert not {text for text in repeated if set(text.strip()) != {"─"}}


@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize(
    ("old", "coverage", "over"),
    [
        (estimate(2.6), 0.96, "the tokens that were compared"),
        (estimate(2.6) | {"n": 12}, 1.0, "the samples of both runs"),
        (estimate(2.52), 0.96, ""),  # 2.50 / 2.52 is the change as far as two digits show it
    ],
)
def test_a_change_that_the_al_beside_it_do_not_give_says_over_what_it_is(
    runs: int, old: dict[str, object], coverage: float, over: str
) -> None:
    cases = [
        result(
            record("all", bs=bs),
            Outcome.UNDECIDED,
            baseline=record("all", bs=bs, metrics={"acceptance_length": old}),
        )
        for bs in range(1, runs + 1)
    ]
    for case in cases:
        case.verdicts = [replace(case.verdicts[0], coverage=coverage)]
    found = [line.strip() for line in lines(SessionResults(cases)) if "  change: over" in line]
    assert found == [f"change: over {over}; AL: over each run's own outputs"] * bool(over)


def test_without_any_baseline_the_table_has_no_columns_of_the_gate() -> None:
    cases = [result(record(name), Outcome.NO_BASELINE) for name in CATEGORIES]
    shown = lines(SessionResults(cases))
    titles = ["category", "n", "AL", "95%", "macro", "engine", "acc."]
    assert titles in [line.split() for line in shown]
    assert any(line.startswith("gate: 3 no baseline") for line in shown)


def test_a_sweep_is_a_grid_with_the_best_marked() -> None:
    found = lines(SessionResults(sweep(Outcome.PASS)))
    rows = [" ".join(line.split()) for line in found]
    assert "BS 1 BS 8 BS 32" in rows
    assert "no SD 100 tok/s 800 tok/s 3,200 tok/s" in rows
    assert "DL 1 2.50 1.10x 2.50 1.10x 2.50 1.10x" in rows
    assert "DL 5 2.50 1.50x* 2.50 1.50x* 2.50 1.50x*" in rows
    assert not any(line.lstrip().startswith("summarization") for line in found)
    assert len(found) < 20


def test_speedups_against_several_runs_without_sd_say_so() -> None:
    """Under pytest-xdist each worker measures its own; a column may hold speedups of both."""
    note = "several runs without SD of one batch size"

    def grid(*plain: float) -> list[str]:
        cases = [
            result(record("all", dl, metrics={"reference_tps": estimate(tps)}))
            for dl, tps in zip((1, 3), plain, strict=True)
        ]
        return [" ".join(line.split()) for line in lines(SessionResults(cases))]

    shared, apart = grid(100.2, 100.3), grid(100.0, 112.0)
    assert "no SD 100 tok/s" in shared
    assert not any(note in line for line in shared)
    assert "no SD 100–112 tok/s" in apart
    assert any(note in line for line in apart)


def test_cases_without_a_baseline_for_like_reasons_are_told_once() -> None:
    why = "the nearest has dl 7 (here {}), slice {} (here {})"
    cases = [
        result(record(name, dl), Outcome.NO_BASELINE, reason=why.format(dl, other, name))
        for dl in (1, 3, 5)
        for name, other in (("math", "qa"), ("qa", "prefix_caching off"))
    ]
    found = " ".join(" ".join(lines(SessionResults(cases))).split())
    assert found.count("no baseline: ") == 1
    first = "no baseline: the nearest has dl 7 (here 1), slice qa (here math)"
    assert f"{first} (5 more cases without one)" in found


def test_a_grid_without_speedups_says_so() -> None:
    cases = [result(record("all", dl)) for dl in (1, 3)]
    assert "eagle3: AL and speedup, * best of its BS" in lines(SessionResults(cases))
    for case in cases:
        metrics = {n: m for n, m in case.record.metrics.items() if n == "acceptance_length"}
        case.record = case.record.model_copy(update={"metrics": metrics})
    assert "eagle3: AL" in lines(SessionResults(cases))


def test_many_batch_sizes_continue_below() -> None:
    cases = [result(record("all", dl, bs)) for dl in (1, 3) for bs in (1, 2, 4, 8, 16, 32, 64)]
    found = lines(SessionResults(cases))
    assert sum(line.split()[:2] == ["DL", "3"] for line in found) == 2
    assert max(map(len, found)) <= WIDEST


def test_a_sweep_details_what_failed_alone() -> None:
    found = lines(SessionResults(sweep(Outcome.FAIL)))
    assert sum("· BS 1" in line for line in found) == 1
    assert not any("DL 3 · head" in line for line in found)
    assert any(line.split()[:4] == ["summarization", "8", "2.70", "2.50"] for line in found)
    reasons = [line for line in found if line.startswith("  fail: all, coding, summarization:")]
    assert len(reasons) == 1


def test_skips_are_counted_with_their_reason() -> None:
    found = lines(SessionResults(skipped={"vllm is not installed": 12}))
    assert found == ["12 skipped: vllm is not installed"]


def test_files_are_named_whole() -> None:
    path = "/a/very/long/folder/" * 8 + "0001_x.json"
    found = lines(SessionResults([result(record())], saved=[path], report="r.html"))
    assert f"saved: {path}" in found
    assert "report: r.html" in found


def test_a_command_names_its_own_way_to_the_rest() -> None:
    reasons = enumerate(("a", "b", "c", "d", "e"))
    cases = [result(record(f"s{n}"), Outcome.UNDECIDED, reason=why) for n, why in reasons]
    cases[0].changes = tuple(Change(f"engine.args.{n}", "1", "2") for n in range(6))
    for everything, named in (
        ((), ("--speed-summary=PATH.md", "--speed-report=PATH.html")),
        ((COMMAND,), ("report RUN --markdown PATH.md", "report RUN --html PATH.html")),
    ):
        found = [line.text for line in summary_lines(SessionResults(cases), WIDEST, *everything)]
        rest = [text for text in found if "more" in text]
        assert all(any(name in text for text in rest) for name in named), rest


def test_many_verdicts_that_test_nothing_are_a_number() -> None:
    cases = [result(record(name), reason="few") for name in CATEGORIES]
    for number, case in enumerate(cases):
        verdict = result(record(), Outcome.NOT_GATED, reason="abc"[number]).verdicts[0]
        case.verdicts.append(replace(verdict, metric="assert"))
    found = lines(SessionResults(cases))
    assert "  … and 2 more not gated (all in --speed-summary=PATH.md)" in found


def test_the_points_of_a_grid_say_once_what_they_share() -> None:
    """Nine runs fail, each with numbers of its own, for one cause."""
    cases = []
    for number, (dl, bs) in enumerate((dl, bs) for dl in (1, 3, 5) for bs in (1, 8, 32)):
        case = result(record("all", dl, bs), Outcome.FAIL, reason=f"AL changed by -{9 - number}%")
        case.verdicts[0] = replace(
            case.verdicts[0], ratio=0.91 + number / 100, shown_low=None, shown_high=0.95
        )
        case.changes = (Change("engine.version", "0.31", "0.32"),)
        if number == 4:
            case.changes += (Change("engine.args.x", None, "1"),)
        cases.append(case)
    found = lines(SessionResults(cases, comparing=True))
    rows = [line for line in found if "fail, lost at least 5.00%" in line]
    assert [row.split()[1] for row in rows] == ["1"] * 3 + ["3"] * 3 + ["5"] * 3
    text = " ".join(" ".join(found).split())
    assert text.count("AL changed by") == 1
    assert "fail: DL 1 · BS 1: AL changed by -9% (likewise DL 1 · BS 8, DL 1 · BS 32, " in text
    assert text.count("changed: engine.version") == 1
    assert "changed: engine.args.x: – → 1 (DL 3 · BS 8)" in text


@pytest.mark.parametrize(
    ("outcome", "baseline", "printed"),
    [
        (Outcome.FAIL, "0001", True),
        (Outcome.DEGENERATE, "0001", True),
        (Outcome.FAIL, "", False),  # of an assert: no baseline makes it pass
        (Outcome.PASS, "0001", False),
    ],
)
def test_promoting_is_offered_where_it_changes_the_verdict(
    outcome: Outcome, baseline: str, printed: bool
) -> None:
    case = result(record("all"), outcome)
    case.verdicts[:] = [replace(verdict, baseline=baseline) for verdict in case.verdicts]
    results = SessionResults([case], saved=[".benchmarks/machine/0002_worse.json"])
    offered = "intended? accept it: speedbench baseline promote 0002_worse --reason TEXT"
    assert (offered in lines(results)) is printed


def test_a_category_that_is_not_gated_has_its_bound_where_there_is_one() -> None:
    gate = {"alpha": 0.01, "cases": 4, "reach": 0.12, "beside_all": True}
    found = (("math", 0.80, None), ("qa", 0.90, 0.7), ("qa", 0.95, 0.8))

    def case(name: str, dl: int, ratio: float, low: float | None) -> CaseResult:
        made = result(record(name, dl, gate=gate), Outcome.NOT_GATED)
        made.verdicts[:] = [replace(made.verdicts[0], ratio=ratio, low=low)]
        return made

    one_run = [case(name, 3, ratio, low) for name, ratio, low in found[:2]]
    runs = [case(name, dl, ratio, low) for dl, (name, ratio, low) in enumerate(found, 1)]
    for cases, names in (
        (one_run, "math, qa lost at most 30.00%"),
        (runs, "math -20.00%, qa -10.00% (lost at most 30.00%)"),
    ):
        text = " ".join(" ".join(lines(SessionResults(cases, comparing=True))).split())
        assert f"too few samples to gate each category: {names}; " in text


@pytest.mark.parametrize("order", [1, -1])
def test_an_untimed_run_does_not_hide_the_speedup_of_its_point(order: int) -> None:
    soak = record("all", 3, metrics={"speedup": None, "reference_tps": None})
    timed = record("all", 3, metrics={"speedup": estimate(1.59, 1.5, 1.7)})
    (grid,) = grids([soak, timed, record("all", 1)][::order])
    ((shown,),) = (cells for name, cells in grid.rows if name == "DL 3")
    assert str(shown) == "2.50 1.59x"


def test_runs_of_several_settings_say_how_many_have_each() -> None:
    cases = [result(record("all", bs=bs)) for bs in (1, 2, 4)]
    agentic = {"name": "agentic", "version": "1", "digest": "d2", "samples": 8}
    cases.append(result(record("all", bs=8, split=agentic)))
    head = " ".join(map(str.strip, lines(SessionResults(cases))[:2]))
    assert head == (
        "4 runs of m · eagle3 · DL 3 · head: vllm 0.32.0, bfloat16 on cpu; max_tokens 128, greedy; "
        "split qualitative 1 (d1) in 3, split agentic 1 (d2) in 1"
    )


def test_runs_with_and_without_a_prefix_cache_are_no_points_of_one_grid() -> None:
    def at(bs: int, *, cached: bool) -> Record:
        found = record("all", bs=bs)
        case = found.case.model_copy(update={"prefix_caching": cached})
        return found.model_copy(update={"case": case})

    found = grids([at(bs, cached=cached) for bs in (1, 8) for cached in (False, True)])
    assert [grid.title for grid in found] == ["eagle3", "eagle3 · cached"]


def test_notes_that_differ_in_numbers_name_their_runs() -> None:
    loops = "{} of 318 answers repeat themselves"
    cases = [
        result(record("all", bs=bs, notes=["repeated", loops.format(bs)])) for bs in (1, 8, 32)
    ]
    shown = [line for line in lines(SessionResults(cases)) if line.startswith("note: ")]
    assert shown == [
        "note: repeated",
        f"note: BS 1: {loops.format(1)} (likewise BS 8, BS 32)",
    ]


def test_of_reasons_alike_the_whole_split_has_its_numbers() -> None:
    cases = [
        result(record(name), Outcome.UNDECIDED, reason=f"about {n} more samples")
        for name, n in (("math", 40), ("qa", 50), ("all", 60))
    ]
    assert "  undecided: all: about 60 more samples (likewise math, qa)" in lines(
        SessionResults(cases)
    )
