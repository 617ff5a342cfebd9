"""When speculation counts as silently off, and where the engine's own figure comes from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_speedbench.engines.protocol import Counters, EngineInfo, Sampling, Speculation, Trace
from pytest_speedbench.errors import NoData
from pytest_speedbench.measure.metrics import cache_hit_rate
from pytest_speedbench.measure.replayed import Replay, ReplayedTurn
from pytest_speedbench.measure.results import ArmResult, RunSetting, Turn
from pytest_speedbench.measure.run import Run


def run(
    method: str = "eagle3",
    counters: Counters | None = None,
    steps: tuple[int, ...] = (1, 1),
    told: str = "",
    joined: bool = False,
) -> Run:
    speculation = Speculation() if method == "none" else Speculation(method, 3)
    details: dict[str, object] = {"speculative_method": told} if told else {}
    details |= {"joined": joined}
    trace = Trace("r", 1, 0.0, [0] * (1 + sum(steps)), [1, *steps], [0.0] * (1 + len(steps)))
    setting = RunSetting(
        EngineInfo("e", "1", "cpu", "float32", details),
        {"name": "m"},
        None,
        speculation,
        1,
        Sampling(),
        "t",
        "token_ids",
        {},
        1,
    )
    return Run(setting, ArmResult(speculation, [Turn("s", "math", 0, trace)], [], counters))


@pytest.mark.parametrize(
    ("measured", "reason"),
    [
        (run(counters=Counters(0, 0, 0)), "counter of draft tokens did not move"),
        (run(counters=None), "every decoding step of the run emitted a single token"),
        (run(joined=True), "single token; a schedule of the server may draft nothing at BS 1"),
        (run(told="none"), "configuration has no speculation"),
    ],
)
def test_speculation_is_off(measured: Run, reason: str) -> None:
    assert reason in measured.speculation_off


@pytest.mark.parametrize(
    "measured",
    [
        run(counters=Counters(2, 6, 0)),  # drafted, all in vain
        run(counters=None, steps=(2, 1)),
        run(method="none"),
        run(method="ngram", counters=None),  # a short run may draft nothing
        run(method="dspark", counters=Counters(0, 0, 0)),  # how often it drafts is unknown
    ],
)
def test_speculation_is_not_off(measured: Run) -> None:
    assert measured.speculation_off == ""


def test_the_engines_own_figure_comes_from_its_counters_where_requests_tell_nothing() -> None:
    measured = run(counters=Counters(drafts=4, draft_tokens=12, accepted_tokens=6))
    assert measured.view("all").engine_acceptance_length() == 1 + 6 / 4
    assert measured.view("math").engine_acceptance_length() is None
    assert run(counters=None).view("all").engine_acceptance_length() is None


@pytest.mark.parametrize("source", ["the baseline", "this session's outputs without SD"])
def test_a_note_says_whose_outputs_were_followed(source: str) -> None:
    replay = Replay({("s", 0): ReplayedTurn("d", source=source)})
    notes = replace(run(counters=None), replay=replay).notes
    assert notes[-1] == f"replay: none of 1 outputs diverged from {source}"


def test_a_method_outside_the_table_is_noted() -> None:
    assert run(method="dspark").notes[-1].startswith("method 'dspark' is not in the table")
    assert not any("table" in note for note in run(method="eagle3").notes)


def test_drafts_that_are_not_verified_are_noted() -> None:
    measured = run(counters=None, steps=(2, 1))
    details = {**measured.setting.engine.details, "drafts_verified": False}
    engine = replace(measured.setting.engine, details=details)
    noted = replace(measured, setting=replace(measured.setting, engine=engine)).notes
    assert any("accepts drafts at a rate that was set" in note for note in noted)
    assert not any("at a rate that was set" in note for note in measured.notes)


def test_a_server_may_leave_out_that_a_request_had_no_cache_hit() -> None:
    found = [
        Turn(f"s{cached}", "math", 0, Trace("r", 10, 0.0, cached_tokens=cached))
        for cached in (8, None, 4, None)
    ]
    assert cache_hit_rate(found, 0.95).value == 12 / 40
    with pytest.raises(NoData, match="does not report"):
        cache_hit_rate(found[1:2], 0.95)


def test_a_category_whose_answers_were_all_broken_off_says_so() -> None:
    measured = run()
    measured.arm.answers, measured.arm.failed = 3, {"HTTP 500": 2}
    assert measured.view("math").acceptance_length().value == 1.0
    for metric in ("acceptance_length", "acceptance_length_macro", "acceptance_rate"):
        with pytest.raises(NoData, match=r"no answer of 'qa' .* 2 of 3 answers .*'HTTP 500': 2"):
            getattr(measured.view("qa"), metric)()
