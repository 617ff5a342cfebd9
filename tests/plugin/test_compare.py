"""The gate: every comparison with a saved run ends in one word, and some words fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench import compare
from pytest_speedbench.compare.gate import healthy_divergence
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.stats.rule import REACH
from pytest_speedbench.stats.simulation import upper_limit

from .conftest import EngineLog, Project, text_of

COMPARE = "--speed-compare"
WIDE = "--speed-compare-fail=acceptance_length:25%"


@pytest.fixture
def saved(project: Project, kept: Path) -> Project:
    """A project of 40 samples with one saved run, enough to decide about a margin of 10%."""
    project.ini |= {"speed_split": "s.jsonl", "speed_samples": "all", "speed_max_tokens": "24"}

    def make() -> None:
        project.split("s.jsonl", 40)
        project.gate("bs=8")
        project.run("--benchmark-save=base").assert_outcomes(passed=1)

    project.once(kept / "saved", make)
    return project


# -- no baseline ------------------------------------------------------------------------------


def test_the_first_run_says_no_baseline_passes_and_records_one(project: Project) -> None:
    project.gate()
    result = project.run(COMPARE)
    result.assert_outcomes(passed=1)
    assert "gate: 1 no baseline" in result.stdout.str()
    assert len(project.saved) == 1
    assert "compared" not in text_of(result).replace("nothing compared", "")


def test_the_second_run_compares_with_the_first(project: Project) -> None:
    project.gate()
    project.run(COMPARE)
    result = project.run(COMPARE)
    result.stdout.re_match_lines([r"gate: 1 undecided \(against 0001 of \d{4}-\d\d-\d\d \d\d:\d\d"])
    assert len(project.saved) == 1


def test_a_missing_baseline_can_be_required(project: Project) -> None:
    project.gate()
    result = project.run(COMPARE, "--speed-require-baseline")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*acceptance_length: no baseline: no record of this case*", "*--benchmark-autosave*"]
    )


def test_a_required_baseline_alone_is_a_wish_to_compare(project: Project) -> None:
    project.gate()
    project.run("--speed-require-baseline").assert_outcomes(failed=1)


def test_a_new_case_beside_known_ones_has_no_baseline(saved: Project) -> None:
    saved.gate("bs=[8, 4]")
    result = saved.run(COMPARE, WIDE)
    result.assert_outcomes(passed=2)
    assert "gate: 1 pass, 1 no baseline" in result.stdout.str()
    assert len(saved.saved) == 2


# -- verdicts ---------------------------------------------------------------------------------


def test_pass(saved: Project) -> None:
    result = saved.run(COMPARE, WIDE)
    result.assert_outcomes(passed=1, warnings=0)
    assert "gate: 1 pass" in result.stdout.str()
    assert " math 40 " in text_of(result)


def test_fail(saved: Project) -> None:
    result = saved.run(COMPARE, "--speed-engine-arg=acceptance=0.3")
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            r"acceptance_length: fail \(-[\d.]+%, allowed -2.00%\): "
            r"simulated org/model eagle3 dl3 bs8 .*math",
            r"  baseline: 0001 of ",
        ]
    )
    assert "gate: 1 fail" in result.stdout.str()
    assert "traceback" not in result.stdout.str().lower()


def test_improved(saved: Project) -> None:
    result = saved.run(COMPARE, "--speed-engine-arg=acceptance=0.95")
    result.assert_outcomes(passed=1)
    assert "gate: 1 improved" in result.stdout.str()
    assert "the baseline is stale" in text_of(result)


@pytest.mark.parametrize(("what", "passed"), [("pass", 1), ("warn", 1), ("fail", 0)])
def test_undecided(saved: Project, what: str, passed: int) -> None:
    result = saved.run(COMPARE, f"--speed-inconclusive={what}")
    result.assert_outcomes(passed=passed, failed=1 - passed, warnings=int(what == "warn"))
    assert "gate: 1 undecided" in result.stdout.str()
    if what == "warn":
        result.stdout.fnmatch_lines(["*SpeedWarning: undecided: acceptance_length: see *"])


def test_an_equal_rerun_is_no_proof_at_a_margin_too_fine(saved: Project) -> None:
    """No observed difference is not certainty."""
    result = saved.run(COMPARE, "--speed-compare-fail=acceptance_length:0.5%")
    assert "gate: 1 undecided" in result.stdout.str()


@pytest.fixture
def rebuilt(saved: Project) -> Callable[..., pytest.RunResult]:
    """Saves a run with an arm without SD, and compares another build with it."""

    def compare(*arguments: str) -> pytest.RunResult:
        saved.run("--benchmark-save=one", "--speed-rounds=1", *arguments).assert_outcomes(passed=1)
        other = "--speed-engine-arg=build=2"
        wide = "--speed-compare-fail=acceptance_length:40%"
        return saved.run("--speed-compare=one", wide, other, "--speed-rounds=1", *arguments)

    return compare


def test_where_texts_diverge_whole_outputs_decide(
    rebuilt: Callable[..., pytest.RunResult],
) -> None:
    result = rebuilt("--speed-engine-arg=divergence=0.05")
    assert re.search("gate: 1 (pass|undecided)", result.stdout.str())


def test_the_healthy_rate_is_that_of_the_outputs_without_sd(saved: Project) -> None:
    saved.run("--benchmark-save=one", "--speed-rounds=1").assert_outcomes(passed=1)
    (record,) = saved.records()
    changed = [r.model_copy(update={"plain": "0"}) for r in record.requests[:3]]
    other = record.model_copy(update={"requests": [*changed, *record.requests[3:]]})
    assert healthy_divergence(record, record) == upper_limit(0, 40)
    assert healthy_divergence(record, other) == upper_limit(3, 40)
    saved.run("--benchmark-save=bare", "--speed-rounds=0").assert_outcomes(passed=1)
    (bare,) = saved.records()
    assert healthy_divergence(record, bare) is None


def test_texts_that_part_as_often_without_sd_are_healthy(
    rebuilt: Callable[..., pytest.RunResult],
) -> None:
    result = rebuilt("--speed-engine-arg=batch_ties=0.02")
    assert "healthy is" not in result.stdout.str()
    assert "gate: 1 pass" in result.stdout.str()


def test_how_rare_a_loss_is_reckoned_with_can_be_set(saved: Project) -> None:
    """A loss that spreads over nearly all samples would show in fewer of them."""
    assert Settings().reach == REACH
    margin = "--speed-compare-fail=acceptance_length:10%"
    assert "gate: 1 undecided" in saved.run(COMPARE, margin).stdout.str()
    assert "gate: 1 pass" in saved.run(COMPARE, margin, "--speed-reach=90%").stdout.str()
    refused = saved.run(COMPARE, "--speed-reach=2")
    refused.stderr.fnmatch_lines(["*--speed-reach: cannot read '2': expected a share*"])


def test_a_failing_assert_is_told_before_the_gate(saved: Project) -> None:
    saved.gate("bs=8", "assert speed.acceptance_length >= 3.9")
    result = saved.run(COMPARE, "--speed-engine-arg=acceptance=0.3")
    result.assert_outcomes(failed=1)
    assert "acceptance_length >= 3.9: measured" in result.stdout.str()


def test_assert_no_regression_compares_without_the_option(saved: Project) -> None:
    saved.gate("bs=8", "speed.assert_no_regression(acceptance_length='25%')")
    result = saved.run()
    result.assert_outcomes(passed=1)
    assert "gate: 1 pass" in result.stdout.str()
    result = saved.run("--speed-engine-arg=acceptance=0.1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*acceptance_length: fail (-*%, allowed -25.00%): *"])
    result.stdout.no_fnmatch_line("*pytest_speedbench/*.py*")


@pytest.mark.parametrize(("options", "part"), [((), 1 / 2), ((COMPARE, WIDE), 1 / 6)])
def test_a_margin_of_the_tests_own_has_one_share_of_alpha_everywhere(
    saved: Project, options: tuple[str, ...], part: float
) -> None:
    body = "assert speed.acceptance_length > 0; speed.assert_no_regression(acceptance_length='20%')"
    saved.gate("bs=8", body if not options else body.partition("; ")[2])
    saved.run(*options, "--benchmark-save=new").assert_outcomes(passed=1)
    (record,) = saved.records()
    session = next(v for v in record.verdicts if v.margin == 0.2)
    assert session.alpha == pytest.approx(0.01 * part)
    (case,) = compare("0001", "0002", {"acceptance_length": "20%"}).cases
    assert case.verdicts[0].alpha == session.alpha
    assert case.verdicts[0].reason == session.reason


def test_assert_no_regression_refuses_what_it_cannot_gate(saved: Project) -> None:
    saved.gate("bs=8", "speed.assert_no_regression(ttft='10%')")
    result = saved.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*UsageError: margins: *ttft*acceptance_length*"])


def test_margins_by_category_from_the_ini_file(project: Project) -> None:
    project.split("s.jsonl", 40, "math", "qa")
    project.ini |= {"speed_split": "s.jsonl", "speed_samples": "all", "speed_category": "math,qa"}
    project.gate("bs=8")
    project.run("--benchmark-save=base")
    result = project.run(
        COMPARE,
        "--speed-engine-arg=acceptance=0.4",
        speed_compare_fail="acceptance_length:2%,acceptance_length/qa:60%",
    )
    result.assert_outcomes(passed=1, failed=1)
    assert "gate: 1 pass, 1 fail" in result.stdout.str()


# -- what is compared with what ---------------------------------------------------------------


def test_a_renamed_test_keeps_its_history(saved: Project) -> None:
    saved.file(
        "test_it.py",
        "import pytest\n"
        "@pytest.mark.speed(bs=8)\n"
        "class TestNew:\n"
        "    def test_other(self, speed): pass\n",
    )
    result = saved.run(COMPARE, WIDE)
    assert "gate: 1 pass" in result.stdout.str()


Change = Callable[[dict[str, Any]], None]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda r: r["split"].update(digest="0" * 64, rows={}),
            "split digest: 000000000000 there, ",
        ),
        (lambda r: r.update(template="chatml"), "chat template: chatml there, words-1 here"),
        (lambda r: r["sampling"].update(max_tokens=999), "sampling: max_tokens 999"),
        (lambda r: r["model"].update(weights="abc"), "model weights: abc there"),
        (lambda r: r.update(prompt_form="chat"), "prompt form: chat there, token_ids here"),
    ],
)
def test_what_must_be_equal_makes_it_incomparable(
    saved: Project, change: Change, reason: str
) -> None:
    saved.edit(saved.saved[0], change)
    result = saved.run(COMPARE)
    result.assert_outcomes(failed=1)
    assert "acceptance_length: incomparable: " in result.stdout.str()
    assert reason in result.stdout.str()
    assert "gate: 1 incomparable" in result.stdout.str()


@pytest.mark.parametrize(
    "change",
    [
        lambda r: r["engine"].update(version="0.0.1", args={"x": 1}),
        lambda r: r["sampling"].update(seed=7),  # greedy: the seed is never used
        lambda r: r["spec"].update(drafter={"name": "old", "weights": "1", "revision": ""}),
        lambda r: r.update(a_field_of_a_later_minor_version=1),
    ],
)
def test_what_is_under_test_may_differ(saved: Project, change: Change) -> None:
    saved.edit(saved.saved[0], change)
    result = saved.run(COMPARE, WIDE)
    result.assert_outcomes(passed=1)
    assert "gate: 1 pass" in result.stdout.str()


def test_an_older_comparable_run_is_preferred_to_a_newer_one_that_is_not(saved: Project) -> None:
    saved.run("--benchmark-save=newer")
    saved.edit(saved.saved[1], lambda r: r.update(template="chatml"))
    result = saved.run(COMPARE, WIDE)
    assert "gate: 1 pass (against 0001" in result.stdout.str()


def test_a_partial_run_is_never_a_baseline(saved: Project) -> None:
    saved.run("--benchmark-save=newer")
    saved.edit(saved.saved[1], lambda r: r.update(partial=True))
    result = saved.run(COMPARE, WIDE)
    assert "gate: 1 pass (against 0001" in result.stdout.str()


def test_each_drafter_is_compared_with_itself_where_it_can_be(saved: Project) -> None:
    saved.gate("bs=8, drafter=['org/a', 'org/b']")
    saved.run("--benchmark-save=two", "-v").assert_outcomes(passed=2)

    def worse_b(record: dict[str, Any]) -> None:
        if record["spec"]["drafter"]["name"] == "org/b":
            for request in record["requests"]:
                request["steps"] = " ".join(["1"] * (request["tokens"] - 1))
                request["drafted"] = request["accepted"] = None

    saved.edit(saved.saved[1], worse_b)
    result = saved.run(COMPARE, WIDE)
    assert "gate: 1 pass, 1 improved" in result.stdout.str()


# -- timing -----------------------------------------------------------------------------------


@pytest.fixture
def timed(project: Project, kept: Path) -> Project:
    project.ini |= {"speed_rounds": "3", "speed_max_tokens": "8"}

    def make() -> None:
        project.gate("bs=2")
        project.run("--benchmark-save=base").assert_outcomes(passed=1)

    project.once(kept / "timed", make)
    return project


TPS = "--speed-compare-fail=acceptance_length:60%,output_tps:50%"


def test_timing_is_gated_against_three_sessions_of_the_same_machine(timed: Project) -> None:
    # So much that a pause of the machine in one of the short sessions cannot hide it.
    slower = "--speed-engine-arg=step_ms=800"
    result = timed.run(COMPARE, TPS, slower)
    result.assert_outcomes(passed=1)
    assert "1 earlier session of this machine; timing needs at least 3" in text_of(result)
    for _ in range(2):
        timed.run("--benchmark-save=base")
    result = timed.run(COMPARE, TPS, slower)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "output_tps: fail (-*%, allowed -50.00%): *",
            # Before it the interval, unless both ends read as the change does.
            "*fell by more than 50.0%, over 3 earlier sessions",
        ]
    )


def test_timing_of_another_machine_is_not_gated_but_al_is(timed: Project) -> None:
    timed.edit(timed.saved[0], lambda r: r["machine"].update(fingerprint="other"))
    result = timed.run(COMPARE, TPS, "--speed-engine-arg=step_ms=80")
    result.assert_outcomes(passed=1)
    text = result.stdout.str()
    assert "1 not gated" in text
    assert "machine: other" in text
    assert "acceptance_length: " in text or "1 pass" in text or "1 undecided" in text


def test_timing_over_other_samples_is_not_gated(timed: Project) -> None:
    result = timed.run(COMPARE, TPS, speed_samples="9")
    assert "1 not gated" in result.stdout.str()
    assert "samples of each category: 8 there, 9 here" in result.stdout.str()


def test_a_speedup_gate_leaves_cases_without_sd_alone(timed: Project) -> None:
    timed.gate("bs=2, method='none'")
    timed.run("--benchmark-save=plain")
    result = timed.run(COMPARE, "--speed-compare-fail=speedup:10%,acceptance_length:60%")
    result.assert_outcomes(passed=1)


# -- speculation off --------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], [COMPARE]])
def test_speculation_off_fails(saved: Project, arguments: list[str]) -> None:
    result = saved.run(*arguments, "--speed-engine-arg=speculation_off=1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["acceptance_length: speculation off: *"])
    assert "gate: 1 speculation off" in result.stdout.str()
    assert "the engine's own configuration has no speculation" in result.stdout.str()


def test_no_speculation_asked_for_is_not_speculation_off(project: Project) -> None:
    project.gate("method='none'")
    result = project.run()
    result.assert_outcomes(passed=1)
    assert "speculation off" not in result.stdout.str()


def test_an_ngram_run_that_drafts_nothing_is_not_judged_by_its_drafts(project: Project) -> None:
    project.gate("method='ngram'")
    project.run("--speed-engine-arg=acceptance=0").assert_outcomes(passed=1)


def test_a_drafter_that_is_always_wrong_is_not_speculation_off(project: Project) -> None:
    project.gate()
    result = project.run("--speed-engine-arg=acceptance=0")
    result.assert_outcomes(passed=1)
    assert "speculation off" not in result.stdout.str()


# -- nothing in common ------------------------------------------------------------------------


def test_a_case_without_a_record_names_the_nearest_one(saved: Project) -> None:
    saved.gate("bs=4")
    result = saved.run(COMPARE)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    nearest = "no record of this case; the nearest, in run 0001, has bs 8 (here 4)"
    assert f"no baseline: {nearest}" in text_of(result)


def test_samples_of_one_side_alone_are_counted_where_there_are_any(saved: Project) -> None:
    saved.run("--benchmark-save=few", "--speed-samples=9")
    text = text_of(saved.run(f"{COMPARE}=few", "--speed-summary=o.md"))
    text += (saved.path / "o.md").read_text()
    assert re.search(r"; \d+ samples? only in the new run", text)
    assert "only in the baseline" not in text


def test_a_named_run_of_which_nothing_fits_fails_the_session_and_says_so(saved: Project) -> None:
    saved.gate("bs=4")
    result = saved.run("--speed-compare=1")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    last = text_of(result).partition("this run fails: ")[2]
    assert last.startswith("nothing was compared with 1: no record of this case; the nearest")
    assert "bs 8 (here 4)" in last


def test_a_session_without_speed_tests_does_not_fail(saved: Project) -> None:
    saved.file("test_it.py", "def test_plain(): pass\n")
    result = saved.run(COMPARE)
    assert result.ret == 0


# -- bad files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[: len(text) // 2], "is not JSON"),
        (lambda text: "", "is not JSON"),
        (lambda text: '{"benchmarks": 3}', "is not a file of pytest-benchmark"),
        (lambda text: "[]", "is not a file of pytest-benchmark"),
        (lambda text: text.replace('"schema": 3', '"schema": 99'), "schema 99"),
        (lambda text: text.replace('"template"', '"tmplate"'), "damaged at 'template'"),
    ],
)
def test_a_bad_file_is_named_skipped_and_left_alone(
    saved: Project, damage: Callable[[str], str], told: str
) -> None:
    bad = saved.saved[0].with_name("0002_bad.json")
    bad.write_text(damage(saved.saved[0].read_text()))
    before = bad.read_bytes()
    result = saved.run(COMPARE, WIDE, "--benchmark-autosave")
    result.assert_outcomes(passed=1, warnings=1)
    text = result.stdout.str()
    assert "gate: 1 pass (against 0001" in text
    assert "left out as a baseline" in text
    assert "0002_bad.json" in text
    assert told in text
    assert bad.read_bytes() == before
    assert [path.name[:4] for path in saved.saved] == ["0001", "0002", "0003"]


def test_a_bad_file_that_is_named_is_refused(saved: Project, engines: EngineLog) -> None:
    bad = saved.saved[0].with_name("0002_bad.json")
    bad.write_text(saved.saved[0].read_text()[:1000])
    result = saved.run("--speed-compare=2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *0002_bad.json is not JSON*was it cut off?*"])
    assert engines.events == []


def test_a_file_of_somebody_else_is_refused(saved: Project) -> None:
    saved.file("other.json", '{"benchmarks": []}')
    result = saved.run("--speed-compare=other.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *other.json holds no records of pytest-speedbench"])


def test_damaged_requests_make_a_record_incomparable(saved: Project) -> None:
    def damage(record: dict[str, Any]) -> None:
        record["requests"][0]["ids"] = "AAAA"

    saved.edit(saved.saved[0], damage)
    result = saved.run(COMPARE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["acceptance_length: incomparable: *", "*requests are damaged*"])


# -- what a change of speedup is due to -------------------------------------------------------


def test_a_change_of_speedup_is_attributed_in_one_line_a_run(timed: Project) -> None:
    timed.ini |= {"speed_category": "math,qa", "speed_max_tokens": "64"}
    timed.run("--benchmark-save=two")
    slow = "--speed-engine-arg=draft_ms=9"
    report = timed.path / "out.html"
    result = timed.run(COMPARE, WIDE, slow, "--speed-summary=out.md", f"--speed-report={report}")
    found = text_of(result)
    assert found.count(", of which ") == 1
    assert "AL (drafter)" not in found  # it has not changed
    assert re.search(r"of which step time with SD -[2-9]\d\.\d%", found)
    assert "of which step time" in (timed.path / "out.md").read_text()
    assert "What the change of speedup is due to" in report.read_text()


# -- warnings that are errors -----------------------------------------------------------------


def test_where_warnings_are_errors_undecided_is_one_clear_failure(saved: Project) -> None:
    result = saved.run(COMPARE, "-W", "error")
    result.assert_outcomes(failed=1)
    assert "acceptance_length: undecided (" in result.stdout.str()
    result.stdout.no_fnmatch_line("*pytest_speedbench/*.py*")


def test_where_warnings_are_errors_a_bad_file_is_one_clear_failure(saved: Project) -> None:
    saved.saved[0].with_name("0002_bad.json").write_text("{")
    result = saved.run(COMPARE, WIDE, "-W", "error")
    result.assert_outcomes(failed=1)
    assert "left out as a baseline" in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
