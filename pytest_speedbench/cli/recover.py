"""``speedbench recover``: what killed sessions had finished becomes saved runs."""

from __future__ import annotations

from pytest_speedbench.cli.arguments import DEFAULT_STORAGE, Storage, store_at
from pytest_speedbench.cli.output import Lines
from pytest_speedbench.errors import CliError, count_of


def recover(storage: Storage = DEFAULT_STORAGE) -> None:
    """Turn the journals of killed sessions into saved runs.

    They are marked partial. The next session does the same at its start. Sessions that are still
    running are left alone.
    """
    from pytest_speedbench.baselines.journal import journal_folder
    from pytest_speedbench.baselines.journal import recover as recover_journals

    out, store = Lines(), store_at(storage)
    try:
        found = recover_journals(store)
    except OSError as error:
        raise CliError(f"cannot save to {store.folder}: {error.strerror or error}") from error
    for recovered in found:
        out.line(f"recovered {count_of(recovered.cases, 'case')}: {recovered.place}")
    if not found:
        out.line(f"nothing to recover in {journal_folder(store)}")
