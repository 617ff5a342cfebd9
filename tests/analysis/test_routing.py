"""Routing on tiny mixture-of-experts models of random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pytest_speedbench.analysis.routing import Activation, RouterCounts, routing
from pytest_speedbench.errors import NoData
from pytest_speedbench.report.figures import draw

EXPERTS, LAYERS, TOP = 8, 2, 2
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_experts_per_tok": TOP,
    "max_position_embeddings": 128,
}


def qwen() -> Any:
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    own = {"num_experts": EXPERTS, "moe_intermediate_size": 16, "head_dim": 16}
    return Qwen3MoeForCausalLM(Qwen3MoeConfig(**SIZES, **own))


def mixtral() -> Any:
    from transformers import MixtralConfig, MixtralForCausalLM

    return MixtralForCausalLM(MixtralConfig(**SIZES, num_local_experts=EXPERTS))


def gpt_oss() -> Any:
    from transformers import GptOssConfig, GptOssForCausalLM

    own = {"num_local_experts": EXPERTS, "head_dim": 16, "sliding_window": 16}
    return GptOssForCausalLM(GptOssConfig(**SIZES, **own))


PROMPTS = [[1, 2, 3, 4, 5], [6, 7, 8], [9] * 20]


@pytest.mark.parametrize("build", [qwen, mixtral, gpt_oss])
def test_every_token_is_counted_in_every_layer(build: Callable[[], Any]) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = build().eval()
    found = RouterCounts(model).activation(model, "real", PROMPTS)
    tokens = sum(map(len, PROMPTS))
    assert found.tokens == tokens
    assert found.counts.shape == (LAYERS, EXPERTS)
    assert found.counts.sum(axis=1).tolist() == [TOP * tokens] * LAYERS
    assert np.allclose(found.frequency.sum(axis=1), 1)


def test_counts_equal_the_logits_of_the_routers() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(1)
    model = qwen().eval()
    found = RouterCounts(model).activation(model, "real", [PROMPTS[0]])
    with torch.inference_mode():
        logits = model(torch.tensor([PROMPTS[0]]), output_router_logits=True).router_logits
    for layer, own in enumerate(logits):
        chosen = own.topk(TOP, dim=-1).indices.reshape(-1).numpy()
        assert found.counts[layer].tolist() == np.bincount(chosen, minlength=EXPERTS).tolist()
        assert found.distinct[layer] == len(set(chosen.tolist()))


def test_hooks_are_removed_and_counts_start_anew() -> None:
    pytest.importorskip("torch")
    model = mixtral().eval()
    counts = RouterCounts(model)
    first = counts.activation(model, "a", PROMPTS)
    again = counts.activation(model, "b", PROMPTS)
    assert first.counts.tolist() == again.counts.tolist()
    assert not any(module._forward_hooks for module in model.modules())


def test_a_dense_model_has_no_router() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {k: v for k, v in SIZES.items() if k != "num_experts_per_tok"}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))
    with pytest.raises(NoData, match="LlamaForCausalLM has no router"):
        RouterCounts(model)


def test_activations_are_compared_layer_by_layer() -> None:
    even = Activation("real", np.array([[2, 2, 2, 2]]), 4, np.array([4.0]))
    narrow = Activation("random", np.array([[8, 0, 0, 0]]), 4, np.array([1.0]))
    found = routing([even, narrow])
    rows = {row["prompts"]: row for row in found.table.rows}
    assert rows["real"]["entropy"] == pytest.approx(1.0)
    assert rows["random"]["entropy"] == pytest.approx(0.0)
    assert rows["random"]["distance"] == pytest.approx(0.75)
    assert rows["random"]["top"] == pytest.approx(1.0)
    assert draw(found, ".png").startswith(b"\x89PNG")


def test_no_prompt_is_no_data() -> None:
    pytest.importorskip("torch")
    model = mixtral().eval()
    with pytest.raises(NoData, match="nothing: no prompt"):
        RouterCounts(model).activation(model, "nothing", [])
