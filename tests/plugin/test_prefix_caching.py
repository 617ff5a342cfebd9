"""Prefix caching as an axis: a cold pass, then warm rounds, and the gate between them."""

from __future__ import annotations

from uuid import UUID

import pytest

from .conftest import Project, text_of

CACHED = "prefix_caching=True"
ROWS = "".join(
    f'{{"id": "t{n}", "category": "math", "turns": ["one two three {n}", "four {n}", "five"]}}\n'
    for n in range(12)
)


def talk(project: Project) -> dict[str, str]:
    project.file("talk.jsonl", ROWS)
    return {"speed_split": "talk.jsonl", "speed_samples": "all", "speed_max_tokens": "48"}


def test_both_values_span_the_grid_under_keys_of_their_own(project: Project) -> None:
    project.gate("prefix_caching=[False, True]")
    result = project.run("--benchmark-save=a", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        ["*math-bs1-dl3-uncached* PASSED*", "*math-bs1-dl3-cached* PASSED*"]
    )
    assert {record.case.prefix_caching for record in project.records()} == {False, True}


def test_warm_rounds_hit_what_the_cold_pass_did_not(project: Project) -> None:
    body = "assert speed.cache_hit_rate >= 0.5; speed.assert_cache_neutral()"
    project.gate(CACHED, body)
    project.run("--benchmark-save=a", "-W", "ignore", **talk(project)).assert_outcomes(passed=1)
    (record,) = project.records()
    warm, cold = record.metric("acceptance_length"), record.metric("cold_acceptance_length")
    assert warm is not None
    assert cold is not None
    assert warm.value == cold.value
    assert record.notes == []
    (verdict,) = record.verdicts
    assert (verdict.metric, verdict.baseline) == ("cache_neutral", "the cold pass of this run")
    assert "% of the warm prompt tokens came from the prefix cache" in verdict.reason
    assert len({request.turn for request in record.requests if request.cached}) == 3


def test_acceptance_that_falls_with_a_warm_cache_fails(project: Project) -> None:
    project.gate(
        "prefix_caching=[False, True]", "speed.assert_cache_neutral(acceptance_length='5%')"
    )
    result = project.run("--speed-engine-arg=cache_fade=0.6", **talk(project))
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["*cache_neutral: fail (-*%, allowed -5.00%): simulated org/model eagle3 *cached *:math*"]
    )


def test_identical_outputs_pass_at_two_percent_on_the_sessions_of_agents(project: Project) -> None:
    # With fewer than 49 samples this margin stays undecided, however equal the outputs are.
    project.gate(CACHED, "speed.assert_cache_neutral(acceptance_length='2%')")
    result = project.run(
        "--benchmark-save=a",
        speed_split="agentic_8k",
        speed_category="all",
        speed_samples="all",
        speed_bs="8",
    )
    result.assert_outcomes(passed=1)
    (record,) = project.records()
    assert len({request.sample for request in record.requests}) == 56
    (verdict,) = record.verdicts
    assert (verdict.metric, verdict.outcome) == ("cache_neutral", "pass")


TIES = "--speed-engine-arg=cache_ties=0.02"


def many(project: Project) -> dict[str, str]:
    project.split("many.jsonl", 64)
    return {"speed_split": "many.jsonl", "speed_samples": "all", "speed_max_tokens": "64"}


def test_a_warm_cache_that_rounds_differently_is_compared_along_the_cold_text(
    project: Project,
) -> None:
    project.gate(CACHED, "speed.assert_cache_neutral(acceptance_length='3%')")
    result = project.run(TIES, "--benchmark-save=a", "-vv", **many(project))
    result.assert_outcomes(passed=1)
    (record,) = project.records()
    (verdict,) = record.verdicts
    assert verdict.outcome == "pass"
    assert verdict.coverage is not None
    assert verdict.coverage > 0.8


def test_without_replay_the_reason_says_so(project: Project) -> None:
    project.gate(CACHED, "speed.assert_cache_neutral(acceptance_length='2%')")
    result = project.run(TIES, "--speed-replay=off", **many(project))
    result.assert_outcomes(passed=1)
    assert "not replayed: --speed-replay off" in text_of(result)


def test_a_loss_behind_divergences_fails(project: Project) -> None:
    project.gate(CACHED, "speed.assert_cache_neutral(acceptance_length='5%')")
    result = project.run(TIES, "--speed-engine-arg=cache_fade=0.6", **many(project))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*cache_neutral: fail*"])


# Two requests warm up, eight are the cold pass, and eight fill the cache.
@pytest.mark.parametrize(
    ("request_number", "outcome"),
    [
        (22, "*note: 5 of 8 warm prompts were no longer whole in the prefix cache*"),
        (19, "*NoData: no prompt of the warm rounds came from the prefix cache*"),
    ],
)
def test_a_cache_that_is_evicted_in_mid_run(
    project: Project, request_number: int, outcome: str
) -> None:
    project.split("once.jsonl", 8)
    project.gate(CACHED, "speed.assert_cache_neutral()")
    options = ("--speed-rounds=1", f"--speed-engine-arg=evict_at={request_number}")
    result = project.run(*options, speed_split="once.jsonl")
    result.stdout.fnmatch_lines([outcome])


def test_a_cold_pass_that_is_not_cold_is_nothing_to_compare_with(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_speedbench.measure.load.uuid4", lambda: UUID(int=1))
    project.gate(CACHED, "speed.assert_cache_neutral()")
    result = project.run(**talk(project))
    result.stdout.fnmatch_lines(["*NoData: 35 prompts of the cold pass came from the prefix*"])


def test_without_a_cold_pass_there_is_nothing_to_compare(project: Project) -> None:
    project.gate("", "speed.assert_cache_neutral()")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*NoData: assert_cache_neutral compares with a pass without*"])
    project.gate("method='none', prefix_caching=True", "speed.assert_cache_neutral()")
    project.run().stdout.fnmatch_lines(["*NoData: a run without SD has no acceptance*"])


@pytest.mark.parametrize("engine", ["transformers", "tensorrt-llm", "openai"])
def test_an_engine_without_a_cache_to_switch_says_so(engine: str) -> None:
    from pytest_speedbench.engines.protocol import EngineConfig
    from pytest_speedbench.engines.registry import _check_prefix_caching, engine_type
    from pytest_speedbench.errors import EngineError

    config = EngineConfig(engine, "m", prefix_caching=True)
    with pytest.raises(EngineError, match=f"engine '{engine}' has no prefix cache to switch on"):
        _check_prefix_caching(engine_type(engine), config)
