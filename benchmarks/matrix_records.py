"""The records of the matrix, read back: plain or compressed, merged by case."""

from __future__ import annotations

import lzma
import tempfile
from pathlib import Path
from typing import NamedTuple

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import read_run


class Key(NamedTuple):
    """A case of the matrix; without speculation ``dl`` is 0."""

    method: str
    dl: int
    bs: int


def load_records(folder: Path) -> dict[Key, Record]:
    """Every case below ``folder``; of cases measured twice, the first file's."""
    found: dict[Key, Record] = {}
    for path in sorted(folder.rglob("*.json*"), key=lambda path: path.name):
        for record in _read(path):
            case = record.case
            found.setdefault(Key(case.method, case.dl, case.bs), record)
    return found


def _read(path: Path) -> list[Record]:
    if path.suffix != ".xz":
        return list(read_run(path).records.values())
    with tempfile.NamedTemporaryFile(suffix=".json") as plain:
        plain.write(lzma.decompress(path.read_bytes()))
        plain.flush()
        return list(read_run(Path(plain.name)).records.values())
