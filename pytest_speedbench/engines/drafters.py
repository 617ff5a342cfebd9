"""Whether a drafter fits its target, from ``config.json`` and the headers of safetensors files.

Engines notice a mismatch after loading both models, at the first request, or never. Only local
files are read; a hub name that is not in the local cache is not checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_speedbench.engines.demo import local_folder
from pytest_speedbench.engines.protocol import Speculation
from pytest_speedbench.errors import EngineError

_FIX = "choose a drafter that was trained for this target, or its target with --speed-model"


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder. ``name`` is what the user calls it."""

    name: str
    folder: Path

    @cached_property
    def config(self) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "config.json").read_text("utf-8"))
        return {**found, **(found.get("text_config") or {})}

    def number(self, key: str) -> int | None:
        value = self.config.get(key)
        return value if isinstance(value, int) else None

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Tensor names and shapes of all safetensors files; empty where there are none."""
        found: dict[str, tuple[int, ...]] = {}
        for path in self.folder.glob("*.safetensors"):
            with path.open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            found |= {n: tuple(t["shape"]) for n, t in header.items() if n != "__metadata__"}
        return found


def checkpoint(model: str) -> Checkpoint | None:
    """The files of ``model``; None where they are not on this machine."""
    folder = local_folder(model)
    if folder is None or not (folder / "config.json").is_file():
        return None
    return Checkpoint(model, folder)


def refuse_mismatch(model: str, speculation: Speculation, *, any_vocabulary: bool = False) -> None:
    """Checks that the sizes of a drafter are those that the target needs.

    ``any_vocabulary``: the engine maps between two vocabularies.

    Raises:
        EngineError: they are not; the message names the sizes and the fix.
    """
    target, drafter = checkpoint(model), checkpoint(speculation.drafter or "")
    if drafter is None:
        return
    if speculation.method == "eagle3":
        _refuse_unmapped_vocabulary(drafter)
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


def _refuse_unmapped_vocabulary(drafter: Checkpoint) -> None:
    """A head with a pruned vocabulary and no map loads without an error and drafts wrong tokens."""
    whole = drafter.number("vocab_size")
    cut = drafter.number("draft_vocab_size")
    if drafter.shapes and cut is not None and cut != whole and "d2t" not in drafter.shapes:
        raise EngineError(
            f"the drafter {drafter.name} has a vocabulary of {cut} of {whole} tokens and no 'd2t' "
            "map to the target's ids: it would load without an error and draft wrong tokens; save "
            "the head with its map"
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
    own = drafter.config.get("eagle_config") or {}
    if layers is None or hidden is None or own.get("use_aux_hidden_state") is False:
        return
    nested = own.get("eagle_aux_hidden_state_layer_ids")
    ids = drafter.config.get("eagle_aux_hidden_state_layer_ids") or nested
    ids = list(ids or (2, layers // 2, layers - 3))
    if len(set(ids)) < len(ids) or not all(0 <= layer <= layers for layer in ids):
        raise EngineError(
            f"the drafter {drafter.name} reads the layers {ids} of the target {target.name}, which "
            f"has {layers}: they must exist and be distinct; set eagle_aux_hidden_state_layer_ids "
            "in its config.json to the layers it was trained on"
        )
    count = drafter.number("num_aux_hidden_states") or len(nested or ()) or 3
    width = drafter.shapes.get("fc.weight", (0, count * hidden))[1]
    if width != count * hidden:
        raise EngineError(
            f"the drafter {drafter.name} takes {width} values per token (fc.weight), but {count} "
            f"hidden states of the target {target.name} are {count} x {hidden} = "
            f"{count * hidden}: "
            f"{_FIX}"
        )
