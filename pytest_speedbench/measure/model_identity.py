"""What a model is called, and which weights it has: its identity in keys and records."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from pytest_speedbench.engines.demo import DEMO_MODEL, DEMO_NAME, resolve_model

# A folder of the hub's cache, which is named after a commit; the model's name is above it.
_SNAPSHOT = re.compile(r"/models--([^/]+)/snapshots/[^/]+$")
_BLOCK_BYTES = 1 << 20


def model_identity(model: str, weights: str = "") -> dict[str, str]:
    """Name and weights digest (or hub revision) of a model, for the record.

    ``weights`` is the folder or file that the engine loads, where it is not the model's own. The
    digest covers the config and, for every weights file, name, size and three megabytes (first,
    middle, last): enough to distinguish checkpoints in milliseconds.
    """
    path = Path(os.path.expanduser(weights or resolve_model(model)))
    if not os.path.exists(path):
        return {"name": model, "weights": "", "revision": _hub_revision(model)}
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if file.suffix in (".safetensors", ".bin", ".gguf") or file.name == "config.json":
            digest.update(f"{file.name}:{file.stat().st_size}".encode())
            for block in _probe(file):
                digest.update(block)
    return {"name": model_name(model), "weights": digest.hexdigest()[:16], "revision": ""}


def model_name(model: str) -> str:
    """What a model is called in ids and records: a hub name, or a folder's or file's own name."""
    if model == DEMO_MODEL:
        return DEMO_NAME
    path = Path(os.path.expanduser(model))
    if not os.path.exists(path):
        return model
    place = path.resolve()
    cached = _SNAPSHOT.search(place.as_posix())
    return cached[1].replace("--", "/", 1) if cached else place.name


def _probe(file: Path) -> list[bytes]:
    """The first, middle and last megabyte of a file."""
    size, block = file.stat().st_size, _BLOCK_BYTES
    with file.open("rb") as handle:
        blocks = []
        for start in sorted({0, max(0, size // 2 - block // 2), max(0, size - block)}):
            handle.seek(start)
            blocks.append(handle.read(block))
    return blocks


def _hub_revision(model: str) -> str:
    """The commit of the locally cached snapshot, if the hub's cache has one."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return ""
    try:
        found = try_to_load_from_cache(model, "config.json")
    except ValueError:  # not a hub name
        return ""
    return Path(found).parent.name if isinstance(found, str) else ""
