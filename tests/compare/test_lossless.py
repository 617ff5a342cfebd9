"""Losslessness: equal outputs pass, ties pass and are counted, wrong tokens fail."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plugin.conftest import EngineLog, Project, text_of

from pytest_speedbench.compare import sampled_output as sampling
from pytest_speedbench.compare.lossless import (
    MOST_CALIBRATED,
    Divergence,
    Healthy,
    calibrated,
    default_tolerance,
    find_divergences,
    first_difference,
    given_tolerance,
    judge,
    pair_turns,
)
from pytest_speedbench.compare.sampled_output import Draw, as_sampled, check_prompt, left_out
from pytest_speedbench.engines.protocol import Sampling, TokenScore, Trace
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.errors import EngineError
from pytest_speedbench.measure.results import Turn

IDS = st.lists(st.integers(0, 3), max_size=8)


# -- where outputs diverge ---------------------------------------------------------------------


@given(IDS, IDS)
def test_outputs_are_equal_up_to_the_first_difference(left: list[int], right: list[int]) -> None:
    at = first_difference(left, right)
    assert at == first_difference(right, left)
    assert (at is None) == (left == right)
    if at is not None:
        assert left[:at] == right[:at]
        assert left[at : at + 1] != right[at : at + 1]


def turn(
    ids: Sequence[int],
    sample: str = "a",
    number: int = 0,
    prompt: Sequence[int] = (1, 2),
    finish: str = "length",
) -> Turn:
    trace = Trace(sample, len(prompt), 0.0, list(ids), finish_reason=finish)  # type: ignore[arg-type]
    return Turn(sample, "math", number, trace, prompt)


def test_turns_are_compared_while_their_histories_are_equal() -> None:
    ours = [turn([5]), turn([7], number=1, prompt=[1, 2, 5]), turn([6], "b")]
    theirs = [turn([5]), turn([8], number=1, prompt=[1, 2, 9])]
    pairs, skipped = pair_turns(ours, theirs)
    assert pairs == [(ours[0], theirs[0])]
    assert skipped == 2


@pytest.mark.parametrize(
    ("ours", "theirs", "tokens"),
    [
        (turn([5, 6, 7]), turn([5, 6, 7]), None),
        (turn([5, 6, 7]), turn([5, 9, 7]), (1, 6, 9)),
        (turn([5, 6]), turn([5, 6, 7]), (2, None, 7)),
        # An engine that leaves its stop token out has chosen it all the same.
        (turn([5, 6], finish="stop"), turn([5, 6, 7]), (2, 3, 7)),
        (turn([5, 6], finish="stop"), turn([5, 6, 3], finish="stop"), None),
        (turn([], finish="stop"), turn([5]), (0, 3, 5)),
    ],
)
def test_partings(ours: Turn, theirs: Turn, tokens: tuple[int, int | None, int] | None) -> None:
    found = find_divergences([(ours, theirs)], stop_ids=[3])
    if tokens is None:
        assert found == []
    else:
        (divergence,) = found
        assert (divergence.position, divergence.speculative, divergence.plain) == tokens
        assert divergence.prompt == (1, 2)
        assert divergence.shared == tuple(ours.trace.token_ids[: tokens[0]])


# -- tie or defect --------------------------------------------------------------------------

PARTING = Divergence("a", 0, 3, (1, 2), (5, 6, 7), 8, 9)
HALF = default_tolerance("bfloat16")  # 0.5 nats at logits of 20


def scorer(speculative: float, plain: float, top: float | None = None):
    def score(text: Sequence[int], candidates: Sequence[int]) -> TokenScore:
        assert tuple(text) == (1, 2, 5, 6, 7)
        logprobs = dict(zip(candidates, (speculative, plain), strict=True))
        return TokenScore(logprobs, 9, top if top is not None else max(logprobs.values()), 20.0)

    return score


@pytest.mark.parametrize(
    ("score", "gap", "tie"),
    [
        (scorer(-1.0, -1.0), 0.0, True),
        (scorer(-1.5, -1.0), 0.5, True),
        (scorer(-1.6, -1.0), 0.6, False),
        (scorer(-1.0, -1.6), 0.6, False),  # the run without SD is the one that is off
        (scorer(-3.0, -3.0, top=-0.1), 2.9, False),  # two tokens that are equally wrong
        (scorer(-math.inf, -1.0), math.inf, False),
    ],
)
def test_a_gap_decides(score, gap: float, tie: bool) -> None:
    judged = judge(PARTING, score, HALF)
    assert judged.gap == pytest.approx(gap)
    assert judged.tie is tie


def test_an_output_that_just_ends_is_a_defect_whatever_the_tolerance() -> None:
    judged = judge(replace(PARTING, speculative=None), scorer(0, 0), given_tolerance(1e9, "x"))
    assert not judged.tie


def test_a_score_that_is_no_number_is_an_error() -> None:
    with pytest.raises(EngineError, match=r"position 3: .*are its weights damaged"):
        judge(PARTING, scorer(math.nan, -1.0, top=-1.0), HALF)


@pytest.mark.parametrize(
    ("dtype", "magnitude", "nats", "words"),
    [
        ("bfloat16", 20.0, 0.5, "4 ulps of bfloat16 at logits of 20, the default of this dtype"),
        ("bfloat16", None, 0.5, "4 ulps of bfloat16 at logits of an assumed 20"),
        ("float32", 20.0, 64 * 2**-19, "64 ulps of float32"),
        ("fp8_e4m3", 40.0, 1.0, "4 ulps of bfloat16.*the engine's dtype is 'fp8_e4m3'"),
    ],
)
def test_the_tolerance_is_stated(
    dtype: str, magnitude: float | None, nats: float, words: str
) -> None:
    allowed = default_tolerance(dtype)
    assert allowed.at(magnitude) == pytest.approx(nats)
    assert re.search(words, allowed.describe(magnitude))


@pytest.mark.parametrize("nats", [-0.1, math.nan, math.inf, "0.1", True])
def test_a_tolerance_is_a_number_of_nats(nats: object) -> None:
    with pytest.raises(ValueError, match="expected nats, a number >= 0"):
        given_tolerance(nats, "bfloat16")


@given(st.lists(st.floats(0, 1e3), max_size=5), st.sampled_from(["bfloat16", "float32"]))
def test_calibration_only_widens_and_not_without_end(gaps: list[float], dtype: str) -> None:
    default = default_tolerance(dtype)
    healthy = Healthy((1, 32), 80, len(gaps), tuple(gaps), (20.0,) * len(gaps))
    found = calibrated(default, healthy)
    assert default.ulps <= found.ulps <= MOST_CALIBRATED * default.ulps
    assert "BS 1 and BS 32" in found.source
    if max(gaps, default=0.0) <= default.at(20.0):
        assert found.ulps == default.ulps
    elif max(gaps) <= MOST_CALIBRATED * default.at(20.0):
        assert found.at(20.0) == pytest.approx(max(gaps))


# -- sampling -------------------------------------------------------------------------------

LOGPROBS = {10: math.log(0.5), 11: math.log(0.3), 12: math.log(0.15), 13: math.log(0.05)}


@given(
    st.dictionaries(st.integers(0, 9), st.floats(-30, -0.01), min_size=1),
    st.sampled_from([0.3, 1.0, 1.7]),
)
def test_probabilities_at_a_temperature(logprobs: dict[int, float], temperature: float) -> None:
    top = max(logprobs, key=logprobs.__getitem__)
    reported = TokenScore(logprobs, top, logprobs[top])
    found = as_sampled(reported, Sampling(temperature=temperature))
    assert math.fsum(found.values()) <= 1 + 1e-9
    order = sorted(logprobs, key=logprobs.__getitem__)
    assert [found[t] for t in order] == sorted(found.values())
    if temperature != 1.0:
        assert math.fsum(found.values()) == pytest.approx(1)


def copies(weights: dict[int, float], seed: int, count: int = 256, dl: int = 3) -> list[Trace]:
    """Copies whose first step accepted one draft token: positions 1 and 2 come from it."""
    draws = random.Random(seed)
    found = []
    for number in range(count):
        ids = [7, *draws.choices(list(weights), list(weights.values()), k=2), 1]
        found.append(
            Trace(str(number), 2, 0.0, ids, [1, 2, 1], [0.0, 1.0, 2.0], 1, [dl, dl], [1, 0])
        )
    return found


def score(text: Sequence[int], candidates: Sequence[int]) -> TokenScore:
    return TokenScore({token: LOGPROBS[token] for token in candidates}, 10, LOGPROBS[10])


def weights(temperature: float) -> dict[int, float]:
    return {token: math.exp(value / temperature) for token, value in LOGPROBS.items()}


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.5])
def test_a_correct_sampler_is_rarely_rejected(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "_DRAWS", 2_000)
    rejected = Counter[bool]()
    for seed in range(150):
        traces = copies(weights(temperature), seed)
        found = check_prompt("a", (1, 2), traces, Sampling(temperature=temperature), score, 0.05)
        assert [drawn.position for drawn in found] == [1, 2]
        assert all(drawn.informative for drawn in found)
        rejected.update(drawn.check.rejected for drawn in found)
    assert rejected[True] <= 27  # 0.05 of 300 is 15, and three standard deviations


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.5])
def test_a_sampler_that_believes_its_drafts_is_caught(temperature: float) -> None:
    right = weights(temperature)
    total = sum(right.values())
    biased = {t: 0.5 * w / total + 0.5 * (t == 10) for t, w in right.items()}
    how = Sampling(temperature=temperature)
    found = check_prompt("a", (1, 2), copies(biased, 0), how, score, 1e-4)
    assert found[0].check.rejected


def drawn_without_sd(temperature: float) -> Draw:
    """Next tokens as a correct engine draws them."""
    right = weights(temperature)
    draws = random.Random(1).choices(list(right), list(right.values()), k=64)
    return lambda text: draws


WRONG = 99
"""A token that the target does not choose."""


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.5])
@pytest.mark.parametrize("always", [10, WRONG])
def test_a_sampler_that_always_takes_one_token_is_caught(temperature: float, always: int) -> None:
    def with_wrong(text: Sequence[int], candidates: Sequence[int]) -> TokenScore:
        known = {**LOGPROBS, WRONG: -25.0}
        return TokenScore({token: known[token] for token in candidates}, 10, LOGPROBS[10])

    traces, how = copies({always: 1.0}, 0), Sampling(temperature=temperature)
    draw = drawn_without_sd(temperature)
    found = check_prompt("a", (1, 2), traces, how, with_wrong, 1e-4, draw)
    assert [drawn.check.rejected for drawn in found] == [True, True]


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.5])
def test_what_is_drawn_without_sd_rejects_no_correct_sampler(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "_DRAWS", 2_000)
    rejected, how = Counter[bool](), Sampling(temperature=temperature)
    draw = drawn_without_sd(temperature)
    for seed in range(150):
        traces = copies(weights(temperature), seed)
        found = check_prompt("a", (1, 2), traces, how, score, 0.05, draw)
        rejected.update(drawn.check.rejected for drawn in found)
    assert rejected[True] <= 27  # 0.05 of 300 is 15, and three standard deviations


def test_what_was_not_drafted_is_not_tested() -> None:
    traces = copies(weights(1.0), 0)
    for trace in traces:
        trace.chunks, trace.times = [1, 1, 1, 1], [0.0, 1.0, 2.0, 3.0]
        trace.drafted, trace.accepted = [], []
    assert check_prompt("a", (1, 2), traces, Sampling(temperature=1.0), score, 0.01) == []


def test_too_few_copies_alike_say_nothing() -> None:
    how = Sampling(temperature=1.0)
    assert check_prompt("a", (1, 2), copies(weights(1.0), 0, 20), how, score, 0.01) == []


Weights = dict[int, float]
FILTERED = [{"top_k": 2}, {"top_p": 0.7}, {"min_p": 0.5}, {"top_k": 3, "top_p": 0.75}]


def filtered(weights: Weights, how: Sampling, order: Sequence[str]) -> Weights:
    """The weights that an engine keeps which applies the filters in ``order``, descending."""
    kept = dict(sorted(weights.items(), key=lambda item: -item[1]))
    for name in order:
        total, best = sum(kept.values()), max(kept.values())
        ranked = list(kept.items())
        if name == "top_k" and how.top_k:
            kept = dict(ranked[: how.top_k])
        elif name == "top_p":
            before = [sum(w for _, w in ranked[:i]) for i in range(len(ranked))]
            within = zip(ranked, before, strict=True)
            kept = {t: w for (t, w), mass in within if mass < how.top_p * total}
        elif name == "min_p":
            kept = {t: w for t, w in ranked if w >= how.min_p * best}
    return kept


@given(
    st.lists(st.floats(0.001, 1.0), min_size=2, max_size=12),
    st.sampled_from([0.4, 1.0, 1.6]),
    st.integers(0, 5),
    st.floats(0.05, 1.0),
    st.floats(0.0, 0.9),
    st.permutations(["top_k", "top_p", "min_p"]),
    st.data(),
)
def test_what_an_engine_keeps_is_never_called_left_out(
    sizes: list[float],
    temperature: float,
    top_k: int,
    top_p: float,
    min_p: float,
    order: list[str],
    data: st.DataObject,
) -> None:
    probabilities = {token: size / sum(sizes) for token, size in enumerate(sizes)}
    how = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    kept = filtered({t: p ** (1 / temperature) for t, p in probabilities.items()}, how, order)
    named = data.draw(st.sets(st.sampled_from(list(probabilities)), min_size=1))
    top = max(probabilities, key=probabilities.__getitem__)
    logprobs = {token: math.log(probabilities[token]) for token in named}
    assert not left_out(TokenScore(logprobs, top, math.log(probabilities[top])), how) & set(kept)


@pytest.mark.parametrize("filters", FILTERED)
def test_a_correct_sampler_with_filters_is_not_rejected(filters: dict[str, Any]) -> None:
    how = Sampling(temperature=0.8, **filters)
    traces = copies(filtered(weights(0.8), how, ("top_k", "top_p", "min_p")), 0)
    found = check_prompt("a", (1, 2), traces, how, score, 0.01)
    assert found
    assert not any(drawn.check.rejected for drawn in found)


@pytest.mark.parametrize("filters", FILTERED)
def test_speculation_that_ignores_a_filter_is_caught(filters: dict[str, Any]) -> None:
    how = Sampling(temperature=0.8, **filters)
    found = check_prompt("a", (1, 2), copies(weights(0.8), 0), how, score, 1e-4)
    assert found[0].check.rejected
    assert found[0].check.impossible


# -- speed.assert_lossless() ----------------------------------------------------------------

TIES = "--speed-engine-arg=divergence=0.05"
DEFECT = "--speed-engine-arg=defect_at=5"


def check(
    project: Project, *arguments: str, body: str = "", marker: str = "", **ini: str
) -> pytest.RunResult:
    project.gate(marker, body or "speed.assert_lossless()")
    return project.run(*arguments, **{"speed_rounds": "1", **ini})


def reason(project: Project) -> str:
    text = (project.path / "summary.md").read_text()
    return next(line for line in text.splitlines() if "lossless: " in line).replace("\\", "")


def test_equal_outputs_pass(project: Project, engines: EngineLog) -> None:
    result = check(project, "--speed-summary=summary.md")
    result.assert_outcomes(passed=1)
    assert "lossless: pass, 11 of 11 outputs equal" in reason(project)
    assert sorted(engines.starts) == ["start simulated eagle3 dl3", "start simulated no SD"]


def test_ties_pass_and_are_told(project: Project) -> None:
    result = check(project, TIES, "--speed-summary=summary.md")
    result.assert_outcomes(passed=1, warnings=0)
    told = reason(project)
    assert "diverged in ties (widest gap 5.71e-06 nats; a tie is up to 0.000122 nats: 64" in told
    assert "turns left out, since an earlier turn differs" in told


def message(result: pytest.RunResult) -> str:
    """The message of a failure in one line."""
    lines = [line[1:] for line in result.stdout.lines if line.startswith("E   ")]
    return " ".join(" ".join(lines).split())


def test_a_wrong_token_fails_with_everything_one_needs(project: Project) -> None:
    result = check(project, DEFECT)
    result.assert_outcomes(failed=1)
    shown = [
        r"lossless: fail: 0 of 8 outputs equal; 8 with a token that the target would not choose; "
        r"3 turns.* simulated org/model eagle3 dl3 bs1 qualitative:math",
        r"sample 'math-\d+', turn 0, position 5 \(both from 0\)",
        r"prompt …'w\d+ .*'",
        r"output …'w\d+ w\d+ w\d+ w\d+ w\d+'",
        r"with SD 'w(\d+)' \(id \1\), log-probability -25",
        r"without SD 'w(\d+)' \(id \2\), log-probability -1\.05",
        r"gap 23\.95 nats, tolerance 0\.000122 nats: 64 ulps of float32 at logits of 20, .*",
        r"… and 5 more",
    ]
    assert re.search(r"(?s:.*?)".join(shown), message(result))
    result.stdout.fnmatch_lines(["*test_it.py:6: GateFailure"])


def test_a_tolerance_of_ones_own(project: Project) -> None:
    body = "speed.assert_lossless(tolerance=25)"
    check(project, DEFECT, "--speed-summary=summary.md", body=body).assert_outcomes(passed=1)
    assert "a tie is up to 25 nats, as asked" in reason(project)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("speed.assert_lossless(tolerance=-1)", "expected nats, a number >= 0"),
        ("speed.assert_lossless(copies=3)", "expected an integer >= 32"),
    ],
)
def test_bad_arguments(project: Project, body: str, message: str) -> None:
    result = check(project, body=body)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E*UsageError: *{message}*"])


@pytest.mark.parametrize(
    ("arguments", "marker", "message"),
    [
        (["--speed-rounds=0"], "", "--speed-rounds=0 leaves it out: give --speed-rounds=1 or more"),
        (["--speed-early"], "", "--speed-early leaves it out: leave --speed-early out"),
        ([], "soak=4", "a soak measures one engine alone: check it in a test without soak"),
        ([], "method='none'", "a run without SD is its own reference"),
    ],
)
def test_without_a_reference_there_is_no_verdict(
    project: Project, arguments: list[str], marker: str, message: str
) -> None:
    result = check(project, *arguments, marker=marker)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"E*NoData: *{message}*", "*test_it.py:6: NoData"])


def test_an_engine_that_cannot_score_leaves_it_open(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_speedbench.session import target_scores

    monkeypatch.setattr(
        target_scores, "engine_type", lambda name: replace(engine_type(name), scores=False)
    )
    check(project).assert_outcomes(passed=1, warnings=0)
    result = check(project, TIES)
    result.assert_outcomes(passed=1, warnings=1)
    assert "reports no log-probabilities, so that ties and defects cannot" in text_of(result)
    check(project, TIES, "--speed-inconclusive=fail").assert_outcomes(failed=1)


def test_later_turns_count_while_histories_are_equal(project: Project) -> None:
    rows = '{"id": "a", "category": "math", "turns": ["one two", "three", "four"]}\n'
    project.file("talk.jsonl", rows)
    ini = {"speed_split": "talk.jsonl"}
    check(project, "--speed-summary=summary.md", **ini).assert_outcomes(passed=1)
    assert "3 of 3 outputs equal" in reason(project)
    check(project, DEFECT, "--speed-summary=summary.md", **ini).assert_outcomes(failed=1)
    told = reason(project)
    assert "0 of 1 outputs equal; 1 with a token" in told
    assert "2 turns left out, since an earlier turn differs" in told


def test_an_engine_that_the_plan_has_closed_is_asked_once_more(
    project: Project, engines: EngineLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_speedbench.measure.pool import EnginePool

    monkeypatch.setattr(EnginePool, "room_beside", lambda *_: False)
    check(project, TIES).assert_outcomes(passed=1)
    assert engines.events == [
        "start simulated no SD",
        "close simulated no SD",
        "start simulated eagle3 dl3",
        "close simulated eagle3 dl3",
        "start simulated no SD",
        "close simulated no SD",
    ]


# -- calibration and tie rates --------------------------------------------------------------

BATCHES = "bs=[1, 8]"


def test_two_batch_sizes_without_sd_calibrate(project: Project) -> None:
    """Both part in ties only, so the default stays; and the rate is that of healthy runs."""
    result = check(
        project,
        "--speed-engine-arg=batch_ties=0.03",
        TIES,
        "--speed-summary=summary.md",
        marker=BATCHES,
    )
    result.assert_outcomes(passed=2, warnings=0)
    text = (project.path / "summary.md").read_text()
    assert "calibrated on 1" in text
    assert "outputs without SD at BS 8 and BS 1" in text
    assert "between runs without SD (p = " in text


def test_far_more_ties_than_batch_sizes_make_are_told(project: Project) -> None:
    arguments = ("--speed-engine-arg=divergence=0.2", "--speed-samples=20")
    result = check(project, *arguments, marker=BATCHES)
    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines(["*SpeedWarning: undecided: lossless: see the section*"])
    report = " ".join(result.stdout.str().partition("= speedbench =")[2].split())
    assert "lossless: undecided, 0 of 20 outputs equal" in report
    assert "ties in 100% of outputs, 0% between runs without SD (p = " in report
    assert "more than rounding at another batch size explains" in report
    check(project, *arguments, "--speed-inconclusive=fail", marker=BATCHES).assert_outcomes(
        passed=1, failed=1
    )


def test_losslessness_alone_is_no_comparison_with_a_baseline(project: Project) -> None:
    project.gate("", "speed.assert_lossless()")
    project.run("--benchmark-save=a", speed_rounds="1")
    result = project.run("--speed-compare", speed_rounds="1", speed_max_tokens="24")
    assert "lossless" in result.stdout.str()
    assert "gate: acceptance_length: 1 incomparable; lossless: 1 pass" in result.stdout.str()


# -- at a temperature -----------------------------------------------------------------------


@pytest.mark.parametrize("temperature", ["1", "0.7"])
def test_a_correct_sampler_passes(project: Project, temperature: str) -> None:
    result = check(project, f"--speed-temperature={temperature}", "--speed-summary=summary.md")
    result.assert_outcomes(passed=1, warnings=0)
    assert "lossless: pass, 8 positions of 4 prompts" in reason(project)


@pytest.mark.parametrize("temperature", ["1", "0.7"])
def test_a_biased_sampler_fails(project: Project, temperature: str) -> None:
    result = check(project, f"--speed-temperature={temperature}", "--speed-engine-arg=bias=0.5")
    result.assert_outcomes(failed=1)
    shown = [
        r"lossless: fail: \d+ positions? drawn with other probabilities than the target's "
        r"simulated org/model eagle3 dl3 bs1 t[\d.]+ qualitative:math",
        r"sample 'math-\d+', position [12] \(from 0\), after 'w\d+.*'",
        r"p = .* at level 0\.999792, \d+ draws; without SD p = .*",
        r"'w(\d+)' \(id \1\): drawn \d+ times, expected \d+\.\d",
    ]
    assert re.search(r"(?s:.*?)".join(shown), message(result))


@pytest.mark.parametrize(
    "fault", ["bias=1", "defect_at=1"], ids=["most likely token", "wrong token"]
)
def test_a_sampler_that_always_takes_one_token_fails(project: Project, fault: str) -> None:
    arguments = ("--speed-temperature=0.7", "--speed-top-p=0.9", f"--speed-engine-arg={fault}")
    result = check(project, *arguments)
    result.assert_outcomes(failed=1)
    assert "drawn with other probabilities than the target's" in message(result)


def test_filters_are_part_of_the_probabilities(project: Project) -> None:
    arguments = ("--speed-temperature=0.7", "--speed-top-p=0.8", "--speed-top-k=3")
    check(project, *arguments, "--speed-summary=summary.md").assert_outcomes(passed=1, warnings=0)
    assert "lossless: pass, 8 positions of 4 prompts" in reason(project)


def test_a_sampler_that_is_biased_without_sd_too_is_not_sds_fault(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_speedbench.session.lossless import LosslessCheck

    monkeypatch.setattr(LosslessCheck, "_without_sd", lambda *_: 0.0)
    result = check(project, "--speed-temperature=1", "--speed-engine-arg=bias=0.5")
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*the engine without SD is rejected as well*"])


def test_where_nothing_is_drafted_nothing_is_verified(project: Project) -> None:
    result = check(project, "--speed-temperature=1", "--speed-engine-arg=speculation_off=1")
    result.assert_outcomes(failed=1)  # speculation off, told after the body
    result.stdout.fnmatch_lines(["*undecided, *no drafted position has two likely tokens*"])
