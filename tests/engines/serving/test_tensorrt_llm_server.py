"""``trtllm-serve`` over real HTTP, on answers of the shape that it gives; it never ran here."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_speedbench.engines import (
    Engine,
    EngineConfig,
    EngineError,
    Request,
    RequestTotals,
    Sampling,
    Speculation,
    Trace,
    open_engine,
)
from pytest_speedbench.engines.tensorrt_llm.server import launch
from pytest_speedbench.measure.check import check_traces

from .fake import serving
from .tensorrt_llm_fake import MODEL, TensorrtLlm

EAGLE3 = Speculation("eagle3", 3, "org/head")
SHORT = Sampling(16)


def config(speculation: Speculation, url: str, *args: tuple[str, object]) -> EngineConfig:
    return EngineConfig("tensorrt-llm", MODEL, speculation, 8, url, args)


@contextmanager
def joined(
    fake: TensorrtLlm, speculation: Speculation = EAGLE3, *args: tuple[str, object]
) -> Iterator[Engine]:
    with serving(fake.script) as url:
        engine = open_engine(config(speculation, url, *args), 5)
        try:
            yield engine
        finally:
            engine.close()


def run(engine: Engine, count: int = 1, sampling: Sampling = SHORT) -> list[Trace]:
    engine.hold(2)
    engine.submit([Request(f"r{n}", (1, 2, 3), sampling, (7,)) for n in range(count)])
    traces: list[Trace] = []
    while len(traces) < count:
        traces += engine.collect(5)
    return traces


def test_chunks_that_are_iterations_make_step_traces() -> None:
    with joined(TensorrtLlm()) as engine:
        for trace in run(engine, 3):
            check_traces([trace], EAGLE3)
            assert trace.token_ids == [100, 101, 102, 103, 104]
            assert trace.steps == [3, 1]
            assert trace.totals is None
            assert trace.drafted is None  # this release reports no drafts
            assert trace.finish_reason == "length"
        assert engine.counters() is None


def test_drafts_are_known_if_the_release_reports_them() -> None:
    with joined(TensorrtLlm(per_request=True)) as engine:
        (trace,) = run(engine)
    assert (trace.drafted, trace.accepted) == ([3, 3], [2, 0])


def test_merged_chunks_leave_the_steps_of_the_average() -> None:
    with joined(TensorrtLlm(chunks=(1, 4), iterations=3, per_request=True)) as engine:
        (trace,) = run(engine)
    assert trace.totals == RequestTotals(2, 6, 2)


def test_an_average_that_fits_no_number_of_iterations_is_ignored() -> None:
    fake = TensorrtLlm(chunks=(1, 4))
    fake.iterations = 2.5  # type: ignore[assignment]
    with joined(fake) as engine:
        (trace,) = run(engine)
    assert trace.totals == RequestTotals()


def test_without_speculation_every_token_is_a_step() -> None:
    with joined(TensorrtLlm((1, 1, 1), 3, method=None), Speculation()) as engine:
        assert run(engine)[0].chunks == [1, 1, 1]


def test_a_server_that_speculates_in_the_arm_without_sd_is_detected_by_its_average() -> None:
    with joined(TensorrtLlm(page=False), Speculation()) as engine:
        engine.submit([Request("r", (1,), SHORT)])
        with pytest.raises(EngineError, match=r"decodes 1\.67 tokens per iteration, but this is"):
            engine.collect(5)


def test_requests_have_only_fields_that_the_server_allows() -> None:
    fake = TensorrtLlm()
    with joined(fake) as engine:
        run(engine)
        run(engine, 1, Sampling(16, temperature=0.5, seed=9, ignore_eos=True))
    greedy, sampled = fake.script.asked
    assert greedy["prompt"] == [1, 2, 3]
    assert greedy["stop_token_ids"] == [7]
    assert greedy["detokenize"] is False
    assert greedy["include_stop_str_in_output"] is True
    assert sampled["seed"] == 9
    assert "stop_token_ids" not in sampled


def test_min_tokens_is_refused() -> None:
    with joined(TensorrtLlm()) as engine:
        engine.submit([Request("r", (1,), Sampling(8, min_tokens=3), (7,))])
        with pytest.raises(EngineError, match="min_tokens may not hold"):
            engine.collect(5)


def test_what_the_record_keeps_of_the_server() -> None:
    with joined(TensorrtLlm()) as engine:
        info = engine.info
    assert (info.engine, info.version, info.dtype) == ("tensorrt-llm", "1.3.0rc27", "bfloat16")
    assert info.details["tensor_parallel_size"] == "2"
    assert info.details["prefix_caching"] == "False"
    assert info.details["speculative_method"] == "eagle3"
    assert info.details["speculative"] == {
        "spec_enabled": "True",
        "spec_method": "EAGLE3",
        "spec_num_tokens": "3",
    }
    assert info.scores is False
    with joined(TensorrtLlm(page=False)) as engine:
        assert engine.info.details["speculative_method"] == "unknown"


REFUSED = {
    "has the speculative method none, but this arm needs eagle3 dl3": (
        {"method": None},
        EAGLE3,
    ),
    "has the speculative method eagle3, but this arm needs no SD": ({}, Speculation()),
    "drafts 5 tokens per step: use --speed-dl 5": ({"draft_length": 5}, EAGLE3),
}


@pytest.mark.parametrize("message", REFUSED)
def test_a_server_that_does_not_fit_the_case_is_refused(message: str) -> None:
    given, speculation = REFUSED[message]
    with pytest.raises(EngineError, match=message), joined(TensorrtLlm(**given), speculation):
        pass


def test_another_draft_length_is_detected_from_the_answer_without_a_page() -> None:
    with joined(TensorrtLlm(draft_length=5, page=False, per_request=True)) as engine:
        engine.submit([Request("r", (1,), SHORT)])
        with pytest.raises(EngineError, match="the server drafts 5 tokens per step"):
            engine.collect(5)


def test_a_server_with_another_model_is_refused() -> None:
    fake = TensorrtLlm()
    fake.script.pages["/v1/models"] = {"data": [{"id": "other"}]}
    message = "does not serve 'org/model'; it serves: 'other'"
    with pytest.raises(EngineError, match=message), joined(fake):
        pass
    fake.script.events = lambda body: [fake.events(body)[-1]]
    with joined(fake, EAGLE3, ("served_model_name", "other")) as engine:
        assert engine.info.details["served_model"] == "other"


def test_scores_are_refused_with_the_reason() -> None:
    with joined(TensorrtLlm()) as engine, pytest.raises(EngineError, match="cannot score tokens"):
        engine.score([1, 2], 1, [2])


def test_a_started_server_gets_its_arguments_in_a_file() -> None:
    asked = config(EAGLE3, "", ("serve", True), ("tensor_parallel_size", 2))
    command = list(launch(asked, 8123).command)
    assert command[0].endswith("trtllm-serve")
    assert command[1:6] == [MODEL, "--host", "127.0.0.1", "--port", "8123"]
    assert command[6] == "--extra_llm_api_options"
    options = json.loads(Path(command[7]).read_text(encoding="utf-8"))
    assert options == {
        "return_perf_metrics": True,
        "max_batch_size": 8,
        "kv_cache_config": {"enable_block_reuse": False},
        "cuda_graph_config": {"max_batch_size": 8, "enable_padding": True},
        "speculative_config": {
            "decoding_type": "Eagle3",
            "max_draft_len": 3,
            "speculative_model": "org/head",
        },
        "tensor_parallel_size": 2,
        "per_request_spec_decode_stats": True,
    }


PROGRAM = """
import json, sys, threading
sys.path.insert(0, {root!r})
from tests.engines.serving.fake import serving
from tests.engines.serving.tensorrt_llm_fake import TensorrtLlm
model, _, host, _, port, _, path = sys.argv[1:]
options = json.load(open(path))
length = options["speculative_config"]["max_draft_len"]
fake = TensorrtLlm(draft_length=length, per_request=options["per_request_spec_decode_stats"])
with serving(fake.script, int(port)):
    threading.Event().wait()
"""


def test_a_server_is_started_and_measured(
    standin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "trtllm-serve"
    root = str(Path(__file__).parents[3])
    program.write_text(f"#!{sys.executable}\n{PROGRAM.format(root=root)}", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    engine = open_engine(config(EAGLE3, "", ("serve", True)), 60)
    try:
        (trace,) = run(engine)
        assert (trace.drafted, trace.accepted) == ([3, 3], [2, 0])
        assert engine.info.details["joined"] is False
    finally:
        engine.close()
