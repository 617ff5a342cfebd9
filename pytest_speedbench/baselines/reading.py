"""Saved records for Python: the run is named as on the command line, the case by its key."""

from __future__ import annotations

from pathlib import Path

from pytest_speedbench.baselines.schema import KEY_FIELDS, CaseKey, Record
from pytest_speedbench.baselines.storage import Store
from pytest_speedbench.errors import BaselineError, UsageError

_SHOWN = 12


def read_records(reference: str | Path, storage: str | Path = ".benchmarks") -> list[Record]:
    """Read every record of a saved run, in the order in which its tests ran.

    Args:
        reference: the file; or the run's number, name, commit, tag or branch in ``storage``.
        storage: folder of saved runs; as pytest-benchmark's ``--benchmark-storage``.

    Raises:
        BaselineError: nothing has this name, the file cannot be read, or it holds no record of
            this package.
    """
    store = Store(storage, option="")
    run = store.find(str(reference), Path.cwd())
    return [*run.records.values(), *run.twins]


def read_record(
    reference: str | Path, storage: str | Path = ".benchmarks", **case: str | int
) -> Record:
    """Read the one record of a saved run whose case has the given values.

        read_record("0001_base.json", slice="math", dl=3)

    Args:
        reference: the file; or the run's number, name, commit, tag or branch in ``storage``.
        storage: folder of saved runs; as pytest-benchmark's ``--benchmark-storage``.
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


def _fits(key: CaseKey, case: dict[str, str | int]) -> bool:
    return all(str(getattr(key, name)) == str(value) for name, value in case.items())
