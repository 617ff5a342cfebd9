"""Identity as records up to schema 2 have it: digests over ids and order, ids made of row numbers.

A record of that time is recognised where its digest can be recomputed from the split as it is now;
its ids are then mapped to those of today. Otherwise nothing is known of its prompts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

from .model import Sample, Split


def legacy_ids(split: Split, name: str, digest: str) -> dict[str, str] | None:
    """Return old id → present id for every row of a split, or None for another split.

    ``name`` and ``digest`` are those of the record's split. A digest of today's rule, and one of a
    split that is identified by its recipe (``throughput_*``), maps each id to itself.
    """
    if digest == split.digest:
        return {sample.id: sample.id for sample in split.whole}
    for stem in dict.fromkeys((None, name)):
        rows = _old_rows(split, stem)
        if _digest(rows) == digest:
            return {old.id: new.id for old, new in zip(rows, split.whole, strict=True)}
    return None


def legacy_digest(split: Split, stem: str | None = None) -> str:
    """Return the digest that versions up to 1.1 gave the split.

    ``stem`` is what its file was called then, without ending; None: as it is called now.
    """
    return _digest(_old_rows(split, stem))


def _old_rows(split: Split, stem: str | None) -> tuple[Sample, ...]:
    """The rows with the ids of old: file and row number where the row has no id of its own."""
    return tuple(
        sample
        if sample.row is None
        else replace(sample, id=f"{stem or sample.row[0]}-{sample.row[1]}")
        for sample in split.whole
    )


def _digest(rows: tuple[Sample, ...]) -> str:
    digest = hashlib.sha256()
    for line in _canonical_lines(rows):
        digest.update(line)
    return digest.hexdigest()


def _canonical_lines(rows: tuple[Sample, ...]) -> Iterator[bytes]:
    for row in rows:
        content: dict[str, object] = {
            "id": row.id,
            "category": row.category,
            "turns": row.turns,
            "system": row.system,
        }
        if row.token_ids is not None:
            content["token_ids"] = row.token_ids
        text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        yield text.encode("utf-8") + b"\n"
