"""``speedbench doctor``: what works on this machine, and the command that fixes what does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.output import Lines

if TYPE_CHECKING:
    from pytest_speedbench.cli.checkup import Check

NOTHING_WORKS = 1
_SIMULATED = "simulated"


def doctor(
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Do not import the engines, only look for them."),
    ] = False,
) -> None:
    """Report which engines, extras, models and splits work here, and how to fix the others.

    Exit code 1 only if no engine that runs a model works.
    """
    from pytest_speedbench.cli import checkup

    out = Lines()
    _machine(out)
    engines = list(checkup.engines(quick))
    for title, checks in (
        ("engines", engines),
        ("extras", checkup.extras()),
        ("models", checkup.models()),
        ("splits", checkup.splits()),
    ):
        _section(out, title, checks)
    _evidence(out)
    if not any(check.works for check in engines if check.name != _SIMULATED):
        out.line("no engine that runs a model works here; the first command above fixes that")
        raise typer.Exit(NOTHING_WORKS)


def _machine(out: Lines) -> None:
    import platform

    from pytest_speedbench._version import __version__
    from pytest_speedbench.baselines.machine import this_machine

    machine = this_machine()
    gpus = ", ".join(machine.gpus) + f", driver {machine.driver}" if machine.gpus else "no GPU"
    out.line(f"speedbench {__version__}, Python {platform.python_version()}, {machine.system}")
    out.line(f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB, {gpus}")


def _section(out: Lines, title: str, checks: Iterable[Check]) -> None:
    out.line()
    out.line(title, "bold")
    for check in checks:
        state, style = ("works", "green") if check.works else ("no", "yellow")
        out.item(f"  {state:6}", f"{check.name}: {check.about}", style)
        if check.fix:
            out.exact(f"        {check.fix}")


def _evidence(out: Lines) -> None:
    from pytest_speedbench.cli.tested_engines import EVIDENCE

    out.line()
    out.line("tested by this project with real models", "bold")
    for entry in EVIDENCE:
        about = "; ".join(part for part in (entry.ran or "never", entry.basis) if part)
        out.item("  ", f"{entry.engine}: {about}")
