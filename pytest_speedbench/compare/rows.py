"""The rows of a baseline and of a new measurement, matched by the content of their prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pytest_speedbench.baselines.provenance import SplitRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.splits import legacy_ids, load_split, rows_in_common
from pytest_speedbench.splits.bundled import BUNDLED
from pytest_speedbench.splits.identity import KEY_LENGTH

LEAST_SHARE: Final = 0.5
"""Splits with fewer of their rows in common than this are not versions of one another."""

EarlierIds = Callable[[str, str], Mapping[str, str] | None]
"""(name, digest) of a split in an earlier record → its sample ids and those of the same rows now,
or None where the digest cannot be recomputed from the split as it is."""


def earlier_ids_of(split: SplitRecord) -> EarlierIds:
    """What is known of a record's own split: its rows where it is bundled, else nothing."""

    def earlier(name: str, digest: str) -> Mapping[str, str] | None:
        if split.name != name or name not in BUNDLED:
            return None
        present = load_split(name)
        return legacy_ids(present, name, digest) if present.digest == split.digest else None

    return earlier


@dataclass(frozen=True, slots=True)
class RowMatch:
    """A baseline as the new split calls its rows, and what keeps it from being compared.

    ``incomparable`` is why acceptance cannot be compared, empty where it can; ``part`` says which
    rows are left out, empty where both splits are the same.
    """

    record: Record
    incomparable: str = ""
    part: str = ""


def match_rows(record: Record, new: SplitRecord, earlier: EarlierIds) -> RowMatch:
    """Match the rows of ``record`` with those of ``new``, by content alone.

    The returned record has the sample ids of the new split, and none but the rows in both.
    """
    old = record.split
    if not old.rows and (ids := earlier(old.name, old.digest)) is not None:
        return RowMatch(_renamed(record, ids))
    if not old.rows or not new.rows:
        return RowMatch(record, "" if old.digest == new.digest else _unknown(old, new))
    common = rows_in_common(old.rows, new.rows)
    if common.identical or old.digest == new.digest:  # with another number of samples
        return RowMatch(_renamed(record, common.pairs))
    if common.share < LEAST_SHARE:
        return RowMatch(record, f"split: {common}")
    return RowMatch(_renamed(record, common.pairs), part=str(common))


def same_split(record: Record, new: SplitRecord, key: str, earlier: EarlierIds) -> bool:
    """Whether ``record`` was measured on the split ``new`` under another key.

    ``key`` is the new split's part of the key. A file has another key after it was named, and
    where it has no name, after any row of it changed: then most rows must be the same.
    """
    old = record.split
    if old.digest == new.digest or earlier(old.name, old.digest) is not None:
        return True
    unnamed = record.case.split == old.digest[:KEY_LENGTH] and key == new.digest[:KEY_LENGTH]
    if not unnamed or not old.rows or not new.rows:
        return False
    return rows_in_common(old.rows, new.rows).share >= LEAST_SHARE


def _renamed(record: Record, ids: Mapping[str, str]) -> Record:
    """The record under other sample ids, without the samples that have none."""
    if all(ids.get(request.sample) == request.sample for request in record.requests):
        return record
    requests = [
        request.model_copy(update={"sample": ids[request.sample]})
        for request in record.requests
        if request.sample in ids
    ]
    return record.model_copy(update={"requests": requests})


def _unknown(old: SplitRecord, new: SplitRecord) -> str:
    return (
        f"split digest: {old.digest[:KEY_LENGTH]} there, {new.digest[:KEY_LENGTH]} here; the "
        "record has no digests of its prompts, and its split digest cannot be recomputed, since "
        "rows of the file or their order have changed: save a new baseline"
    )
