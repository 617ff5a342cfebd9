"""Identity by content: of a prompt, of a row without an id, and of a whole split.

What is measured identifies it. File names, row numbers and the order of rows do not.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pytest_speedbench.quantities import some_of

ID_LENGTH: Final = 16
"""Hexadecimal digits of a prompt's digest in ids and records: 64 bits."""
KEY_LENGTH: Final = 12
"""Hexadecimal digits of a split's digest in the key of a case."""
_MOST_NAMED: Final = 5


def content_digest(
    turns: Sequence[str], system: str | None = None, token_ids: Sequence[int] | None = None
) -> str:
    """Return the sha256 (hex) of what the model sees of a sample: neither id nor category."""
    content: dict[str, object] = {"turns": list(turns), "system": system}
    if token_ids is not None:
        content["token_ids"] = list(token_ids)
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def split_digest(rows: Iterable[tuple[str, str]]) -> str:
    """Return the sha256 (hex) over (category, content digest) of every row, in any order."""
    digest = hashlib.sha256()
    for category, content in sorted(rows):
        digest.update(json.dumps([category, content], ensure_ascii=False).encode("utf-8") + b"\n")
    return digest.hexdigest()


def occurrence_ids(rows: Sequence[tuple[str, str]]) -> list[str]:
    """Return an id for each (category, content digest): the digest, and ``-2``, ``-3`` on repeats.

    Repeats are numbered by category, then in the order given: rows of one category with the same
    text are interchangeable, so that no order of rows pairs different prompts.
    """
    places: dict[str, list[int]] = defaultdict(list)
    for index in sorted(range(len(rows)), key=lambda i: rows[i][0]):
        places[rows[index][1][:ID_LENGTH]].append(index)
    ids = [""] * len(rows)
    for content, found in places.items():
        for number, index in enumerate(found, start=1):
            ids[index] = content if number == 1 else f"{content}-{number}"
    return ids


@dataclass(frozen=True, slots=True)
class RowsInCommon:
    """Rows of two versions of a split, matched by content.

    ``pairs`` maps an id in the old version to the id of the same prompt in the new one.
    ``changed`` are ids in both whose prompt differs; ``removed`` and ``added`` are the other rows
    of one version alone.
    """

    pairs: Mapping[str, str]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    added: tuple[str, ...]

    @property
    def identical(self) -> bool:
        """Whether both versions hold the same prompts."""
        return not (self.changed or self.removed or self.added)

    @property
    def share(self) -> float:
        """Rows in both over the rows of the smaller version, in [0, 1]; 0 for no rows."""
        own = len(self.pairs) + len(self.changed)
        smaller = own + min(len(self.removed), len(self.added))
        return len(self.pairs) / smaller if smaller else 0.0

    def __str__(self) -> str:
        """One sentence: how many rows are in both, and which differ."""
        own = len(self.pairs) + len(self.changed)
        larger = own + max(len(self.removed), len(self.added))
        named = [
            f"{what} {_listed(ids)}"
            for what, ids in (
                ("changed:", self.changed),
                ("removed:", self.removed),
                ("added:", self.added),
            )
            if ids
        ]
        return "; ".join([f"{len(self.pairs)} of {larger} rows are in both", *named])


def rows_in_common(old: Mapping[str, str], new: Mapping[str, str]) -> RowsInCommon:
    """Match two versions of a split, each a mapping of row id to content digest.

    A row is only ever paired with a row of the same content. Among rows of the same content those
    of the same id go together first, the rest in the order of their ids.
    """
    pairs = {name: name for name, content in old.items() if new.get(name) == content}
    taken = set(pairs)
    waiting: dict[str, list[str]] = defaultdict(list)
    for name in sorted(new.keys() - taken, reverse=True):
        waiting[new[name]].append(name)
    for name in sorted(old.keys() - pairs.keys()):
        if free := waiting[old[name]]:
            pairs[name] = free.pop()
    used = set(pairs.values())
    left, fresh = old.keys() - pairs.keys(), new.keys() - used
    changed = left & fresh
    return RowsInCommon(
        {name: pairs[name] for name in old if name in pairs},
        tuple(_in_order(old, changed)),
        tuple(_in_order(old, left - changed)),
        tuple(_in_order(new, fresh - changed)),
    )


def _in_order(rows: Mapping[str, str], wanted: Iterable[str]) -> Iterator[str]:
    chosen = set(wanted)
    return (name for name in rows if name in chosen)


def _listed(ids: Sequence[str]) -> str:
    return some_of(ids, _MOST_NAMED)
