"""Replay: which requests go out along a baseline's outputs, and when none do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated_runs import SAMPLES, InProcess, loop_of, measure, record_of

from pytest_speedbench.baselines.records import decode_turns
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.replay import outputs_of
from pytest_speedbench.engines.protocol import EngineInfo, Sampling, Speculation, Trace
from pytest_speedbench.errors import MeasurementMismatch
from pytest_speedbench.measure.replay import BaselineTurn, refusal, replay
from pytest_speedbench.measure.replayed import Replay
from pytest_speedbench.measure.tokenizer import WordTokenizer
from pytest_speedbench.splits import Sample

TALK = [Sample(f"t{n}", "math", ("hello", f"and {n}", "then")) for n in range(6)]
TIES = {"divergence": 0.03, "build": 1}


@pytest.fixture(scope="module")
def baseline() -> Record:
    return record_of(measure())


def replayed(baseline: Record, **args: object) -> Replay:
    found = measure(baseline, **args).replay  # type: ignore[arg-type]
    assert found is not None
    return found


def test_an_equal_build_sends_no_further_request(baseline: Record) -> None:
    found = replayed(baseline)
    assert len(found.turns) == len(SAMPLES)
    assert found.requests == found.output_tokens == 0
    assert all(turn.free and not turn.given_up for turn in found.turns.values())


def test_requests_resume_the_baselines_text_and_go_to_its_end(baseline: Record) -> None:
    engine = InProcess(TIES)
    found = measure(baseline, engine=engine).replay
    assert found is not None
    assert found.requests > 10
    outputs = outputs_of(baseline)
    turns = {turn.sample: turn for turn in decode_turns(baseline)}
    resumed = [request for request in engine.sent if request.resumed]
    assert len(resumed) == found.requests
    for request in resumed:
        sample = request.id.split("/")[1]
        ids = turns[sample].trace.token_ids
        assert list(request.prompt_ids[-request.resumed :]) == ids[: request.resumed]
        assert request.sampling.max_tokens == len(ids) - request.resumed
        steps = outputs[sample, 0].trace
        starts = steps.prefill_tokens + np.cumsum(steps.steps) - steps.steps
        assert request.resumed + 1 in starts  # the prefill emits the token before a step


def test_the_free_outputs_are_those_of_a_run_without_replay(baseline: Record) -> None:
    alone, with_replay = record_of(measure(**TIES)), record_of(measure(baseline, **TIES))
    assert [(r.sample, r.steps, r.ids) for r in with_replay.requests] == [
        (r.sample, r.steps, r.ids) for r in alone.requests
    ]
    for name in ("acceptance_length", "acceptance_rate"):
        assert with_replay.metrics[name] == alone.metrics[name]
    assert with_replay.arm is not None
    assert alone.arm is not None
    assert with_replay.arm.counters == alone.arm.counters


def test_a_stop_token_of_the_baseline_is_a_position_like_others() -> None:
    stopped = record_of(measure(tokens=30))
    found = replayed(stopped, tokens=30, **TIES)
    outputs = outputs_of(stopped)
    ends = [
        (turn.resumed[-1].start + turn.resumed[-1].trace.tokens, outputs[key].trace.output_tokens)
        for key, turn in found.turns.items()
        if turn.resumed
    ]
    assert ends
    assert all(end == length for end, length in ends)
    assert {request.finish for request in stopped.requests} == {"stop", "length"}


def test_conversations_continue_with_the_baselines_answers() -> None:
    old = record_of(measure(samples=TALK, max_tokens=24))
    engine = InProcess({"divergence": 0.05, "build": 1})
    found = measure(old, TALK, 24, engine).replay
    assert found is not None
    later = {key: turn for key, turn in found.turns.items() if key[1] > 0}
    assert len(later) == 12
    assert not all(turn.free for turn in later.values())
    tokenizer = WordTokenizer()
    outputs = outputs_of(old)
    sample = TALK[0]
    answer = outputs[sample.id, 0].trace.token_ids
    assert answer is not None
    history = tokenizer.render(
        [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": tokenizer.decode(answer.tolist())},
            {"role": "user", "content": "and 0"},
        ]
    )
    prompts = [r.prompt_ids for r in engine.sent if r.id.startswith(f"replay/{sample.id}/1/")]
    assert all(list(prompt[: len(history)]) == history for prompt in prompts)
    assert outputs[sample.id, 1].prompt_tokens == len(history)


def test_a_request_that_always_diverges_is_given_up() -> None:
    old = record_of(measure(max_tokens=48, samples=SAMPLES[:2]))
    engine = InProcess({"divergence": 1, "build": 1})
    found = measure(old, SAMPLES[:2], 48, engine).replay
    assert found is not None
    assert {turn.given_up for turn in found.turns.values()} == {"it diverged more than 7 times"}
    assert all(len(turn.resumed) == 7 for turn in found.turns.values())


def test_a_resumed_request_that_the_engine_ends_is_given_up(baseline: Record) -> None:
    class Ending(InProcess):
        def collect(self, timeout: float) -> list[Trace]:
            found = super().collect(timeout)
            for trace in found:
                if trace.request_id.startswith("replay/s1/"):
                    trace.finish_reason = "abort"
            return found

    found = measure(baseline, engine=Ending({"divergence": 0.2, "build": 1})).replay
    assert found is not None
    assert found.turns["s1", 0].given_up == "the engine ended a resumed request"


def test_replayed_requests_are_held_against_the_engines_counters(baseline: Record) -> None:
    class Miscounting(InProcess):
        def counters(self):  # type: ignore[no-untyped-def]
            found = super().counters()
            replaying = any(request.resumed for request in self.sent)
            return replace(found, accepted_tokens=found.accepted_tokens + replaying)

    with pytest.raises(MeasurementMismatch, match="its requests add up to"):
        measure(baseline, engine=Miscounting(TIES))


def test_a_baseline_of_another_tokenizer_is_not_followed(baseline: Record) -> None:
    engine = InProcess(TIES)
    run = measure(engine=engine)
    outputs = outputs_of(baseline)
    longer = {key: replace(turn, prompt_tokens=9) for key, turn in outputs.items()}
    refused = replay(loop_of(engine), SAMPLES, run.arm.turns, longer, 4).refused
    assert refused == (
        "the baseline used another tokenizer: the prompt of sample 's0' has 9 tokens there, 5 here"
    )
    foreign = {key: _with_ids(turn, 40_000) for key, turn in outputs.items()}
    refused = replay(loop_of(engine), SAMPLES, run.arm.turns, foreign, 4).refused
    assert "token id 40000 in sample 's0', and this vocabulary has 32000 tokens" in refused
    assert not any(request.resumed for request in engine.sent)


def _with_ids(turn: BaselineTurn, token: int) -> BaselineTurn:
    ids = np.full(turn.trace.output_tokens, token)
    return replace(turn, trace=replace(turn.trace, token_ids=ids))


@pytest.mark.parametrize(
    ("method", "temperature", "form", "details", "reason"),
    [
        ("eagle3", 0.7, "token_ids", {}, "temperature 0.7: sampled outputs always differ"),
        ("eagle3", 0.0, "chat", {}, "engine e takes only text"),
        ("suffix", 0.0, "token_ids", {}, "method suffix drafts from earlier requests too"),
        ("ngram", 0.0, "token_ids", {"shared_draft_pool": True}, "drafts from earlier requests"),
        ("dspark", 0.0, "token_ids", {}, "whether method dspark keeps a state"),
        ("eagle3", 0.0, "token_ids", {"prefix_caching": True}, "prefix caching is on"),
        (
            "eagle3",
            0.0,
            "token_ids",
            {"speculative.num_speculative_tokens_per_batch_size": [[1, 8, 3]]},
            "changes the draft length during a run",
        ),
    ],
)
def test_what_is_not_replayed_and_why(
    method: str, temperature: float, form: str, details: dict[str, object], reason: str
) -> None:
    info = EngineInfo("e", "1", "cpu", "float32", details)
    speculation, sampling = Speculation(method, 3), Sampling(16, temperature)
    assert reason in refusal(speculation, sampling, info, form)  # type: ignore[arg-type]
    plain = EngineInfo("e", "1", "cpu", "float32", {"speculative.adaptive": False})
    assert refusal(Speculation("ngram", 3), Sampling(16), plain, "token_ids") == ""


def test_the_note_says_what_replay_cost(baseline: Record) -> None:
    run = measure(baseline, **TIES)
    assert run.replay is not None
    (note,) = [note for note in run.notes if "replayed" in note]
    assert note.startswith(
        f"replayed along the baseline: {run.replay.requests} resumed requests for 24 outputs "
        f"({run.replay.output_tokens:,} output tokens, +"
    )
