"""Writing the bundled split: one JSONL file a category and ``split.json``, byte for byte stable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pytest_speedbench.errors import SplitError

from .model import Sample, digest_of, order_slices
from .rows import read_samples

LICENCE: Final = "Apache-2.0"
_ROW_FIELDS: Final = ("sub_category", "turns", "difficulty", "multiturn", "language", "source")


def read_pool(pool_dir: Path, *, keep_good: bool = False) -> dict[str, tuple[Sample, ...]]:
    """Return the candidates of each category, one ``<category>.jsonl`` each, in canonical order.

    Raises SplitError for a folder without JSONL files and for bad rows (unless ``keep_good``).
    """
    files = sorted(pool_dir.glob("*.jsonl")) if pool_dir.is_dir() else []
    if not files:
        raise SplitError(
            f"pool {str(pool_dir)!r} holds no <category>.jsonl; give the folder with the "
            "candidates, e.g. splits/pool"
        )
    pools = {f.stem: read_samples(f, keep_good=keep_good).samples for f in files}
    for name, samples in pools.items():
        strangers = sorted({s.category for s in samples} - {name})
        if strangers:
            raise SplitError(
                f"{pool_dir / name}.jsonl: holds rows of category {strangers[0]!r}; a pool file "
                "holds the category it is named after"
            )
    return {name: pools[name] for name in order_slices(pools)}


def write_split(
    out_dir: Path,
    chosen: Mapping[str, Sequence[Sample]],
    *,
    version: str,
    name: str = "qualitative",
    made: Mapping[str, Any] | None = None,
) -> str:
    """Write ``<category>.jsonl`` and ``split.json`` to ``out_dir``; return the digest.

    The same samples give the same bytes. ``made`` is kept in ``split.json``: how the samples were
    selected.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    ordered = {category: chosen[category] for category in order_slices(chosen)}
    digest = digest_of(s for samples in ordered.values() for s in samples)
    for category, samples in ordered.items():
        lines = "".join(_line(sample) for sample in samples)
        (out_dir / f"{category}.jsonl").write_text(lines, encoding="utf-8", newline="\n")
    card = {
        "name": name,
        "version": version,
        "licence": LICENCE,
        "categories": {category: len(samples) for category, samples in ordered.items()},
        "digest": digest,
        "made": dict(made or {}),
    }
    text = json.dumps(card, ensure_ascii=False, indent=2) + "\n"
    (out_dir / "split.json").write_text(text, encoding="utf-8", newline="\n")
    return digest


def _line(sample: Sample) -> str:
    row: dict[str, Any] = {"id": sample.id, "category": sample.category}
    row |= {field: getattr(sample, field) for field in _ROW_FIELDS}
    if sample.system is not None:
        row["system"] = sample.system
    return json.dumps(row, ensure_ascii=False) + "\n"


def first_rows(samples: Sequence[Sample], n: int) -> tuple[Sample, ...]:
    """Return the first ``n``, the last of them replaced by a multi-turn one if there is none."""
    head = list(samples[:n])
    later = [s for s in samples[n:] if s.multiturn]
    if head and later and not any(s.multiturn for s in head):
        head[-1] = later[0]
    return tuple(head)
