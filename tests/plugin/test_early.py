"""``--speed-early``: a run ends when all its cases are decided, at the same α."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_speedbench.quantities import about

from .conftest import EngineLog, Project, text_of

EARLY = "--speed-early"
SAMPLES = 40
WIDE = "--speed-compare-fail=acceptance_length:25%"


@pytest.fixture
def saved(project: Project, kept: Path) -> Project:
    """A saved run of two categories, enough to decide about a wide margin long before its end."""
    project.ini |= {
        "speed_split": "s.jsonl",
        "speed_samples": "all",
        "speed_max_tokens": "48",
        "speed_category": "math,qa",
    }

    def make() -> None:
        project.split("s.jsonl", SAMPLES, "math", "qa")
        project.gate("bs=4")
        project.run("--benchmark-save=base").assert_outcomes(passed=2)

    project.once(kept / "saved", make)
    return project


def _stop(text: str) -> tuple[int, int, int, int]:
    """Samples looked at, samples of the run, samples and tokens saved."""
    text = " ".join(text.split())
    found = re.search(
        r"note: stopped early: decided after (\d+) of (\d+) samples; (\d+) samples, about ([\d,]+) "
        r"tokens, saved",
        text,
    )
    assert found, text
    looked, of, samples, tokens = (int(number.replace(",", "")) for number in found.groups())
    return looked, of, samples, tokens


def test_a_healthy_run_passes_early_and_says_what_it_saved(saved: Project) -> None:
    result = saved.run(EARLY, WIDE, "--benchmark-save=early")
    result.assert_outcomes(passed=2, warnings=0)
    assert "gate: 2 pass" in result.stdout.str()
    looked, of, samples, tokens = _stop(result.stdout.str())
    assert of == 2 * SAMPLES
    assert 16 <= looked < of
    assert of - looked - 4 <= samples <= of - looked
    assert tokens == about(48 * samples)
    for record in saved.records():  # sent in balanced order, and counted in complete blocks
        ids = {request.sample for request in record.requests}
        assert ids == {f"{record.case.slice}-{i}" for i in range(len(ids))}


def test_a_loss_fails_early(saved: Project) -> None:
    result = saved.run(EARLY, WIDE, "--speed-engine-arg=acceptance=0.1")
    result.assert_outcomes(failed=2)
    assert "gate: 2 fail" in result.stdout.str()
    assert _stop(result.stdout.str())[0] < 2 * SAMPLES


def test_a_run_goes_on_until_its_last_case_is_decided(saved: Project) -> None:
    """One category collapses and is decided; the other is a little worse, and is not."""
    result = saved.run(
        EARLY,
        "--speed-compare-fail=acceptance_length:10%",
        "--speed-engine-arg=acceptance.math=0.05",
        "--speed-engine-arg=acceptance.qa=0.55",
    )
    result.assert_outcomes(passed=1, failed=1)
    assert "note: not stopped early: qa undecided after all samples" in result.stdout.str()


def test_the_verdict_is_the_same_as_that_of_the_samples_it_rests_on(saved: Project) -> None:
    saved.gate("bs=4", "speed.assert_no_regression(acceptance_length='40%')")
    result = saved.run(EARLY, WIDE)
    result.assert_outcomes(passed=2)
    assert "gate: 4 pass" in result.stdout.str()  # 40% by the test, 25% by the session


def test_off_by_default(saved: Project) -> None:
    result = saved.run("--speed-compare", WIDE)
    assert "early" not in result.stdout.str()


def test_ini_twin(saved: Project) -> None:
    result = saved.run(WIDE, speed_early="true")
    _stop(result.stdout.str())


def test_it_is_a_wish_to_compare(saved: Project) -> None:
    saved.ini["speed_compare_fail"] = "acceptance_length:25%"
    assert "gate: 2 pass" in saved.run(EARLY).stdout.str()


def test_under_xdist(saved: Project) -> None:
    result = saved.run("-n1", EARLY, WIDE)
    result.assert_outcomes(passed=2)
    assert "gate: 2 pass" in result.stdout.str()
    _stop(result.stdout.str())


# -- what it is not for -----------------------------------------------------------------------


def test_no_arm_without_sd_and_no_speedup(saved: Project, engines: EngineLog) -> None:
    saved.gate("bs=4", "speed.speedup")
    result = saved.run(EARLY, WIDE, speed_rounds="3")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        ["*NoData: measured with --speed-early, which decides AL alone and times nothing"]
    )
    assert engines.starts == ["start simulated eagle3 dl3"]
    assert "no throughput was measured" in result.stdout.str()


def test_no_timing_at_all(saved: Project) -> None:
    body = "".join(
        f"with pytest.raises(ValueError, match='speed-early'): speed.{metric}\n    "
        for metric in ("output_tps", "user_tps", "ttft", "step_time")
    )
    saved.gate("bs=4", body)
    saved.run(EARLY, WIDE).assert_outcomes(passed=2)


def test_a_gate_on_speed_in_a_test_is_not_gated(saved: Project) -> None:
    saved.gate("bs=4", "speed.assert_no_regression(output_tps='50%')")
    result = saved.run(EARLY, WIDE)
    result.assert_outcomes(passed=2)
    assert "2 not gated" in result.stdout.str()
    assert "one side was not timed (--speed-early times nothing)" in result.stdout.str()


@pytest.mark.parametrize("metric", ["speedup", "output_tps"])
def test_refused_where_the_session_gates_speed(saved: Project, metric: str) -> None:
    margins = f"--speed-compare-fail=acceptance_length:2%,{metric}:5%"
    result = saved.run(EARLY, margins, speed_rounds=None)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*--speed-early decides AL alone*but {metric} is gated too*"])


# -- records ----------------------------------------------------------------------------------


def test_a_stopped_run_is_partial_and_never_a_baseline(saved: Project) -> None:
    saved.run(EARLY, WIDE, "--benchmark-save=early")
    assert [(r.partial, r.rounds, "speedup" in r.metrics) for r in saved.records()] == [
        (True, [], False)
    ] * 2
    result = saved.run("--speed-compare", WIDE)
    assert "gate: 2 pass (against 0001" in result.stdout.str()


def test_the_first_run_goes_to_its_end_and_is_a_baseline(project: Project) -> None:
    project.gate()
    result = project.run(EARLY)
    result.assert_outcomes(passed=1)
    assert "note: not stopped early: math: no baseline" in result.stdout.str()
    assert [record.partial for record in project.records()] == [False]
    assert "gate: 1 undecided (against 0001" in project.run(EARLY).stdout.str()


def test_one_case_without_a_baseline_keeps_the_whole_run_from_stopping(saved: Project) -> None:
    result = saved.run(EARLY, WIDE, speed_category="math,qa,all")
    assert "gate: 2 pass, 1 no baseline" in result.stdout.str()
    assert "note: not stopped early: all: no baseline" in result.stdout.str()
    assert len(saved.records()) == 3


def test_an_incomparable_baseline_fails_as_ever(saved: Project) -> None:
    saved.edit(saved.saved[0], lambda record: record.update(template="chatml"))
    result = saved.run(EARLY, WIDE)
    result.assert_outcomes(failed=2)
    assert "not stopped early: math, qa: the baseline is incomparable" in text_of(result)


# -- α ----------------------------------------------------------------------------------------


def test_asserts_on_a_run_that_could_stop_hold_at_every_look(saved: Project) -> None:
    """An ordinary interval looked at 40 times would be wrong more often than it says."""
    saved.gate("bs=4", "assert speed.acceptance_length >= 3.9")
    alphas = [
        float(re.search(r"at this assert's α = (\S+) it lies", result.stdout.str())[1])  # type: ignore[index]
        for result in (saved.run("--speed-compare", WIDE), saved.run(EARLY, WIDE))
    ]
    assert alphas[0] == pytest.approx(SAMPLES * alphas[1], rel=0.05)


def test_speculation_off_is_still_its_own_word(saved: Project) -> None:
    result = saved.run(EARLY, WIDE, "--speed-engine-arg=speculation_off=1")
    result.assert_outcomes(failed=2)
    assert "gate: 2 speculation off" in result.stdout.str()
