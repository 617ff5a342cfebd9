"""Engines that tell less than steps: table, gate, record, and a second run that compares."""

from __future__ import annotations

import pytest

from pytest_speedbench.baselines.schema import SCHEMA
from pytest_speedbench.engines.protocol import Trace

from .conftest import Project, text_of

pytestmark = pytest.mark.usefixtures("plain_figures")

TWO = "category=['math', 'qa'], {more}"
AUTOSAVE = "--benchmark-autosave"
ANYTHING = "speed"


def reports(what: str) -> str:
    return f"--speed-engine-arg=reports={what}"


def al_of(project: Project) -> list[float]:
    found = [record.metric("acceptance_length") for record in project.records()]
    return [metric.value for metric in found if metric is not None]


@pytest.mark.parametrize("bs", [1, 4])
def test_totals_tell_the_acceptance_of_the_steps(project: Project, bs: int) -> None:
    project.gate(TWO.format(more=f"bs={bs}"))
    project.run(AUTOSAVE).assert_outcomes(passed=2)
    stepwise = project.records()
    result = project.run(AUTOSAVE, reports("totals"))
    result.assert_outcomes(passed=2)
    assert text_of(result).count("totals of a request, not its steps") == 1
    for steps, totals in zip(stepwise, project.records(), strict=True):
        assert (steps.schema_, totals.schema_) == (SCHEMA, SCHEMA)
        for name in ("acceptance_length", "acceptance_length_macro", "acceptance_rate"):
            assert totals.metrics[name] == steps.metrics[name]
        assert totals.metric("step_time").value == pytest.approx(  # type: ignore[union-attr]
            steps.metric("step_time").value,  # type: ignore[union-attr]
            rel=0.01,
        )
        assert "acceptance_by_position" not in totals.metrics
        assert {r.steps for r in totals.requests} == {""}


def test_totals_are_gated_over_whole_outputs(project: Project) -> None:
    margin = "--speed-compare-fail=acceptance_length:10%"
    project.gate("samples=80, max_tokens=64")
    project.run(AUTOSAVE, reports("totals"))
    again = project.run(margin, reports("totals"), "--speed-summary=out.md")
    again.assert_outcomes(passed=1)
    assert "gate: 1 pass (against 0001" in text_of(again)
    told = (project.path / "out.md").read_text()
    assert "whole outputs only, the engine reports totals of a request and no steps" in told
    worse = project.run(margin, reports("totals"), "--speed-engine-arg=acceptance=0.3")
    worse.assert_outcomes(failed=1)
    assert "gate: 1 fail" in text_of(worse)
    mixed = project.run(margin)  # the baseline has totals, this run has steps
    assert "gate: 1 pass" in text_of(mixed)


def test_counters_tell_each_request_at_batch_size_1(project: Project) -> None:
    project.gate("samples=80, max_tokens=64")
    project.run(AUTOSAVE)
    (steps,) = project.records()
    project.run(AUTOSAVE, reports("counters")).assert_outcomes(passed=1)
    (totals,) = project.records()
    assert totals.counted is None
    for name in ("acceptance_length", "acceptance_length_macro", "acceptance_rate"):
        assert totals.metrics[name] == steps.metrics[name]
    result = project.run("--speed-compare-fail=acceptance_length:10%", reports("counters"))
    result.assert_outcomes(passed=1)
    assert "gate: 1 pass" in text_of(result)


def test_counters_tell_a_slice_above(project: Project) -> None:
    project.gate(TWO.format(more="bs=4"))
    project.run(AUTOSAVE)
    stepwise = project.records()
    result = project.run(AUTOSAVE, reports("counters"), speed_rounds="2")
    result.assert_outcomes(passed=2)
    assert text_of(result).count("slices ran one after another") == 1
    slices = [record.counted for record in project.records()]
    sent = sum(counted.requests for counted in slices if counted is not None)
    for steps, counted in zip(stepwise, project.records(), strict=True):
        before, after = (r.metric("acceptance_length") for r in (steps, counted))
        assert before is not None
        assert after is not None
        assert (after.value, after.low, after.high, after.n) == (before.value, None, None, 8)
        assert counted.counted is not None
        assert counted.counted.requests == 2 * len(steps.requests)  # all repeated, to hold BS 4
        assert "acceptance_length_macro" not in counted.metrics
        assert [r.requests for r in counted.rounds] == [sent, sent]
        assert all(r.acceptance_length and r.step_time for r in counted.rounds)
        assert counted.metric("speedup") is not None


def test_the_counters_of_a_slice_are_never_a_silent_pass(project: Project) -> None:
    project.gate("bs=4", ANYTHING)
    project.run(AUTOSAVE, reports("counters"))
    result = project.run("--speed-compare", reports("counters"))
    result.assert_outcomes(passed=1)
    assert "gate: 1 undecided" in text_of(result)
    assert (
        "for the slice as a whole, so its spread over samples is unknown and no change is certain"
        in text_of(result)
    )
    strict = project.run("--speed-compare", "--speed-inconclusive=fail", reports("counters"))
    strict.assert_outcomes(failed=1)
    strict.stdout.fnmatch_lines(["*AL comes from the engine's counters*"])


def test_an_assert_on_a_slice_without_interval_is_undecided(project: Project) -> None:
    project.gate("bs=4", "assert speed.acceptance_length >= 9")
    result = project.run(reports("counters"), "--speed-inconclusive=fail")
    result.assert_outcomes(failed=1)
    result = project.run(reports("counters"))
    result.assert_outcomes(passed=1)
    assert "assert: undecided, acceptance_length >= 9" in text_of(result)


def test_lookup_methods_state_how_far_cuts_may_mislead(project: Project) -> None:
    project.gate("bs=4, method='ngram'")
    result = project.run(AUTOSAVE, reports("counters"))
    result.assert_outcomes(passed=1)
    assert "AL may read up to" in text_of(result)
    (record,) = project.records()
    assert record.counted is not None
    assert 0 < record.counted.hidden <= 3 * record.counted.requests


@pytest.mark.parametrize("bs", [1, 4])
def test_foreign_traffic_means_no_acceptance_length(project: Project, bs: int) -> None:
    project.gate(f"bs={bs}", ANYTHING)
    result = project.run(AUTOSAVE, reports("counters"), "--speed-engine-arg=foreign=5")
    result.assert_outcomes(passed=1)
    assert "note: no AL: the engine emitted" in text_of(result)
    assert "is another client using this engine?" in text_of(result)
    assert al_of(project) == []
    asked = project.file("test_it.py", "def test_al(speed): assert speed.acceptance_length > 1")
    failed = project.run(reports("counters"), "--speed-engine-arg=foreign=5", str(asked))
    failed.assert_outcomes(failed=1)


def test_an_engine_that_tells_nothing_is_timed_only(project: Project) -> None:
    project.gate("bs=[1, 4]", "speed.output_tps; speed.user_tps; speed.ttft; speed.speedup")
    result = project.run(AUTOSAVE, reports("nothing"), speed_rounds="3")
    result.assert_outcomes(passed=2)
    note = "note: timing only: the engine reports no decoding steps"
    assert text_of(result).count(note) == 1  # of both runs
    for record in project.records():
        assert {"output_tps", "speedup", "ttft", "user_tps"} <= set(record.metrics)
        assert not {"acceptance_length", "acceptance_rate", "step_time"} & set(record.metrics)
        assert record.speculation_off == ""
        assert record.rounds[0].acceptance_length is None


def test_no_data_says_timing_only(project: Project) -> None:
    project.gate()
    result = project.run(reports("nothing"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*NoData: timing only: the engine * decoding*"])


def test_what_was_only_timed_is_not_gated_by_acceptance(project: Project) -> None:
    project.gate("bs=4", ANYTHING)
    project.run(AUTOSAVE, reports("nothing"), speed_rounds="3")
    result = project.run("--speed-compare", reports("nothing"), speed_rounds="3")
    assert "1 not gated" in text_of(result)
    assert "not gated: math: timing only" in text_of(result)
    assert result.ret == pytest.ExitCode.OK
    timed = project.run("--speed-compare-fail=output_tps:50%", reports("nothing"), speed_rounds="3")
    timed.assert_outcomes(passed=1)
    assert timed.ret == pytest.ExitCode.OK


def test_an_engine_that_fell_silent_since_the_baseline_is_undecided(project: Project) -> None:
    project.gate("bs=4", ANYTHING)
    project.run(AUTOSAVE)
    result = project.run("--speed-compare", reports("nothing"))
    assert "1 undecided" in text_of(result)
    assert "the engine reports no decoding steps here" in text_of(result)


@pytest.mark.parametrize("what", ["totals", "counters"])
def test_speculation_that_is_off_is_found_out(project: Project, what: str) -> None:
    project.gate("bs=4", ANYTHING)
    result = project.run(reports(what), "--speed-engine-arg=speculation_off=1")
    result.assert_outcomes(failed=1)
    assert "speculation off" in text_of(result)


def test_a_lying_counter_is_found_out_by_totals(project: Project) -> None:
    project.gate()
    result = project.run(reports("totals"), "--speed-engine-arg=miscount=1")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*its requests add up to*"])


def test_a_soak_of_totals_is_tested_for_drift(project: Project) -> None:
    for what, word in (("totals", "pass"), ("counters", "pass"), ("nothing", "undecided")):
        project.gate("bs=4, soak=8", ANYTHING)
        result = project.run(reports(what), "--speed-alpha=5%", "--speed-summary=out.md")
        result.assert_outcomes(passed=1)
        assert f"drift: {word}" in (project.path / "out.md").read_text()


def test_early_decision_by_totals(project: Project) -> None:
    project.gate("samples=80, max_tokens=64")
    project.run(AUTOSAVE, reports("totals"))
    worse = ("--speed-early", reports("totals"), "--speed-engine-arg=acceptance=0.1")
    result = project.run(*worse, "--speed-compare-fail=acceptance_length:10%")
    result.assert_outcomes(failed=1)
    assert "stopped early: decided after" in text_of(result)


def test_early_decision_by_counters_names_the_fix(project: Project) -> None:
    project.gate("bs=4", ANYTHING)
    project.run(AUTOSAVE, reports("counters"))
    result = project.run("--speed-early", reports("counters"))
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*reports acceptance only by counters: leave it out*"])


def test_reports_show_no_number_where_none_is_told(project: Project) -> None:
    project.gate("bs=4", ANYTHING)
    project.run(reports("nothing"), "--speed-summary=out.md", "--speed-report=out.html")
    text = (project.path / "out.md").read_text()
    assert "| math | – | – | – | – | – | – |" in text
    assert text.count("timing only") == 1
    assert "timing only" in (project.path / "out.html").read_text()


def test_lossless_works_without_steps(project: Project) -> None:
    project.gate("bs=4", "speed.assert_lossless()")
    for what in ("totals", "counters", "nothing"):
        project.run(reports(what), speed_rounds="1").assert_outcomes(passed=1)
    project.gate("bs=4, temperature=1.0", "speed.assert_lossless(copies=64)")
    project.run(reports("totals"), speed_rounds="1").assert_outcomes(passed=1)


@pytest.fixture
def texts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines give texts in the place of token ids, as most servers do."""
    from pytest_speedbench.engines.process.parent import ChildEngine

    collect = ChildEngine.collect

    def collect_texts(self: ChildEngine, timeout: float) -> list[Trace]:
        traces = collect(self, timeout)
        for trace in traces:
            trace.text, trace.token_ids = " ".join(map(str, trace.token_ids)), []
        return traces

    monkeypatch.setattr(ChildEngine, "collect", collect_texts)


@pytest.mark.usefixtures("texts_alone")
def test_texts_alone_are_measured_and_gated_but_not_lossless(project: Project) -> None:
    project.gate("bs=4", "speed.assert_lossless()")
    result = project.run(AUTOSAVE, reports("totals"), "--speed-summary=out.md", speed_rounds="1")
    result.assert_outcomes(passed=1)
    told = (project.path / "out.md").read_text()
    assert "lossless: undecided" in told
    assert "gives text but no token ids: 11 of 11 are equal" in told
    (record,) = project.records()
    assert not any(len(request.token_ids) for request in record.requests)
    assert {request.tokens for request in record.requests} == {16}
    project.gate("bs=4", ANYTHING)
    again = project.run("--speed-compare", reports("totals"))
    again.assert_outcomes(passed=1)
    assert "gate: 1 undecided (against" in text_of(again)
    project.gate("bs=4, temperature=1.0", "speed.assert_lossless(copies=64)")
    drawn = project.run(reports("totals"), "--speed-summary=out.md", speed_rounds="1")
    drawn.assert_outcomes(passed=1)
    assert "no draws to compare" in (project.path / "out.md").read_text()


def test_one_slice_of_all_adds_its_categories_up(project: Project) -> None:
    project.gate("category=['all', 'math', 'qa'], bs=16, samples=4")
    result = project.run(AUTOSAVE, reports("counters"))
    result.assert_outcomes(passed=3)
    assert "4 samples cannot fill BS 16" in text_of(result)
    records = {record.case.slice: record.counted for record in project.records()}
    everything = records.pop("all")
    assert everything is not None
    assert everything.samples == 11 * 4  # every category was sent, one after another
    assert everything.steps > sum(counted.steps for counted in records.values() if counted)
