"""Prefix caching on real engines on the CPU: cold, then warm, the same text and acceptance."""

from __future__ import annotations

import json

import pytest

from pytest_speedbench.baselines.storage import read_run

from .conftest import HEAD, needs_demo, needs_llama_cpp, needs_vllm

pytestmark = [needs_demo, pytest.mark.engine]

VLLM = (
    *("--speed-engine=vllm", "--speed-method=eagle3", f"--speed-drafter={HEAD}"),
    "--speed-engine-arg=dtype=float32",
)
VLLM_SERVER = ("--speed-engine=vllm-server", *VLLM[1:])
# Threads of llama.cpp wait for one another by spinning, which takes long on a busy machine.
LLAMA_CPP = (
    *("--speed-engine=llama-cpp", "--speed-method=draft_model", "--speed-drafter=demo"),
    "--speed-engine-arg=threads=1",
)


# Several blocks of the cache: 128 tokens in vLLM on a CPU, one in llama.cpp.
@pytest.mark.parametrize(
    ("engine", "items"),
    [
        pytest.param(VLLM, 16, marks=needs_vllm, id="vllm"),
        pytest.param(VLLM_SERVER, 16, marks=needs_vllm, id="vllm-server"),
        pytest.param(LLAMA_CPP, 3, marks=needs_llama_cpp, id="llama-cpp"),
    ],
)
def test_warm_rounds_hit_the_cache_and_keep_acceptance(
    pytester: pytest.Pytester, engine: tuple[str, ...], items: int
) -> None:
    listed = (
        f"Item {n} of the list costs {n} euros and weighs {2 * n} grams." for n in range(items)
    )
    system = " ".join(listed)
    rows = [
        {
            "id": f"r{n}",
            "category": "shop",
            "system": system,
            "turns": [f"What costs {n} euros?", "Again."],
        }
        for n in (1, 2)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (pytester.path / "shop.jsonl").write_text(lines, encoding="utf-8")
    pytester.makepyfile(
        "import pytest\n"
        "@pytest.mark.speed(prefix_caching=True, dl=2, bs=2, category='all')\n"
        "def test_it(speed):\n"
        "    speed.assert_cache_neutral(acceptance_length='60%')\n"
    )
    result = pytester.runpytest_subprocess(
        *("-q", "-p", "no:cacheprovider", "--benchmark-save=a", "--speed-rounds=0"),
        *("--speed-model=demo", "--speed-split=shop.jsonl", *engine),
        *("--speed-max-tokens=12", "--speed-engine-arg=max_model_len=1024"),
    )
    result.assert_outcomes(passed=1)
    (path,) = (pytester.path / ".benchmarks").rglob("*.json")
    (record,) = read_run(path).records.values()
    hits, warm = record.metric("cache_hit_rate"), record.metric("acceptance_length")
    cold = record.metric("cold_acceptance_length")
    assert hits is not None
    assert warm is not None
    assert cold is not None
    assert hits.value > 0.3
    assert warm.value == pytest.approx(cold.value, rel=0.3)
    assert not any("cold" in note for note in record.notes)
