"""The gate, losslessness and soaks on a real engine: transformers with SmolLM2 on the CPU."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from random import Random

import pytest

from pytest_speedbench.baselines.storage import read_run
from pytest_speedbench.compare.lossless import Divergence, default_tolerance, given_tolerance, judge
from pytest_speedbench.engines import EngineConfig, Sampling, Speculation
from pytest_speedbench.engines.demo import DEMO_MODEL
from pytest_speedbench.engines.protocol import TokenScore

from .conftest import PROMPTS, Driver, needs_demo, started

pytestmark = [needs_demo, pytest.mark.engine, pytest.mark.nightly]

SAMPLES = 96
THINGS = (
    "apple boat cloud drum eagle forest garden harbour island jacket kettle ladder mirror needle "
    "orchard pencil quarry river saddle tunnel umbrella valley window yard"
)
WIDE = "--speed-compare-fail=acceptance_length:60%"


@pytest.fixture
def suite(pytester: pytest.Pytester) -> pytest.Pytester:
    """Copying tasks, in which prompt lookup finds most of the answer."""
    rows = [
        {
            "id": f"copy-{i}",
            "category": "copy",
            "prompt": "Repeat this line four times, word for word: "
            + " ".join(Random(i).sample(THINGS.split(), 7)),
        }
        for i in range(SAMPLES)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (pytester.path / "copy.jsonl").write_text(lines, encoding="utf-8")
    pytester.makeini(
        "[pytest]\nspeed_engine = transformers\nspeed_method = ngram\nspeed_split = copy.jsonl\n"
        "speed_samples = all\nspeed_max_tokens = 40\nspeed_rounds = 0\n"
        "speed_engine_arg = dtype=float32\n"
    )
    return pytester


def gate(suite: pytest.Pytester, *arguments: str, marker: str = "dl=5", body: str = "pass") -> str:
    """The output of a session of one speed test."""
    suite.makepyfile(
        f"import pytest\n@pytest.mark.speed({marker})\ndef test_it(speed):\n    {body}\n"
    )
    result = suite.runpytest_subprocess("-q", *arguments)
    return result.stdout.str() + result.stderr.str()


def test_equal_builds_pass_early_and_different_builds_fail(
    suite: pytest.Pytester,
) -> None:
    gate(suite, "--benchmark-save=base", "--speed-dl=5")
    equal = gate(suite, "--speed-early", WIDE)
    assert "gate: 1 pass" in equal
    stop = re.search(r"stopped early: decided after (\d+) of (\d+) samples", equal)
    assert stop is not None
    assert int(stop[1]) < int(stop[2]) == SAMPLES
    gate(suite, "--benchmark-save=short", marker="dl=1")
    shorter = suite.run(
        str(Path(sys.executable).with_name("speedbench")),
        "compare",
        "base",
        "short",
        "--map",
        "dl=5:1",
        "--fail",
        "acceptance_length:10%",
    )
    assert shorter.ret == 1
    assert "gate: 1 fail" in shorter.stdout.str()


def test_output_with_speculation_is_the_targets_own(suite: pytest.Pytester) -> None:
    output = gate(
        suite,
        "--speed-rounds=1",
        marker="dl=3, samples=4, max_tokens=24",
        body="speed.assert_lossless()",
    )
    assert "1 passed" in output


def test_draws_at_a_temperature_are_the_targets_own(suite: pytest.Pytester) -> None:
    output = gate(
        suite,
        "--speed-rounds=1",
        marker="dl=3, samples=1, max_tokens=8, temperature=1.0",
        body="speed.assert_lossless(copies=48)",
    )
    assert "1 passed" in output


def test_a_short_soak_keeps_its_series_and_shows_no_drift(suite: pytest.Pytester) -> None:
    output = gate(suite, "--benchmark-save=soak", marker="dl=3, samples=1, max_tokens=16, soak=6")
    assert "1 passed" in output
    saved = next(suite.path.rglob("*_soak.json"))
    (record,) = read_run(saved).records.values()
    assert len(record.drift) == 6
    assert all(point.acceptance_length and point.step_time for point in record.drift)
    assert [p.start for p in record.drift] == sorted(p.start for p in record.drift)


def test_the_target_distinguishes_a_tie_from_a_defect(tokenizer: object) -> None:
    """A token the target would never choose is a defect; its second choice within the tolerance
    is a tie."""
    none = Speculation()
    engines = started(EngineConfig("transformers", DEMO_MODEL, none), tokenizer)
    driver: Driver = next(engines)
    (trace,) = driver.run(none, sampling=Sampling(8, ignore_eos=True), prompts=PROMPTS[:1])
    prompt = tuple(tokenizer.render([{"role": "user", "content": PROMPTS[0]}]))  # type: ignore[attr-defined]
    shared, chosen = tuple(trace.token_ids[:4]), trace.token_ids[4]

    def score(text: object, candidates: object) -> TokenScore:
        return driver.engine.score(list(text), len(list(text)), list(candidates))  # type: ignore[call-overload]

    wrong = Divergence("a", 0, 4, prompt, shared, 17, chosen)
    judged = judge(wrong, score, default_tolerance("float32"))
    assert not judged.tie
    assert judged.gap > 1
    assert judge(wrong, score, given_tolerance(judged.gap * 1.01, "float32")).tie
    engines.close()
