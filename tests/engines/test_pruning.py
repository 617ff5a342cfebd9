"""Pruned heads hold the right rows and maps, and real vLLM drafts with them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from pytest_speedbench.engines import EngineConfig, EngineError, Speculation, Trace
from pytest_speedbench.engines.checkpoints import local_checkpoint
from pytest_speedbench.engines.draft_vocabulary import draft_vocabulary
from pytest_speedbench.engines.drafter_summary import summarize
from pytest_speedbench.engines.pruning import write_pruned
from pytest_speedbench.measure.check import check_traces

from .conftest import HEAD, HuggingFaceTokenizer, needs_demo, needs_vllm, started
from .heads import eagle, eagle3, set_maps
from .test_drafters import SHAPE

IDS = st.sets(st.integers(0, 63), min_size=1, max_size=63)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ids=IDS)
def test_the_rows_that_are_kept_stand_for_their_tokens(
    ids: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("heads")
    whole = local_checkpoint(str(eagle3(folder / "whole", SHAPE)))
    write_pruned(whole, np.array(list(ids)), folder / "cut")
    cut = local_checkpoint(str(folder / "cut"))
    assert summarize(cut).problems == ()
    assert draft_vocabulary(cut).token_ids.tolist() == sorted(ids)
    old, new = (load_file(c.folder / "model.safetensors") for c in (whole, cut))
    assert np.array_equal(new["lm_head.weight"], old["lm_head.weight"][sorted(ids)])
    assert np.array_equal(new["fc.weight"], old["fc.weight"])


def test_a_cut_head_can_be_cut_again(tmp_path: Path) -> None:
    once = local_checkpoint(str(eagle3(tmp_path / "once", SHAPE, [3, 5, 60])))
    write_pruned(once, np.array([60, 3]), tmp_path / "twice")
    twice = local_checkpoint(str(tmp_path / "twice"))
    assert draft_vocabulary(twice).token_ids.tolist() == [3, 60]
    old, new = (load_file(c.folder / "model.safetensors") for c in (once, twice))
    assert np.array_equal(new["lm_head.weight"], old["lm_head.weight"][[0, 2]])
    assert json.loads((tmp_path / "twice/config.json").read_text())["draft_vocab_size"] == 2


def test_what_cannot_be_cut_is_refused(tmp_path: Path) -> None:
    shared = eagle3(tmp_path / "shared", SHAPE)
    set_maps(shared, **{"lm_head.weight": None})
    for folder, message in (
        (eagle(tmp_path / "eagle", SHAPE), "only EAGLE-3 heads have a map"),
        (shared, r"has no lm_head\.weight: it shares the target's output layer"),
    ):
        with pytest.raises(EngineError, match=message):
            write_pruned(local_checkpoint(str(folder)), np.array([1]), tmp_path / "cut")
    whole = local_checkpoint(str(eagle3(tmp_path / "whole", SHAPE)))
    with pytest.raises(EngineError, match="is not empty"):
        write_pruned(whole, np.array([1]), tmp_path / "shared")


@needs_demo
@needs_vllm
@pytest.mark.engine
def test_vllm_drafts_with_a_cut_head(tmp_path: Path, tokenizer: HuggingFaceTokenizer) -> None:
    """What it proposes lies in the cut vocabulary, and some of it is accepted."""
    head = local_checkpoint(str(HEAD))
    kept = draft_vocabulary(head).token_ids[:2048]
    write_pruned(head, kept, tmp_path / "cut")
    speculation = Speculation("eagle3", 3, str(tmp_path / "cut"))
    arguments = (("max_model_len", 1024), ("dtype", "float32"))
    engine = EngineConfig("vllm", "demo", speculation, 4, args=arguments)
    for driver in started(engine, tokenizer):
        traces = driver.run(speculation, batch_size=4)
        check_traces(traces, speculation)
        accepted = [
            token
            for trace in traces
            for end, size in zip(_ends(trace), trace.steps, strict=True)
            for token in trace.token_ids[end - size : end - 1]  # the last one is the target's
        ]
        assert accepted
        assert set(accepted) <= set(kept.tolist())


def _ends(trace: Trace) -> list[int]:
    """Where each decoding step ends, in tokens."""
    ends: list[int] = (np.cumsum(trace.steps) + trace.prefill_tokens).tolist()
    return ends
