"""The index of a storage: what resolving a reference and printing history need of each file.

One line of JSON a file, beside the files, or in the user's cache folder where those cannot be
written. A line whose file has changed, or that cannot be read, is made again from the file; so an
index may be stale, cut off or deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pytest_speedbench.baselines.files import Files, LocalFiles, RemoteFiles, read_regular

NAME = ".speedbench-index.jsonl"
_HEADER = {"speedbench_index": 1}


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its ``stamp`` when it was read, and the summaries of the records in it.

    ``problem`` says why it cannot be read; ``records`` are those of ours, as plain JSON.
    """

    name: str
    stamp: str
    problem: str = ""
    commit: str = ""
    branch: str = ""
    dirty: bool = False
    time: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)


def cache_folder() -> Path:
    """Where this user's caches of the package lie; ``XDG_CACHE_HOME`` is respected."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pytest-speedbench"


def refresh(files: Files, read: Callable[[str, str], Entry]) -> list[Entry]:
    """The entries of all files, by name; ``read(name, stamp)`` makes those that are missing.

    Raises:
        OSError: the storage cannot be listed.
    """
    current = files.list()
    indexes = [_load(place) for place in _places(files)]
    known = {key: entry for index in indexes for key, entry in index.items()}
    entries = [known.get(key) or read(*key) for key in sorted(current.items())]
    if not any(index.keys() == set(current.items()) for index in indexes):
        _store(files, entries)
    return entries


def _load(place: Path) -> dict[tuple[str, str], Entry]:
    """Entries by name and stamp, as far as they can be read."""
    try:
        head, *lines = read_regular(place).decode().splitlines()
        if json.loads(head) != _HEADER:
            return {}
    except (OSError, ValueError):
        return {}
    return {(entry.name, entry.stamp): entry for line in lines if (entry := _parse(line))}


def _parse(line: str) -> Entry | None:
    try:
        entry = Entry(**json.loads(line))
    except (ValueError, TypeError):
        return None
    texts = (entry.name, entry.stamp, entry.problem, entry.commit, entry.branch, entry.time)
    good = all(isinstance(text, str) for text in texts) and isinstance(entry.records, list)
    return entry if good else None


def _store(files: Files, entries: list[Entry]) -> None:
    """Written where it can be; without an index everything works, only slower."""
    if not entries:
        return
    lines = [json.dumps(_HEADER), *map(_line, entries)]
    content = ("\n".join(lines) + "\n").encode()
    for place in _places(files):
        with contextlib.suppress(OSError):
            LocalFiles(place.parent).replace(place.name, content)
            return


def _line(entry: Entry) -> str:
    """The entry as JSON; ``asdict`` would copy all of its records first."""
    return json.dumps({field.name: getattr(entry, field.name) for field in fields(entry)})


def _places(files: Files) -> list[Path]:
    address = files.address if isinstance(files, RemoteFiles) else os.path.abspath(files.shown())
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    cached = cache_folder() / f"index-{digest}.jsonl"
    return [files.root / NAME, cached] if isinstance(files, LocalFiles) else [cached]
