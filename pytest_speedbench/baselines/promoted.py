"""Promoted references: a saved run that was chosen, by name, as what later runs are held to.

One pointer a name, in a file beside the saved runs. ``default`` is the name where none is given.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pytest_speedbench.baselines.storage import SavedRun, Store
from pytest_speedbench.errors import BaselineError, did_you_mean

DEFAULT = "default"
_PROMOTED_NAME = re.compile(r"[^\W\d_][\w.-]*")
NAME = "speedbench-promoted"  # no suffix: pytest-benchmark takes every JSON file for a saved run


class Promotion(BaseModel):
    """One pointer.

    Attributes:
        run: the saved file, relative to the storage.
        commit: the commit of the run; empty where it is unknown.
        reason: why it was promoted; may be empty.
        time: when, ISO 8601.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    commit: str = ""
    reason: str = ""
    time: str = ""


def promotions(store: Store) -> dict[str, Promotion]:
    """All pointers of a storage, by name.

    Raises:
        BaselineError: the file of pointers is damaged or cannot be read.
    """
    place = store.files.shown(NAME)
    try:
        content = store.files.read(NAME)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise BaselineError(f"cannot read {place}: {error.strerror or error}") from error
    return parse_promotions(content, place)


def parse_promotions(content: bytes, place: str) -> dict[str, Promotion]:
    """The pointers in the file at ``place``.

    Raises:
        BaselineError: the file is damaged.
    """
    try:
        data = json.loads(content)
    except ValueError as error:
        raise BaselineError(_damaged(place)) from error
    if not isinstance(data, dict):
        raise BaselineError(_damaged(place))
    try:
        return {name: Promotion.model_validate(value) for name, value in data.items()}
    except ValidationError as error:
        raise BaselineError(_damaged(place)) from error


def _damaged(place: str) -> str:
    return (
        f"{place} is damaged, so the promoted baselines are unknown: delete it, and promote again "
        "with speedbench baseline promote REF"
    )


def promote(store: Store, run: SavedRun, name: str = DEFAULT, reason: str = "") -> Promotion:
    """Makes ``run`` the reference called ``name``, in place of the one before.

    Raises:
        BaselineError: the name could be taken for another reference, the run lies outside of the
            storage, or the file cannot be written.
    """
    if not _PROMOTED_NAME.fullmatch(name):
        raise BaselineError(
            f"--name {name!r}: expected a letter, then letters, digits, '.', '_' or '-'; a number "
            "names a saved run"
        )
    place = run.place or _place_of(store, run)
    if not place:
        raise BaselineError(
            f"{run.path} lies outside of {store.folder}: import it first, with speedbench baseline "
            "import"
        )
    pointer = Promotion(
        run=place,
        commit=run.commit if run.known_commit else "",
        reason=reason,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_promotions(store, {**promotions(store), name: pointer})
    return pointer


def _place_of(store: Store, run: SavedRun) -> str:
    """The name in the storage of a run that was named by its path; empty for one elsewhere."""
    wanted = Path(run.path).resolve()
    shown = ((name, Path(store.files.shown(name))) for name in store.names())
    return next((name for name, path in shown if path.resolve() == wanted), "")


def demote(store: Store, name: str = DEFAULT) -> Promotion:
    """Removes a pointer; the run itself stays.

    Raises:
        BaselineError: there is no pointer of this name, or the file cannot be written.
    """
    known = promotions(store)
    if name not in known:
        raise BaselineError(no_such(name, known))
    pointer = known.pop(name)
    write_promotions(store, known)
    return pointer


def promoted_run(store: Store, name: str = DEFAULT) -> SavedRun | None:
    """The run that a pointer names; None where there is no such pointer.

    Raises:
        BaselineError: the run is gone from the storage, or cannot be read.
    """
    pointer = promotions(store).get(name)
    if pointer is None:
        return None
    if pointer.run not in store.names():
        raise BaselineError(
            f"the promoted baseline {name!r} is {pointer.run}, which is gone from {store.folder}: "
            f"promote another run (speedbench baseline promote REF --name {name}), or demote it "
            f"(speedbench baseline demote {name})"
        )
    return store.read(pointer.run)


def no_such(name: str, known: Mapping[str, Promotion]) -> str:
    """That ``name`` is not among the pointers, and what they are."""
    there = f"promoted: {', '.join(known)}" if known else "nothing is promoted"
    return f"no promoted baseline {name!r}{did_you_mean(name, known)}; {there}"


def write_promotions(store: Store, pointers: Mapping[str, Promotion]) -> None:
    """Replaces all pointers.

    Raises:
        BaselineError: the file cannot be written.
    """
    text = json.dumps({name: p.model_dump() for name, p in pointers.items()}, indent=1)
    try:
        store.files.replace(NAME, text.encode())
    except OSError as error:
        place = store.files.shown(NAME)
        raise BaselineError(f"cannot write {place}: {error.strerror or error}") from error
