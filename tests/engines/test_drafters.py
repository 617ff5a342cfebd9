"""A drafter that does not fit is refused before anything is loaded; one that fits is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.engines import EngineConfig, EngineError, Speculation
from pytest_speedbench.engines.checkpoints import local_checkpoint
from pytest_speedbench.engines.drafters import checkpoint, refuse_mismatch
from pytest_speedbench.engines.hidden_states import outputs_read
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.engines.vllm.arguments import refuse

from .conftest import HEAD
from .heads import eagle, medusa, write_head

SHAPE: dict[str, Any] = {
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 4,
    "vocab_size": 64,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 128,
}


@pytest.fixture
def target(tmp_path: Path) -> str:
    config = {**SHAPE, "model_type": "llama", "num_hidden_layers": 12}
    return str(write_head(tmp_path / "target", config, {}, weights=False))


def eagle3(folder: Path, width: int = 24, draft_vocab: int = 64, **more: object) -> str:
    config = {**SHAPE, "draft_vocab_size": draft_vocab, "num_hidden_layers": 1, **more}
    return str(write_head(folder / "head", config, {"fc.weight": (8, width)}))


def refused(target: str, method: str, drafter: str | Path, length: int = 3, **more: bool) -> str:
    with pytest.raises(EngineError) as error:
        refuse_mismatch(target, Speculation(method, length, str(drafter)), **more)
    return str(error.value)


def test_drafters_that_fit_are_let_through(target: str, tmp_path: Path) -> None:
    for method, drafter in (
        ("eagle3", eagle3(tmp_path)),
        ("eagle", eagle(tmp_path / "eagle", SHAPE)),
        ("medusa", medusa(tmp_path / "medusa", SHAPE, heads=3)),
        ("draft_model", target),
        ("eagle3", "no/such/hub/name"),
    ):
        refuse_mismatch(target, Speculation(method, 3, str(drafter)))


def test_the_head_of_this_project_fits_the_demo_model() -> None:
    refuse_mismatch("demo", Speculation("eagle3", 3, str(HEAD)))
    found = checkpoint(str(HEAD))
    assert found is not None
    assert found.shapes["fc.weight"] == (576, 3 * 576)


def test_another_vocabulary_is_refused_unless_the_engine_maps_it(
    target: str, tmp_path: Path
) -> None:
    other = write_head(tmp_path / "other", {**SHAPE, "vocab_size": 60}, {}, weights=False)
    message = refused(target, "draft_model", other)
    assert "vocabulary of 60 tokens, the target" in message
    assert "a drafter that was trained for this target" in message
    refuse_mismatch(target, Speculation("draft_model", 3, str(other)), any_vocabulary=True)


@pytest.mark.parametrize("method", ["eagle", "medusa"])
def test_another_hidden_size_is_refused(target: str, tmp_path: Path, method: str) -> None:
    write = {"eagle": eagle, "medusa": medusa}[method]
    message = refused(target, method, write(tmp_path / "head", {**SHAPE, "hidden_size": 16}))
    assert "a hidden size of 16" in message
    assert "a hidden size of 8" in message


def test_a_head_for_other_hidden_states_is_refused(target: str, tmp_path: Path) -> None:
    message = refused(target, "eagle3", eagle3(tmp_path, width=48))
    assert "takes 48 values per token (fc.weight)" in message
    assert "3 x 8 = 24" in message


@pytest.mark.parametrize("ids", [[2, 3, 3], [2, 5, 40]])
def test_layers_that_coincide_or_do_not_exist_are_refused(
    target: str, tmp_path: Path, ids: list[int]
) -> None:
    head = eagle3(tmp_path, eagle_aux_hidden_state_layer_ids=ids)
    assert f"reads the layers {ids}" in refused(target, "eagle3", head)


def test_the_default_layers_of_a_shallow_target_coincide(target: str, tmp_path: Path) -> None:
    path = Path(target) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 6}))
    assert "reads the layers [2, 3, 3]" in refused(target, "eagle3", eagle3(tmp_path))


def test_a_cut_vocabulary_without_its_map_is_refused(target: str, tmp_path: Path) -> None:
    assert "no 'd2t' map" in refused(target, "eagle3", eagle3(tmp_path, draft_vocab=32))


def test_a_draft_longer_than_the_medusa_heads_is_refused(target: str, tmp_path: Path) -> None:
    head = medusa(tmp_path / "medusa", SHAPE, heads=2)
    assert "has 2 Medusa heads, dl=3 needs 3: use --speed-dl 2" in refused(target, "medusa", head)


@pytest.mark.parametrize(
    ("speculation", "args", "message"),
    [
        (Speculation("eagle3", 3), (), "needs a drafter: --speed-drafter"),
        (Speculation("draft_model", 200, "x"), (), "at most 128 tokens per step, got dl=200"),
        (Speculation("ngram", 3), (("speculative.method", "medusa"),), "medusa needs a drafter"),
    ],
)
def test_vllm_refuses_before_loading(
    speculation: Speculation, args: tuple[tuple[str, object], ...], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        refuse(EngineConfig("vllm", "demo", speculation, 1, args=args))


def test_the_number_of_a_layer_is_not_a_draft_model() -> None:
    layer = EngineConfig("transformers", "demo", Speculation("draft_model", 3, "24"))
    with pytest.raises(EngineError, match="24 is the number of a layer"):
        engine_type("transformers").refuse(layer)
    engine_type("transformers").refuse(
        EngineConfig("transformers", "demo", Speculation("early_exit", 3, "24"))
    )


LAYERS = "eagle_aux_hidden_state_layer_ids"


@pytest.mark.parametrize(
    ("config", "vllm", "sglang"),
    [
        ({}, [1, 14, 26], [1, 14, 26]),
        ({LAYERS: [2, 15, 27]}, [1, 14, 26], [1, 14, 26]),
        ({LAYERS: [3, 16, 28]}, [2, 15, 27], [1, 14, 26]),
        ({"eagle_config": {LAYERS: [2, 15, 27]}}, [1, 14, 26], [2, 15, 27]),
        ({LAYERS: [2, 15, 27], "eagle_config": {LAYERS: [1, 14, 26]}}, [1, 14, 26], [1, 14, 26]),
    ],
)
def test_engines_read_the_list_of_layers_each_in_its_own_way(
    tmp_path: Path, config: dict, vllm: list[int], sglang: list[int]
) -> None:
    head = local_checkpoint(str(eagle3(tmp_path, **config)))
    assert outputs_read(head, 30) == {"vllm": vllm, "sglang": sglang}
