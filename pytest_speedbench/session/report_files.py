"""The reports that a session writes at its end, checked before anything is measured for them."""

from __future__ import annotations

from pathlib import Path

from pytest_speedbench.errors import ReportError
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.report.html.templates import check_installed


def check_reports(settings: Settings) -> None:
    """Whether every report that is asked for can be written; makes their folders.

    Raises:
        ReportError: a package is missing, or a file cannot be written where it is asked for.
    """
    if settings.report:
        check_installed()
    for option, path in (
        ("--speed-report", settings.report),
        ("--speed-summary", settings.summary),
    ):
        if path:
            _check_writable(option, Path(path))


def _check_writable(option: str, path: Path) -> None:
    """Opens ``path``: permissions alone do not say what a file system allows."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.open("x").close()
        except FileExistsError:
            if not path.is_fifo():  # which would wait for its reader
                path.open("a").close()
        else:
            path.unlink()
    except OSError as error:
        raise ReportError(
            f"{option}={path}: no file can be written there: {error.strerror or error}"
        ) from error
