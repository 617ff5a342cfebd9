"""The bundled splits: where their files are, and how they are read and written."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from pytest_speedbench.errors import SplitError

from .errors import unknown
from .model import Sample, Split, order_slices
from .rows import read_samples

BUNDLED = ("qualitative",)
_PACKAGE = Path(__file__).resolve().parent.parent


def data_dir() -> Path:
    """Return the folder with the bundled splits.

    An installed wheel carries them as ``pytest_speedbench/_splits``; an editable install or a
    checkout has ``splits/`` next to the package. Raises SplitError where neither is there.
    """
    for folder in (_PACKAGE / "_splits", _PACKAGE.parent / "splits"):
        if folder.is_dir():
            return folder
    raise SplitError(
        f"the bundled splits are missing: neither {_PACKAGE / '_splits'} nor "
        f"{_PACKAGE.parent / 'splits'} exists. Install again: pip install --force-reinstall "
        "pytest-speedbench"
    )


def read_card(name: str) -> dict[str, Any]:
    """Return ``split.json`` of a bundled split: name, version, licence, categories, digest."""
    if name not in BUNDLED:
        raise unknown("bundled split", name, BUNDLED)
    path = data_dir() / name / "split.json"
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise SplitError(f"bundled split {name!r}: cannot read {path}: {error}") from error
    return card


def bundled_slices(name: str) -> tuple[str, ...]:
    """Return the category names of a bundled split without reading its prompts."""
    return order_slices(read_card(name)["categories"])


@lru_cache(maxsize=4)
def load_bundled(name: str) -> Split:
    """Return a bundled split; SplitError where a file was changed since its digest was taken."""
    card = read_card(name)
    samples: list[Sample] = []
    for category in bundled_slices(name):
        path = data_dir() / name / f"{category}.jsonl"
        samples.extend(read_samples(path, licence=card["licence"]).samples)
    split = Split(name, card["version"], card["digest"], tuple(samples), card["licence"])
    _check_digest(split)
    return split


def _check_digest(split: Split) -> None:
    from .model import make_split

    actual = make_split(split.name, split.samples).digest
    if actual != split.digest:
        raise SplitError(
            f"bundled split {split.name!r}: its files do not match the digest in split.json "
            f"(expected {split.digest[:12]}, got {actual[:12]}). Restore the files, or write the "
            "split again: speedbench splits curate splits/pool"
        )
