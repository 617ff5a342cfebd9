"""Whether a drafter fits its target, from ``config.json`` and the headers of safetensors files.

Engines notice a mismatch after loading both models, at the first request, or never. Only local
files are read; a hub name that is not in the local cache is not checked.
"""

from __future__ import annotations

from pytest_speedbench.engines.checkpoints import Checkpoint, checkpoint
from pytest_speedbench.engines.draft_vocabulary import is_cut, refuse_wrong_map
from pytest_speedbench.engines.hidden_states import (
    LAYER_IDS,
    eagle_config,
    entered_layers,
    reads_layers,
)
from pytest_speedbench.engines.protocol import Speculation
from pytest_speedbench.errors import EngineError

_FIX = "choose a drafter that was trained for this target, or its target with --speed-model"
# Of the one layer of a Llama-like EAGLE-3 head; its tensors begin with midlayer. or layers.0.
_LAYER_WEIGHTS = (
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
)


def refuse_mismatch(model: str, speculation: Speculation, *, any_vocabulary: bool = False) -> None:
    """Checks that the sizes of a drafter are those that the target needs.

    ``any_vocabulary``: the engine maps between two vocabularies.

    Raises:
        EngineError: they are not; the message names the sizes and the fix.
    """
    target, drafter = checkpoint(model), checkpoint(speculation.drafter or "")
    if drafter is None:
        return
    drafter.refuse_pickle()
    if speculation.method == "eagle3":
        refuse_wrong_map(drafter)
        _refuse_missing_weights(drafter)
    if speculation.method == "medusa":
        _refuse_missing_heads(drafter, speculation.draft_length)
    if target is None:
        return
    if not any_vocabulary:
        _refuse_unequal(drafter, target, "vocab_size", "a vocabulary of {} tokens")
    if speculation.method in ("eagle", "medusa"):
        _refuse_unequal(drafter, target, "hidden_size", "a hidden size of {}")
    if speculation.method == "eagle3":
        _refuse_hidden_states(drafter, target)


def _refuse_unequal(drafter: Checkpoint, target: Checkpoint, key: str, phrase: str) -> None:
    theirs, ours = drafter.number(key), target.number(key)
    if theirs is not None and ours is not None and theirs != ours:
        raise EngineError(
            f"the drafter {drafter.name} has {phrase.format(theirs)}, the target {target.name} "
            f"{phrase.format(ours)}: {_FIX}"
        )


def _refuse_missing_weights(drafter: Checkpoint) -> None:
    """vLLM leaves weights that a head lacks as they are: it drafts noise, without an error."""
    if not drafter.tensors or "Llama" not in drafter.architecture:
        return
    tensors = drafter.tensors
    fused = any("qkv_proj" in name or "gate_up_proj" in name for name in tensors)
    layer = () if fused else _LAYER_WEIGHTS
    needed: list[tuple[str, ...]] = [(f"midlayer.{w}.", f"layers.0.{w}.") for w in layer]
    if reads_layers(drafter):
        needed.append(("fc.",))
    if is_cut(drafter):  # a whole one may be the target's
        needed.append(("lm_head.",))
    missing = [
        spellings[0].rstrip(".")
        for spellings in needed
        if not any(name.startswith(spellings) for name in tensors)
    ]
    if missing:
        raise EngineError(
            f"the drafter {drafter.name} has no weights for {', '.join(missing)}: it would load "
            "and draft noise; save the head with all its tensors"
        )


def _refuse_missing_heads(drafter: Checkpoint, wanted: int) -> None:
    """vLLM creates as many heads as the draft length; those without weights draft noise."""
    heads = {name.split(".")[1] for name in drafter.shapes if name.startswith("blocks.")}
    if heads and len(heads) < wanted:
        raise EngineError(
            f"the drafter {drafter.name} has {len(heads)} Medusa heads, dl={wanted} needs "
            f"{wanted}: use --speed-dl {len(heads)}"
        )


def _refuse_hidden_states(drafter: Checkpoint, target: Checkpoint) -> None:
    """EAGLE-3 reads the hidden states of some layers of the target, side by side."""
    layers, hidden = target.number("num_hidden_layers"), target.number("hidden_size")
    if layers is None or hidden is None or not reads_layers(drafter):
        return
    ids = entered_layers(drafter, layers)
    if len(set(ids)) < len(ids) or not all(0 <= layer <= layers for layer in ids):
        raise EngineError(
            f"the drafter {drafter.name} reads the layers {ids} of the target {target.name}, which "
            f"has {layers}: they must exist and be distinct; set {LAYER_IDS} in its config.json to "
            "the layers it was trained on"
        )
    nested = eagle_config(drafter).get(LAYER_IDS) or ()
    count = drafter.number("num_aux_hidden_states") or len(nested) or 3
    width = drafter.shapes.get("fc.weight", (0, count * hidden))[1]
    if width != count * hidden:
        raise EngineError(
            f"the drafter {drafter.name} takes {width} values per token (fc.weight), but {count} "
            f"hidden states of the target {target.name} are {count} x {hidden} = "
            f"{count * hidden}: {_FIX}"
        )
