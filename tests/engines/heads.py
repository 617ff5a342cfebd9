"""Drafting heads of random weights for a target's shapes, and small models, written as folders.

They load and draft; what they draft is noise. Fault tests change one number of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

Shapes = dict[str, tuple[int, ...]]


def target_shape(folder: Path) -> dict[str, Any]:
    """The numbers of a Llama target that its heads share."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = (
        "hidden_size",
        "intermediate_size",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "rms_norm_eps",
        "max_position_embeddings",
    )
    return {name: config[name] for name in names}


def write_head(folder: Path, config: dict[str, Any], shapes: Shapes, weights: bool = True) -> Path:
    """A folder with ``config.json`` and, if ``weights``, random ones of ``shapes``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    if weights:
        draw = np.random.default_rng(0)
        tensors = {
            name: (draw.standard_normal(shape, np.float32) * 0.02).astype(np.float16)
            for name, shape in shapes.items()
        }
        save_file(tensors, folder / "model.safetensors")
    return folder


def medusa(folder: Path, shape: dict[str, Any], heads: int = 3) -> Path:
    hidden, vocabulary = shape["hidden_size"], shape["vocab_size"]
    config = {
        "architectures": ["MedusaModel"],
        "model_type": "medusa",
        "hidden_size": hidden,
        "vocab_size": vocabulary,
        "num_heads": heads,
        "num_hidden_layers": 1,
        "original_lm_head": True,  # one for all heads
    }
    shapes: Shapes = {f"blocks.{i}.layers.0.weight": (hidden, hidden) for i in range(heads)}
    return write_head(folder, config, shapes | {"lm_heads.0.weight": (vocabulary, hidden)})


def eagle(folder: Path, shape: dict[str, Any]) -> Path:
    config = {
        **shape,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": 1,
        "hidden_act": "silu",
    }
    hidden = shape["hidden_size"]
    shapes = {"fc.weight": (hidden, 2 * hidden), **_layer("layers.0", shape, hidden)}
    del shapes["layers.0.input_layernorm.weight"]  # the first layer has none
    return write_head(folder, config, shapes)


def eagle3(
    folder: Path,
    shape: dict[str, Any],
    draft_ids: Sequence[int] | None = None,
    **config: Any,
) -> Path:
    """A head whose output layer has the rows of ``draft_ids``, the target's; None: of all."""
    hidden, vocabulary = shape["hidden_size"], shape["vocab_size"]
    ids = np.arange(vocabulary) if draft_ids is None else np.array(draft_ids, dtype=np.int64)
    shapes = {
        "fc.weight": (hidden, 3 * hidden),
        "norm.weight": (hidden,),
        "lm_head.weight": (len(ids), hidden),
        **_layer("midlayer", shape, 2 * hidden),
        "midlayer.hidden_norm.weight": (hidden,),
    }
    whole = {
        **shape,
        "architectures": ["LlamaForCausalLMEagle3"],
        "model_type": "llama",
        "num_hidden_layers": 1,
        "hidden_act": "silu",
        "draft_vocab_size": len(ids),
        **config,
    }
    write_head(folder, whole, shapes)
    if draft_ids is not None:
        set_maps(folder, d2t=ids - np.arange(len(ids)), t2d=np.isin(np.arange(vocabulary), ids))
    return folder


def set_maps(folder: Path, **maps: NDArray[Any] | None) -> None:
    """Replaces tensors of a head; None removes one."""
    path = folder / "model.safetensors"
    tensors = load_file(path) | maps
    save_file({name: values for name, values in tensors.items() if values is not None}, path)


def _layer(prefix: str, shape: dict[str, Any], width: int) -> Shapes:
    """A Llama layer whose attention reads ``width`` numbers a token."""
    hidden, inner = shape["hidden_size"], shape["intermediate_size"]
    queries = shape["num_attention_heads"] * shape["head_dim"]
    keys = shape["num_key_value_heads"] * shape["head_dim"]
    return {
        f"{prefix}.input_layernorm.weight": (hidden,),
        f"{prefix}.post_attention_layernorm.weight": (hidden,),
        f"{prefix}.self_attn.q_proj.weight": (queries, width),
        f"{prefix}.self_attn.k_proj.weight": (keys, width),
        f"{prefix}.self_attn.v_proj.weight": (keys, width),
        f"{prefix}.self_attn.o_proj.weight": (hidden, queries),
        f"{prefix}.mlp.gate_proj.weight": (inner, hidden),
        f"{prefix}.mlp.up_proj.weight": (inner, hidden),
        f"{prefix}.mlp.down_proj.weight": (hidden, inner),
    }
