"""Options shared by several commands, and how their values are parsed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Final, TypeVar

import typer

from pytest_speedbench.cli.output import echo
from pytest_speedbench.errors import CliError, SpeedbenchError

if TYPE_CHECKING:
    from pytest_speedbench.baselines.storage import SavedRun, Store

T = TypeVar("T")
_RANGE: Final = re.compile(r"(\d{1,9})(?:\.\.(\d{1,9}))?")
_MOST: Final = 1000
_LIST: Final = f"expected integers >= 1, such as 1,3,5 or 1..8, and at most {_MOST} in a range"

Storage = Annotated[
    str,
    typer.Option(
        "--storage", metavar="DIR", help="Folder or address of saved runs (--benchmark-storage)."
    ),
]
Reach = Annotated[
    str,
    typer.Option(
        "--reach",
        metavar="SHARE",
        help="Smallest share of samples that a loss is assumed to affect.",
    ),
]
DEFAULT_REACH = "12%"
DEFAULT_STORAGE = ".benchmarks"


def refuse_unused(context: typer.Context, where: str, *names: str) -> None:
    """Refuses options that were given and change nothing, before anything is read or measured.

    Args:
        context: of the command that runs.
        where: in which combination they change nothing, as the end of a sentence.
        names: parameters of the command.

    Raises:
        CliError: the message names the options.
    """
    given = [
        max(parameter.opts, key=len)
        for parameter in context.command.params
        if parameter.name in names and _was_given(context, parameter.name)
    ]
    if given:
        verb = "has" if len(given) == 1 else "have"
        raise CliError(f"{', '.join(given)} {verb} no effect {where}")


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def check_written(files: Mapping[str, Path | None]) -> None:
    """Refuses files that could not be written, or that would replace one another.

    ``files`` are paths by option; None: not asked for. A missing folder is made when its file is
    written.

    Raises:
        CliError: the message names the options.
    """
    asked = {option: path for option, path in files.items() if path is not None}
    for option, path in asked.items():
        if path.is_dir():
            raise CliError(f"{option} {path}: it is a folder, and a file is expected")
        there = next(folder for folder in path.absolute().parents if folder.exists())
        if not there.is_dir():
            raise CliError(f"{option} {path}: {there} is a file, and a folder is expected")
    places = {option: path.resolve() for option, path in asked.items()}
    for option, other in combinations(places, 2):
        if places[option] == places[other]:
            raise CliError(
                f"{option} and {other} name the same file, {asked[other]}: give each its own"
            )


def store_at(storage: str) -> Store:
    """The saved runs below ``storage``: a folder, or an address of fsspec.

    Raises:
        BaselineError: an address that nothing installed can read.
    """
    from pytest_speedbench.baselines.storage import Store

    return Store(storage, option="")


def run_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Completes the name of a saved run, with or without its number, and of a promoted one.

    Empty for a storage that has an address: a shell does not wait for a network.
    """
    from pytest_speedbench.baselines.files import is_remote
    from pytest_speedbench.baselines.names import beginning_with
    from pytest_speedbench.baselines.promoted import promotions

    storage = ctx.params.get("storage") or DEFAULT_STORAGE
    if is_remote(storage):
        return []
    store = store_at(storage)
    try:
        files, promoted = store.names(), list(promotions(store))
    except SpeedbenchError:  # the command says why it cannot be read
        return []
    names = beginning_with(files, incomplete) if incomplete else map(_stem, files)
    return [*names, *(name for name in promoted if name.startswith(incomplete))]


def _stem(file: str) -> str:
    return PurePosixPath(file).stem


Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", autocompletion=run_names, help="Number, name, file, commit or branch."
    ),
]


def find_run(store: Store, reference: str, others: Iterable[str] = ()) -> SavedRun:
    """The run that ``reference`` names, a promoted one too; skipped files are listed on stderr.
    ``others`` may have been meant as well, for a suggestion.

    Raises:
        BaselineError: nothing has this name, or its file cannot be read.
    """
    from pytest_speedbench.baselines.promoted import promoted_run, promotions

    run = promoted_run(store, reference)
    if run is None:
        run = store.find(reference, Path.cwd(), (*promotions(store), *others))
    report_skipped(store)
    return run


def find_runs(store: Store, references: Sequence[str]) -> list[SavedRun]:
    """As :func:`find_run`, of each reference."""
    return [find_run(store, reference) for reference in references]


def saved_runs(store: Store) -> list[SavedRun]:
    """Every readable run, oldest first; skipped files are listed on stderr.

    Raises:
        CliError: there is none.
    """
    runs = store.runs()
    report_skipped(store)
    if not runs:
        raise CliError(
            f"no saved runs in {store.folder}: run pytest with --benchmark-autosave, or give the "
            "folder with --storage"
        )
    return runs


def report_skipped(store: Store) -> None:
    """Lists the files that could not be read, on stderr."""
    for problem in store.problems:
        echo(f"skipped: {problem}", err=True)
    for remark in store.remarks:
        echo(f"note: {remark}", err=True)
    store.problems.clear()
    store.remarks.clear()


def read(option: str, text: str, parse: Callable[[str], T]) -> T:
    """``text`` parsed by ``parse``.

    Raises:
        CliError: ``text`` is not valid; the message names the option.
    """
    try:
        return parse(text)
    except ValueError as error:
        raise CliError(f"{option}: cannot read {text!r}: {error}") from error


def numbers(option: str, text: str) -> list[int]:
    """``1,3..5`` → [1, 3, 4, 5]; each is at least 1, and there is one at least.

    Raises:
        CliError: ``text`` is not such a list; the message names the option.
    """
    return read(option, text, _numbers)


def _numbers(text: str) -> list[int]:
    found: list[int] = []
    for item in text.replace(",", " ").split():
        span = _RANGE.fullmatch(item)
        if span is None:
            raise ValueError(_LIST)
        first, last = int(span[1]), int(span[2] or span[1])
        if not 1 <= first <= last < first + _MOST:
            raise ValueError(_LIST)
        found += range(first, last + 1)
    if not found:
        raise ValueError(_LIST)
    return list(dict.fromkeys(found))


def share(option: str, text: str) -> float:
    """``2%`` or ``0.02`` → 0.02."""
    from pytest_speedbench.plan import values

    return read(option, text, values.share)


def reach_share(text: str) -> float:
    """``12%`` or ``0.12`` → 0.12; also 0: nothing is assumed."""
    from pytest_speedbench.plan import values

    return read("--reach", text, values.share_or_zero)


def margins(texts: Sequence[str]) -> dict[str, float]:
    """``--fail METRIC[/SLICE]:MARGIN``, repeated or in a comma list; by default 2% of AL."""
    from pytest_speedbench.plan.settings import Settings

    found: dict[str, float] = {}
    for text in texts:
        found |= read("--fail", text, Settings.options["compare_fail"].parse)
    return found or {"acceptance_length": 0.02}
