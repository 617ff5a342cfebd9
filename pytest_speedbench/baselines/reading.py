"""Saved records for Python: the run is named as on the command line, the case by its key."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pytest_speedbench.baselines.case_key import KEY_FIELDS, CaseKey
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import SavedRun, Store
from pytest_speedbench.errors import BaselineError, UsageError

_SHOWN = 12


def read_records(reference: str | Path, storage: str | Path = ".benchmarks") -> list[Record]:
    """Read every record of a saved run, in the order in which its tests ran.

    Args:
        reference: the file; or the run's number, name, commit, tag or branch in ``storage``.
        storage: folder or address of saved runs; as pytest-benchmark's ``--benchmark-storage``.

    Raises:
        BaselineError: nothing has this name, the file cannot be read, or it holds no record of
            this package.
    """
    run = find_run(reference, storage)
    return list(run.measured)


def read_record(
    reference: str | Path, storage: str | Path = ".benchmarks", **case: str | int
) -> Record:
    """Read the one record of a saved run whose case has the given values.

        read_record("0001_base.json", slice="math", dl=3)

    Args:
        reference: the file; or the run's number, name, commit, tag or branch in ``storage``.
        storage: folder or address of saved runs; as pytest-benchmark's ``--benchmark-storage``.
        **case: parts of the case's key: ``engine``, ``model``, ``method``, ``dl``, ``bs``,
            ``split``, ``slice``. What is not given may have any value.

    Raises:
        UsageError: a keyword that is not a part of the key.
        BaselineError: as ``read_records``; or no case, or more than one, has these values.
    """
    if unknown := sorted(set(case) - set(KEY_FIELDS)):
        raise UsageError(f"unknown part of a case {unknown[0]!r}; known: {', '.join(KEY_FIELDS)}")
    records = read_records(reference, storage)
    found = [record for record in records if _fits(record.case, case)]
    if len(found) == 1:
        return found[0]
    asked = ", ".join(f"{name}={value!r}" for name, value in case.items()) or "any values"
    shown = "\n".join(f"  {record.case}" for record in (found or records)[:_SHOWN])
    raise BaselineError(
        f"{reference}: expected one record with {asked}, found {len(found)}. "
        f"{'They are' if found else 'The run has'}:\n{shown}"
    )


def find_run(reference: str | Path, storage: str | Path) -> SavedRun:
    """The saved run that ``reference`` names.

    Raises:
        BaselineError: nothing has this name, or its file cannot be read.
    """
    return Store(storage, option="").find(str(reference), Path.cwd())


def run_of(records: Iterable[Record]) -> SavedRun:
    """Records that are at hand, as the run that they were read from.

    Raises:
        UsageError: there are none, or something else is among them.
    """
    kept = tuple(records) if isinstance(records, Iterable) else ()
    if not kept or not all(isinstance(record, Record) for record in kept):
        raise UsageError(
            "expected the name or the path of a saved run, a Record, or at least one Record in an "
            "iterable, as read_record and read_records return them"
        )
    return SavedRun("records", "", False, "", "", kept, lambda: kept)


def _fits(key: CaseKey, case: dict[str, str | int]) -> bool:
    return all(str(getattr(key, name)) == str(value) for name, value in case.items())
