"""What happens to a storage as a whole: old runs pruned, all runs exported to one file, imported.

Only files that hold records of this package are removed or exported.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.files import SUFFIX, LocalFiles, open_regular, read_regular
from pytest_speedbench.baselines.numbering import save_new
from pytest_speedbench.baselines.promoted import (
    NAME,
    Promotion,
    parse_promotions,
    promotions,
    write_promotions,
)
from pytest_speedbench.baselines.storage import SavedRun, Store, parse_run
from pytest_speedbench.errors import BaselineError

# Larger than any run; an archive that unpacks to more is refused before memory is full.
MOST_BYTES = 256 << 20
_MOST_FILES = 100_000
_A_DAY = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: names of new runs, of those that were there already, and of promoted
    references that the storage did not have."""

    added: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    promoted: list[str] = field(default_factory=list)


def prunable(store: Store, keep: int, protected: Collection[str] = ()) -> list[SavedRun]:
    """The runs that are not among the latest ``keep`` of any of their cases, oldest first.

    Args:
        store: the storage.
        keep: runs of each case to keep, at least 1.
        protected: places in the storage (``MACHINE/0007_nightly.json``) of runs that are kept
            whatever their age.

    Raises:
        BaselineError: ``keep`` is below 1, or the storage cannot be listed.
    """
    if keep < 1:
        raise BaselineError(f"expected to keep at least 1 run of each case, got {keep}")
    newer: Counter[CaseKey] = Counter()
    old = []
    for run in reversed(store.runs()):
        kept = any(newer[key] < keep for key in run.keys)
        newer.update(run.keys)
        if not kept and run.place not in protected:
            old.append(run)
    return old[::-1]


def prune(store: Store, keep: int, protected: Collection[str] = ()) -> list[SavedRun]:
    """Removes the runs that :func:`prunable` names, and what killed sessions left.

    Returns the runs.

    Raises:
        BaselineError: as :func:`prunable`, or a file cannot be removed.
    """
    old = prunable(store, keep, protected)
    for run in old:
        try:
            store.files.remove(run.place)
        except OSError as error:
            raise BaselineError(f"cannot remove {run.path}: {error.strerror or error}") from error
    if isinstance(store.files, LocalFiles):
        store.files.sweep(_A_DAY)
    return old


def export(store: Store, path: Path) -> int:
    """Writes all runs of a storage, and what is promoted, to one zip archive.

    Returns how many runs.

    Raises:
        BaselineError: there is nothing to export, a run cannot be read, or the archive not written.
    """
    runs = store.runs()
    if not runs:
        raise BaselineError(f"no saved runs in {store.folder}: nothing to export")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(draft, "x", zipfile.ZIP_DEFLATED) as archive:
            for run in runs:
                archive.writestr(run.place, store.files.read(run.place))
            if promotions(store):
                archive.writestr(NAME, store.files.read(NAME))
        os.replace(draft, path)
    except OSError as error:
        raise BaselineError(f"cannot export to {path}: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return len(runs)


def import_runs(store: Store, path: Path) -> Imported:
    """Adds the runs of an archive, or of one saved file, to a storage.

    Every run is read and checked before the first one is written. A run that the storage has
    already is left alone; one whose name is taken by another run gets the next number.

    Raises:
        BaselineError: a file that is not a run, a damaged record, a name that leads out of the
            storage, or a storage that cannot be written.
    """
    pointers: dict[str, Promotion] = {}
    count = 0
    for name, content in _members(path):
        if name == NAME:
            pointers = parse_promotions(content, f"{path}: {name}")
            continue
        count += 1
        if not parse_run(partial(bytes, content), f"{path}: {name}").summaries:
            raise BaselineError(f"{path}: {name} holds no records of pytest-speedbench")
    result = Imported()
    places: dict[str, str] = {}
    try:
        names = set(store.files.list())
        for name, content in _members(path):  # again: all at once may not fit the memory
            if name != NAME:
                places[name] = _add(store, names, name, content, result)
    except OSError as error:
        raise BaselineError(
            f"cannot write to {store.folder}: {error.strerror or error}; "
            f"{len(result.added)} of {count} runs are imported"
        ) from error
    _promote(store, pointers, places, result)
    return result


def _promote(
    store: Store, pointers: dict[str, Promotion], places: dict[str, str], result: Imported
) -> None:
    """Adds the references whose names are free; a storage's own ones stay."""
    own = promotions(store)
    new = {
        name: pointer.model_copy(update={"run": places[pointer.run]})
        for name, pointer in pointers.items()
        if name not in own and pointer.run in places
    }
    if new:
        write_promotions(store, {**own, **new})
        result.promoted.extend(new)


def _add(store: Store, names: set[str], name: str, content: bytes, result: Imported) -> str:
    """Adds one run unless the storage has it; returns its place there."""
    place = PurePosixPath(name)
    head, _, tag = place.stem.partition("_")
    alike = [n for n in names if PurePosixPath(n).stem.partition("_")[2] == tag]
    for other in alike:
        if store.files.read(other) == content:
            result.present.append(name)
            return other
    folder = "" if place.parent == PurePosixPath(".") else str(place.parent)
    same_number = (n for n in names if PurePosixPath(n).name.partition("_")[0] == head)
    if any(PurePosixPath(other).parent == place.parent for other in same_number):
        name = save_new(store.files, folder, tag or head, content)
    else:
        store.files.create(name, content)
    names.add(name)
    result.added.append(name)
    return name


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the runs in an archive, or of the one that the file is."""
    try:
        if path.suffix == SUFFIX:
            yield path.name, read_regular(path)
            return
        with open(open_regular(path), "rb") as file, zipfile.ZipFile(file) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if len(infos) > _MOST_FILES:
                raise BaselineError(f"{path}: {len(infos)} files; at most {_MOST_FILES} are read")
            for info in infos:
                if info.filename == NAME:
                    yield NAME, _content(path, archive, info)
                    continue
                yield _safe_name(path, info.filename), _content(path, archive, info)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BaselineError(
            f"cannot read {path}: {reason}; expected an archive of speedbench baseline export, or "
            "one saved run"
        ) from error


def _safe_name(path: Path, name: str) -> str:
    place = PurePosixPath(name)
    inside = not place.is_absolute() and ".." not in place.parts and len(place.parts) <= 2
    plain = not any(character in name for character in "\\:\0") and not place.name.startswith(".")
    if not (inside and plain and place.suffix == SUFFIX):
        raise BaselineError(
            f"{path}: {name!r} is not the name of a run; expected MACHINE/NNNN_NAME.json. Nothing "
            "was imported"
        )
    return str(place)


def _content(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise BaselineError(f"{path}: {info.filename} unpacks to more than {MOST_BYTES >> 20} MiB")
    return content
