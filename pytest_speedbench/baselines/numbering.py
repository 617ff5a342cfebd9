"""Numbers of saved runs: ``NNNN_TAG.json``, each number once in its folder.

The next number is claimed by creating ``.NNNN.claim``, which only one session can do, and given up
when the run is written. A claim that a killed session left behind costs one number.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import PurePosixPath

from pytest_speedbench.baselines.files import SUFFIX, Files

_NUMBERED = re.compile(r"(\d{4,})_")
_UNSAFE = re.compile(r"[^\w.+-]+")
_MOST_CLAIMS = 10_000


def save_new(files: Files, folder: str, tag: str, content: bytes) -> str:
    """Writes a new run under the next number of ``folder``; returns its name in the storage.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    tag = _UNSAFE.sub("_", tag)
    first = max(_numbers(files, folder), default=0) + 1
    for number in range(first, first + _MOST_CLAIMS):
        claim = f"{folder}/.{number:04}.claim".lstrip("/")
        try:
            files.create(claim, b"")
        except FileExistsError:
            continue
        try:
            if number not in _numbers(files, folder):  # by a session that has just given it up
                name = f"{folder}/{number:04}_{tag}{SUFFIX}".lstrip("/")
                files.create(name, content)
                return name
        finally:
            with contextlib.suppress(OSError):
                files.remove(claim)
    raise OSError(None, f"{_MOST_CLAIMS} numbers are claimed by others; remove {folder}/.*.claim")


def _numbers(files: Files, folder: str) -> set[int]:
    paths = map(PurePosixPath, files.list())
    found = (_NUMBERED.match(p.name) for p in paths if p.parent == PurePosixPath(folder or "."))
    return {int(match[1]) for match in found if match}
