"""Names of saved runs, ``MACHINE/NNNN_TAG.json``: which of them a reference means."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath

from pytest_speedbench.baselines.files import SUFFIX


def named(files: Iterable[str], reference: str) -> str | None:
    """The newest file whose number, whole name, or name without the number is ``reference``.

    ``files`` are in order, oldest first; None where there is none.
    """
    number = reference.zfill(4) if reference.isdigit() else None
    found = None
    for file in files:
        stem = PurePosixPath(file).stem
        head, _, tail = stem.partition("_")
        if head == number if number is not None else reference in (stem, tail):
            found = file
    return found


def beginning_with(files: Iterable[str], reference: str) -> dict[str, str]:
    """The names that begin with ``reference``, with or without their numbers → the newest file of
    each."""
    start = reference.removesuffix(SUFFIX)
    found: dict[str, str] = {}
    for file in files if start else ():
        stem = PurePosixPath(file).stem
        tail = stem.partition("_")[2]
        if stem.startswith(start):
            found[stem] = file
        elif tail.startswith(start):
            found[tail] = file
    return found
