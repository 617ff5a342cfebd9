"""``speedbench history``: one metric of every case, from the oldest saved run to the latest."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.arguments import (
    DEFAULT_STORAGE,
    Storage,
    check_written,
    read,
    refuse_unused,
    saved_runs,
    store_at,
)
from pytest_speedbench.cli.output import write_file
from pytest_speedbench.errors import CliError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_speedbench.analysis.trends import Trend
    from pytest_speedbench.baselines.storage import SavedRun

_METRIC = "acceptance_length"
_MOST_TABLES = 3
"""Of more cases there is one table, with a row for each."""
_AGO = re.compile(r"(\d+)([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 24 * 7}


class Format(StrEnum):
    """How trends are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


def history(
    context: typer.Context,
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="CASE",
            help="Words that a case must have, such as 'math bs32 dl3' or 'Llama*'.",
        ),
    ] = "",
    case: Annotated[str, typer.Option(metavar="CASE", help="CASE as an option.")] = "",
    metric: Annotated[str, typer.Option(help="The metric to show.")] = _METRIC,
    since: Annotated[
        str, typer.Option(metavar="DATE", help="First day or time, UTC; or an age: 14d.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="DATE", help="Last day or time, UTC.")] = "",
    output: Annotated[Format, typer.Option("--format", help="What is printed.")] = Format.TABLE,
    html: Annotated[Path | None, typer.Option(metavar="PATH", help="Write an HTML page.")] = None,
    bisect: Annotated[
        str,
        typer.Option(
            metavar="CASE", help="Print the last good and the first bad commit of a case."
        ),
    ] = "",
    script: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="With --bisect: write a script for git bisect run."),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Show how a metric of each case has changed over the saved runs.

    Up to three cases have a table each, with a row for each run; more have one table, with a row
    for each case.
    """
    if bisect:
        refuse_unused(context, "with --bisect, which prints commits", "output", "html")
    else:
        refuse_unused(context, "without --bisect CASE", "script")
    if html is not None:
        refuse_unused(context, "with --html, which writes a page instead", "output")
    named = [text for text in (pattern, case, bisect) if text]
    if len(named) > 1:
        raise CliError(f"expected one CASE, got {' and '.join(map(repr, named))}")
    check_written({"--html": html, "--script": script})
    trends = _trends("".join(named), metric, since, until, storage)
    if bisect:
        from pytest_speedbench.cli.bisect import show_suspects

        show_suspects(trends, script)
    elif html is not None:
        _write_page(html, trends)
    else:
        _print(trends, output, _given(metric=metric, since=since, until=until, storage=storage))


def _print(trends: Sequence[Trend], output: Format, options: Sequence[str]) -> None:
    from pytest_speedbench.cli.history_output import show_csv, show_json, show_table
    from pytest_speedbench.cli.history_overview import show_overview

    if output is Format.TABLE and len(trends) > _MOST_TABLES:
        show_overview(trends, options)
    else:
        {Format.TABLE: show_table, Format.CSV: show_csv, Format.JSON: show_json}[output](trends)


def _given(**options: str) -> list[str]:
    """The options that are not at their defaults, as words of a command."""
    defaults = {"metric": _METRIC, "storage": DEFAULT_STORAGE}
    given = {name: text for name, text in options.items() if text != defaults.get(name, "")}
    return [word for name, text in given.items() for word in (f"--{name}", text)]


def _trends(pattern: str, metric: str, since: str, until: str, storage: str) -> list[Trend]:
    """The trends that the options select.

    Raises:
        CliError: there is none; the message says what there is.
    """
    from pytest_speedbench.analysis.trends import between, known_metrics, trends

    runs = saved_runs(store_at(storage))
    known = known_metrics(runs)
    if metric not in known:
        raise CliError(
            f"--metric {metric}: not in any saved run{did_you_mean(metric, known)}; saved: "
            f"{', '.join(known)}"
        )
    chosen = between(runs, _moment("--since", since), _moment("--until", until, end=True))
    if not chosen:
        raise CliError(
            f"none of the {len(runs)} saved runs is of that time; the first is of "
            f"{runs[0].time[:16]}, the last of {runs[-1].time[:16]}"
        )
    found = trends(chosen, pattern, metric)
    if not found:
        known = _words(chosen)
        missing = next((word for word in pattern.split() if word not in known), None)
        raise CliError(
            f"no saved case matches {pattern!r}{did_you_mean(missing, known)}; saved: "
            f"{', '.join(known)}"
        )
    return found


def _moment(option: str, text: str, end: bool = False) -> datetime | None:
    """The time that ``text`` names; with ``end`` a day means its end."""
    return read(option, text, lambda words: parse_moment(words, end)) if text else None


def parse_moment(text: str, end: bool = False, now: datetime | None = None) -> datetime:
    """``2026-11-01``, ``2026-11-01T02:00`` (UTC) or an age before ``now`` such as ``14d``.

    Raises:
        ValueError: it is none of these.
    """
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return (now or datetime.now(UTC)) - timedelta(hours=int(ago[1]) * _HOURS[ago[2]])
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise ValueError("expected a date such as 2026-11-01, or an age such as 14d") from None
    if end and len(text) == len("2026-11-01"):
        found += timedelta(days=1)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _words(runs: Sequence[SavedRun]) -> list[str]:
    """What the cases of the latest run can be named by."""
    axes = [
        (key.engine, key.method, f"dl{key.dl}", f"bs{key.bs}", key.split, key.slice)
        for key in runs[-1].keys
    ]
    return [word for values in zip(*axes, strict=True) for word in sorted(set(values))]


def _write_page(path: Path, trends: Sequence[Trend]) -> None:
    from pytest_speedbench.report.history_page import render_history

    write_file(path, render_history(trends).encode())
