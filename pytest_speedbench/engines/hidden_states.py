"""Which layers of the target an EAGLE-3 head reads, which engines take from the same config in
different ways.

``eagle_aux_hidden_state_layer_ids`` may stand at the top level of ``config.json`` and inside
``eagle_config``. vLLM (0.32, ``v1/worker/gpu_model_runner.py``) prefers the top level, and its
layer *i* means the hidden state that enters layer *i*. SGLang (0.5.17,
``srt/models/llama.py:set_eagle3_layers_to_capture``) reads ``eagle_config`` alone, and its layer
*i* means the one that leaves it. Without a list both read those that enter the layers 2, L // 2
and L - 3 of L.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_speedbench.engines.checkpoints import Checkpoint

LAYER_IDS = "eagle_aux_hidden_state_layer_ids"


def eagle_config(drafter: Checkpoint) -> Mapping[str, Any]:
    """The part of the configuration that EAGLE's own settings stand in; empty if it has none."""
    found: Mapping[str, Any] = drafter.config.get("eagle_config") or {}
    return found


def reads_layers(drafter: Checkpoint) -> bool:
    """Whether the head reads hidden states of several layers, not of the last one alone."""
    return eagle_config(drafter).get("use_aux_hidden_state") is not False


def entered_layers(drafter: Checkpoint, layers: int) -> list[int]:
    """The layers, of a target that has ``layers``, whose inputs the head reads in vLLM."""
    ids = drafter.config.get(LAYER_IDS) or eagle_config(drafter).get(LAYER_IDS)
    return list(ids or _default(layers))


def outputs_read(drafter: Checkpoint, layers: int) -> dict[str, list[int]]:
    """By engine, the layers whose outputs the head reads there; -1 stands for the embedding."""
    nested = eagle_config(drafter).get(LAYER_IDS)
    return {
        "vllm": [layer - 1 for layer in entered_layers(drafter, layers)],
        "sglang": list(nested) if nested else [layer - 1 for layer in _default(layers)],
    }


def _default(layers: int) -> tuple[int, ...]:
    return 2, layers // 2, layers - 3
