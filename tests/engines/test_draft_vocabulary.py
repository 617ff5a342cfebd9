"""The map of a cut vocabulary: what is wrong with it is found before an engine starts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines import EngineConfig, EngineError, Speculation
from pytest_speedbench.engines.checkpoints import Checkpoint, checkpoint
from pytest_speedbench.engines.draft_vocabulary import draft_vocabulary
from pytest_speedbench.engines.drafter_summary import DrafterSummary, summarize
from pytest_speedbench.engines.drafters import refuse_mismatch
from pytest_speedbench.engines.registry import engine_type

from .conftest import HEAD
from .heads import eagle, eagle3, medusa, set_maps, write_head
from .test_drafters import SHAPE

IDS = [0, 2, 5, 40]


@pytest.fixture
def head(tmp_path: Path) -> Path:
    return eagle3(tmp_path / "head", SHAPE, IDS)


def at(folder: Path) -> Checkpoint:
    found = checkpoint(str(folder))
    assert found is not None
    return found


def summary(folder: Path, target: str = "") -> DrafterSummary:
    return summarize(at(folder), target)


def refused(folder: Path) -> str:
    """The message of a session; ``summarize`` lists the same problem."""
    with pytest.raises(EngineError) as error:
        refuse_mismatch("", Speculation("eagle3", 3, str(folder)))
    (problem, *_) = summary(folder).problems
    assert problem.removeprefix("it ") in str(error.value)
    return str(error.value)


def test_the_head_of_this_project() -> None:
    found = summary(HEAD, "demo")
    assert found.problems == ()
    assert (found.method, found.layers, found.hidden_size) == ("eagle3", 1, 576)
    assert (found.draft_vocabulary, found.target_vocabulary) == (4096, 49152)
    assert found.head_parameters == 4096 * 576
    assert found.dtypes == ("BF16",)
    assert {"vllm", "sglang", "tensorrt-llm"} <= set(found.engines)
    assert "transformers" not in found.engines


def test_ids_of_a_cut_vocabulary(head: Path) -> None:
    found = draft_vocabulary(at(head))
    assert found.token_ids.tolist() == IDS
    assert (found.size, found.whole) == (4, False)
    assert summary(head).problems == ()


def test_a_whole_vocabulary_needs_no_map(tmp_path: Path) -> None:
    whole = at(eagle3(tmp_path, SHAPE))
    assert draft_vocabulary(whole).whole
    assert summarize(whole).problems == ()


@pytest.mark.parametrize(
    ("d2t", "message"),
    [
        (None, "no 'd2t' map"),
        ([0, 1, 3, 61], "out of the target's vocabulary of 64 tokens in 1 place, such as 3 → 64"),
        ([0, -2, 3, 37], "in 1 place, such as 1 → -1"),
        ([0, 0, 0, -1], "to 1 token more than once, such as 2 → 2"),
        ([5, 40, 61, 63], "hold the target's ids, and engines expect offsets: save d2t - arange"),
        ([0, 1, 3], "a 'd2t' of 3 I64: expected 4 integers"),
        (np.zeros(4, np.float32), "a 'd2t' of 4 F32"),
    ],
)
def test_wrong_maps_are_refused(head: Path, d2t: Any, message: str) -> None:
    set_maps(head, d2t=None if d2t is None else np.asarray(d2t))
    assert message in refused(head)


def test_rows_that_do_not_fit_the_vocabulary_are_refused(head: Path) -> None:
    set_maps(head, **{"lm_head.weight": np.zeros((6, 8), np.float16)})
    assert "6 rows in lm_head.weight, and a draft_vocab_size of 4" in refused(head)


def test_marks_that_disagree_are_shown_and_do_not_keep_an_engine_from_running(head: Path) -> None:
    set_maps(head, t2d=np.isin(np.arange(64), [0, 2, 5, 41]))
    refuse_mismatch("", Speculation("eagle3", 3, str(head)))
    assert summary(head).problems == (
        "it has 1 token that 'd2t' leads to and 't2d' does not mark, such as 40",
        "it has 1 token that 't2d' marks and 'd2t' does not lead to, such as 41",
    )


def test_missing_weights_are_refused(head: Path) -> None:
    set_maps(head, **{"midlayer.self_attn.k_proj.weight": None, "fc.weight": None})
    assert "no weights for midlayer.self_attn.k_proj, fc" in refused(head)


def test_pickle_files_are_refused(tmp_path: Path) -> None:
    folder = write_head(tmp_path, dict(SHAPE), {}, weights=False)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02")
    for method in ("eagle3", "draft_model", "medusa"):
        with pytest.raises(EngineError, match="a pickle file, which can run code"):
            refuse_mismatch("", Speculation(method, 3, str(folder)))
    assistant = EngineConfig("transformers", "demo", Speculation("draft_model", 3, str(folder)))
    with pytest.raises(EngineError, match=r"pytorch_model\.bin is a pickle file"):
        engine_type("transformers").refuse(assistant)
    with pytest.raises(EngineError, match=r"pytorch_model\.bin is a pickle file"):
        summary(folder)


def test_a_folder_without_weights_or_configuration(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no config\.json"):
        checkpoint(str(tmp_path))
    with pytest.raises(EngineError, match="has no weights"):
        summary(write_head(tmp_path, dict(SHAPE), {}, weights=False))
    folder = write_head(tmp_path / "list", dict(SHAPE), {"lm_head.weight": (64, 8)})
    (folder / "config.json").write_text("[1]")
    with pytest.raises(EngineError, match="expected a JSON object"):
        summary(folder)


@given(data=st.binary(max_size=64))
def test_a_damaged_file_is_named(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("head")
    (folder / "config.json").write_text(json.dumps(SHAPE))
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(EngineError, match=r"not a safetensors file|has no weights"):
        summary(folder)


def test_methods_are_known_by_the_architecture(tmp_path: Path) -> None:
    speculators = {"speculators_model_type": "eagle3", "architectures": ["Eagle3Speculator"]}
    nested = {"transformer_layer_config": SHAPE, "draft_vocab_size": 64, **speculators}
    for name, folder in {
        "eagle": eagle(tmp_path / "eagle", SHAPE),
        "medusa": medusa(tmp_path / "medusa", SHAPE),
        "eagle3": write_head(tmp_path / "s", nested, {"fc.weight": (8, 24)}),
        "draft_model": write_head(tmp_path / "m", dict(SHAPE), {"lm_head.weight": (64, 8)}),
    }.items():
        assert summary(folder).method == name
    assert summary(tmp_path / "s").hidden_size == 8
    assert summary(tmp_path / "s").engines == ("vllm", "vllm-server")


def test_another_target_is_a_problem(head: Path, tmp_path: Path) -> None:
    other = {**SHAPE, "vocab_size": 60, "num_hidden_layers": 12}
    target = write_head(tmp_path / "other", other, {}, weights=False)
    (problem,) = summary(head, str(target)).problems
    assert "a vocabulary of 64 tokens, the target" in problem
