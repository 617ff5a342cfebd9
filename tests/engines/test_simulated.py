"""The simulated engine follows its declared acceptance process."""

from __future__ import annotations

import math
from statistics import mean

import pytest

from pytest_speedbench.engines import EngineConfig, EngineError, Request, Sampling, Speculation
from pytest_speedbench.engines.process.child import RequestLoop
from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.engines.registry import check
from pytest_speedbench.engines.simulated import TARGET, SimulatedBackend

SD = Speculation("eagle3", 3)
SAMPLING = Sampling(max_tokens=64)


class Listener:
    """A connection that receives nothing and keeps what is sent."""

    def __init__(self) -> None:
        self.traces: list[Trace] = []

    def send(self, message: tuple[object, ...]) -> None:
        if message[0] == "traces":
            self.traces += message[1]  # type: ignore[arg-type]


def simulate(
    speculation: Speculation = SD,
    requests: int = 40,
    batch: int = 4,
    sampling: Sampling = SAMPLING,
    **args: object,
) -> tuple[list[Trace], SimulatedBackend]:
    backend = SimulatedBackend(
        EngineConfig("simulated", "org/m", speculation, batch, args=tuple(args.items()))
    )
    listener = Listener()
    loop = RequestLoop(backend, listener)  # type: ignore[arg-type]
    loop.on_hold(batch)
    prompts = [
        Request(f"r{i}", (1, 20 + i, 1), sampling, (2,), speculation, "math" if i % 2 else "qa")
        for i in range(requests)
    ]
    loop.on_submit(prompts, False)
    while len(listener.traces) < requests:
        loop.admit()
        loop.report(backend.step())
    return sorted(listener.traces, key=lambda trace: int(trace.request_id[1:])), backend


def length(traces: list[Trace]) -> float:
    return sum(sum(t.steps) for t in traces) / sum(len(t.steps) for t in traces)


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.8, 1.0])
def test_acceptance_length_is_the_declared_one(acceptance: float) -> None:
    traces, _ = simulate(acceptance=acceptance, spread=0, requests=100)
    wanted = sum(acceptance**k for k in range(4))
    assert length(traces) == pytest.approx(wanted, rel=0.06)


def test_acceptance_may_differ_by_position_and_category() -> None:
    traces, _ = simulate(acceptance="1:0:0", spread=0, **{"acceptance.math": 0})
    assert {max(t.steps) for t in traces[0::2]} == {2}
    assert {max(t.steps) for t in traces[1::2]} == {1}


def test_output_is_the_same_with_and_without_speculation() -> None:
    with_sd, _ = simulate()
    without, _ = simulate(Speculation())
    assert [t.token_ids for t in with_sd] == [t.token_ids for t in without]
    assert all(t.steps == [1] * 63 for t in without)


def test_output_is_the_same_at_every_batch_size() -> None:
    one, many = simulate(batch=1)[0], simulate(batch=16)[0]
    assert [t.token_ids for t in one] == [t.token_ids for t in many]


def test_divergence_makes_outputs_diverge_and_builds_differ() -> None:
    plain, _ = simulate(Speculation())
    first, _ = simulate(divergence=0.02, build=1)
    second, _ = simulate(divergence=0.02, build=2)
    again, _ = simulate(divergence=0.02, build=2)
    diverged = mean(a.token_ids != b.token_ids for a, b in zip(plain, first, strict=True))
    assert 0.4 < diverged < 1.0  # 1 - 0.98**64 = 0.73
    assert [t.token_ids for t in first] != [t.token_ids for t in second]
    assert [t.token_ids for t in again] == [t.token_ids for t in second]


def test_counters_are_the_sums_of_the_requests() -> None:
    traces, backend = simulate()
    counters = backend.counters()
    assert counters is not None
    assert counters.drafts == sum(len(t.drafted or ()) for t in traces)
    assert counters.accepted_tokens == sum(sum(t.accepted or ()) for t in traces)


def test_without_speculation_nothing_is_counted() -> None:
    traces, backend = simulate(Speculation())
    assert backend.counters() is None
    assert {t.drafted for t in traces} == {None}


def test_speculation_off_drafts_nothing_without_an_error() -> None:
    traces, backend = simulate(speculation_off=1)
    counters = backend.counters()
    assert counters is not None
    assert counters.draft_tokens == 0
    assert length(traces) == 1.0


def test_lengths_vary_about_their_mean_and_end_with_the_stop_token() -> None:
    traces, _ = simulate(tokens=20, requests=200)
    stopped = [t for t in traces if t.finish_reason == "stop"]
    assert mean(t.tokens for t in traces) == pytest.approx(20, rel=0.15)
    assert {t.token_ids[-1] for t in stopped} == {2}


def test_a_fixed_length_ignores_the_stop_token() -> None:
    traces, _ = simulate(tokens=20, sampling=Sampling(max_tokens=30, ignore_eos=True))
    assert {t.tokens for t in traces} == {30}


def test_time_is_virtual_and_follows_the_declared_costs() -> None:
    traces, _ = simulate(batch=1, requests=1, step_ms=10, draft_ms=2)
    (trace,) = traces
    gaps = [b - a for a, b in zip(trace.times, trace.times[1:], strict=False)]
    assert gaps == pytest.approx([0.016] * len(gaps))


@pytest.mark.parametrize("value", ["1.2", "-0.1", "much", "0.5:2", ""])
def test_acceptance_must_be_a_share(value: str) -> None:
    with pytest.raises(EngineError, match="expected numbers from 0 to 1"):
        check(EngineConfig("simulated", "m", SD, 1, args=(("acceptance", value),)))


@pytest.mark.parametrize("name", ["acceptence", "stepms", "x"])
def test_an_unknown_argument_is_refused_with_those_that_it_has(name: str) -> None:
    with pytest.raises(EngineError, match=f"no argument {name!r}.*known: acceptance, acceptance"):
        check(EngineConfig("simulated", "m", SD, 1, args=((name, 1),)))


PROMPT = (1, 20, 1)


def scored(backend: SimulatedBackend, trace: Trace, position: int, *candidates: int) -> list[float]:
    """How far each candidate lies below the best token, in nats."""
    text = [*PROMPT, *trace.token_ids[:position]]
    score = backend.score([*text, 99], len(text), candidates)
    return [score.top_logprob - score.logprobs[token] for token in candidates]


def test_score_knows_the_token_that_was_chosen() -> None:
    (trace,), backend = simulate(requests=1)
    for position, token in enumerate(trace.token_ids):
        assert scored(backend, trace, position, token) == [0.0]


def test_score_calls_a_divergence_a_tie_and_a_defect_none() -> None:
    (plain,), _ = simulate(Speculation(), requests=1)
    (tied,), backend = simulate(requests=1, divergence=1)
    (wrong,), _ = simulate(requests=1, defect_at=0)
    assert tied.token_ids[0] != plain.token_ids[0] != wrong.token_ids[0]
    gaps = scored(backend, plain, 0, tied.token_ids[0], wrong.token_ids[0])
    assert 0 < gaps[0] < 1e-5
    assert gaps[1] > 20


def test_a_defect_has_its_position_and_needs_speculation() -> None:
    plain, _ = simulate(Speculation(), defect_at=7)
    wrong, _ = simulate(defect_at=7)
    for a, b in zip(plain, wrong, strict=True):
        assert a.token_ids[:7] == b.token_ids[:7]
        assert a.token_ids[7] != b.token_ids[7]


def test_batch_ties_change_batch_sizes_and_not_arms() -> None:
    alone, _ = simulate(Speculation(), batch=1, batch_ties=0.1)
    together, _ = simulate(Speculation(), batch=4, batch_ties=0.1)
    assert [t.token_ids for t in alone] == [t.token_ids for t in simulate(batch=1)[0]]
    assert sum(a.token_ids != b.token_ids for a, b in zip(alone, together, strict=True)) > 20


def drawn(**args: object) -> list[float]:
    """Shares of the three most likely tokens at the second position, over 400 seeds."""
    counts = [0, 0, 0]
    for seed in range(400):
        sampling = Sampling(max_tokens=2, temperature=1.0, seed=seed)
        (trace,), backend = simulate(requests=1, sampling=sampling, **args)
        (gap,) = scored(backend, trace, 1, trace.token_ids[1])
        for rank, probability in enumerate(TARGET[:3]):
            counts[rank] += gap == pytest.approx(math.log(TARGET[0] / probability), abs=1e-9)
    return [count / 400 for count in counts]


def test_a_temperature_draws_from_the_scored_distribution() -> None:
    assert drawn() == pytest.approx(TARGET[:3], abs=0.07)


def test_bias_takes_the_most_likely_token_too_often() -> None:
    assert drawn(bias=0.5)[0] == pytest.approx(0.5 + 0.5 * TARGET[0], abs=0.07)


def test_acceptance_fades_with_every_request_served() -> None:
    traces, _ = simulate(requests=200, batch=1, acceptance=0.8, spread=0, fade=0.02)
    assert length(traces[:20]) > 2.3
    assert length(traces[-20:]) < 1.1
