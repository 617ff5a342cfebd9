"""Cuts the output layer of an EAGLE-3 head to some of the target's tokens. Nothing is retrained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_speedbench.engines.checkpoints import Checkpoint
from pytest_speedbench.engines.draft_vocabulary import (
    D2T,
    LM_HEAD,
    T2D,
    DraftVocabulary,
    draft_vocabulary,
)
from pytest_speedbench.engines.drafter_summary import method_of
from pytest_speedbench.errors import EngineError, EngineUnavailable

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Beside these, whatever lies in the folder belongs to the head: configurations, code, tokenizer.
_NOT_COPIED = (".safetensors", ".index.json", ".md", ".bin", ".pt", ".pth")


def check_prunable(drafter: Checkpoint) -> DraftVocabulary:
    """The vocabulary of a head that can be cut.

    Raises:
        EngineError: it is no EAGLE-3 head, has no output layer of its own, or is not sound.
    """
    drafter.refuse_pickle()
    method = method_of(drafter)
    if method != "eagle3":
        raise EngineError(
            f"{drafter.name} is a drafter for method {method}: only EAGLE-3 heads have a map from "
            "a cut vocabulary to the target's"
        )
    if LM_HEAD not in drafter.tensors:
        raise EngineError(
            f"{drafter.name} has no {LM_HEAD}: it shares the target's output layer, which has no "
            "cut; save the head with a copy of that layer"
        )
    return draft_vocabulary(drafter)


def write_pruned(drafter: Checkpoint, token_ids: NDArray[Any], folder: Path) -> int:
    """Writes ``drafter`` with a draft vocabulary of ``token_ids`` to ``folder``.

    Keeps the rows of the output layer that belong to these tokens, adds the maps ``d2t`` and
    ``t2d``, and sets ``draft_vocab_size``; everything else is copied. Returns the size of the
    weights in bytes.

    Args:
        drafter: an EAGLE-3 head.
        token_ids: shape (draft vocabulary,), distinct ids of the target that the head can draft.
        folder: is created, or empty.

    Raises:
        EngineError: ``folder`` has files, or the head is one that cannot be cut.
        EngineUnavailable: torch or safetensors is not installed.
    """
    import numpy as np

    try:
        import torch
        from safetensors.torch import load_file, save_file
    except ImportError as error:
        raise EngineUnavailable(
            "pruning needs torch and safetensors: pip install 'pytest-speedbench[transformers]'"
        ) from error
    old = check_prunable(drafter)
    if folder.exists() and any(folder.iterdir()):
        raise EngineError(f"{folder} exists and is not empty: remove it, or choose another folder")
    kept = np.sort(np.asarray(token_ids, dtype=np.int64))
    order = np.argsort(old.token_ids)
    rows = torch.from_numpy(order[np.searchsorted(old.token_ids, kept, sorter=order)])
    tensors: dict[str, Any] = {}
    for path in sorted(drafter.folder.glob("*.safetensors")):
        tensors |= load_file(path)
    for name, tensor in tensors.items():
        if name.startswith("lm_head.") and len(tensor) == old.size:
            tensors[name] = tensor[rows].contiguous()
    marks = torch.zeros(old.target_size, dtype=torch.bool)
    marks[torch.from_numpy(kept)] = True
    tensors |= {D2T: torch.from_numpy(kept - np.arange(len(kept))), T2D: marks}
    folder.mkdir(parents=True, exist_ok=True)
    for path in drafter.folder.iterdir():
        if path.is_file() and not path.name.endswith(_NOT_COPIED):
            shutil.copyfile(path, folder / path.name)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["draft_vocab_size"] = len(kept)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    weights = folder / "model.safetensors"
    save_file(tensors, weights, metadata={"format": "pt"})
    return weights.stat().st_size
