"""Draft lengths that vLLM adapts to the batch size, on the CPU."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pytest_speedbench.engines import EngineConfig, Sampling, Speculation
from pytest_speedbench.engines.demo import DEMO_MODEL
from pytest_speedbench.measure.check import check_counters, check_traces
from pytest_speedbench.measure.tokenizer import HuggingFaceTokenizer

from .conftest import HEAD, PROMPTS, Driver, needs_demo, needs_vllm, started

pytestmark = [needs_demo, needs_vllm, pytest.mark.engine]

EAGLE3 = Speculation("eagle3", 3, str(HEAD))
SCHEDULE = ("speculative.num_speculative_tokens_per_batch_size", [[1, 1, 3], [2, 64, 0]])
ARGS = (("max_model_len", 256), ("dtype", "float32"))
# Of one length: a request that is left alone is a batch of one.
TWELVE = Sampling(12, ignore_eos=True)


@pytest.fixture(scope="module")
def adaptive(tokenizer: HuggingFaceTokenizer) -> Iterator[Driver]:
    yield from started(
        EngineConfig("vllm", DEMO_MODEL, EAGLE3, 2, args=(*ARGS, SCHEDULE)), tokenizer
    )


@pytest.mark.parametrize(("batch_size", "drafts"), [(1, True), (2, False)])
def test_the_batch_size_decides_whether_a_step_drafts(
    adaptive: Driver, batch_size: int, drafts: bool
) -> None:
    before = adaptive.engine.counters()
    traces = adaptive.run(EAGLE3, batch_size=batch_size, sampling=TWELVE, prompts=PROMPTS[:2])
    after = adaptive.engine.counters()
    assert before is not None
    assert after is not None
    check_traces(traces, EAGLE3)
    check_counters(traces, EAGLE3, after - before)
    assert (after.drafts > before.drafts) is drafts
    assert all((max(trace.steps) > 1) is drafts for trace in traces)


@pytest.mark.nightly
def test_a_schedule_is_held_against_no_sd_in_turns(pytester: pytest.Pytester) -> None:
    rows = [{"id": str(n), "category": "c", "prompt": text} for n, text in enumerate(PROMPTS)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (pytester.path / "four.jsonl").write_text(lines, encoding="utf-8")
    pytester.makepyfile(
        "import pytest\n"
        "@pytest.mark.speed(bs=2, dl=3, category='all')\n"
        "def test_it(speed):\n"
        "    speed.assert_never_worse(than=['none'], margin='90%')\n"
    )
    name, schedule = SCHEDULE
    result = pytester.runpytest_subprocess(
        *("-q", "-p", "no:cacheprovider", "--speed-rounds=3", "--speed-max-tokens=12"),
        *("--speed-engine=vllm", "--speed-model=demo", "--speed-split=four.jsonl"),
        *("--speed-method=eagle3", f"--speed-drafter={HEAD}", "--benchmark-save=a"),
        f"--speed-engine-arg={name}={json.dumps(schedule, separators=(',', ':'))}",
        *(f"--speed-engine-arg={key}={value}" for key, value in ARGS),
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*never_worse: *x of no SD *"])
