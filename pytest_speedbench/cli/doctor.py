"""``speedbench doctor``: what works on this machine, and the command that fixes what does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.output import Lines, echo

if TYPE_CHECKING:
    from pytest_speedbench.cli.checkup import Check

NOTHING_WORKS = 1


def doctor(
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Do not import the engines, only look for them."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for a script.")] = False,
) -> None:
    """Report what is installed here, and how to get the rest.

    Engines, extras, models and splits.

    *works*: tried just now, with success; *found*: present, but not tried. Exit code 1 only if
    no engine that runs a model is found.
    """
    from pytest_speedbench.cli import checkup

    engines = list(checkup.engines(quick))
    sections: list[tuple[str, Iterable[Check]]] = [
        ("engines", engines),
        ("extras", checkup.extras()),
        ("models", checkup.models()),
        ("splits", checkup.splits()),
    ]
    (_print_json if as_json else _print)(sections)
    if not any(
        check.state != checkup.State.NO for check in engines if check.name != checkup.SIMULATED
    ):
        if not as_json:
            Lines().line("no engine that runs a model is here; the first command above fixes that")
        raise typer.Exit(NOTHING_WORKS)


def _print(sections: Iterable[tuple[str, Iterable[Check]]]) -> None:
    out = Lines()
    _machine(out)
    for title, checks in sections:
        _section(out, title, checks)
    out.line()
    out.item("  ", "found: it is there, but was not tried; the first test that uses it tries it")
    _evidence(out)


def _print_json(sections: Iterable[tuple[str, Iterable[Check]]]) -> None:
    import json
    import platform
    from dataclasses import asdict

    from pytest_speedbench._version import __version__
    from pytest_speedbench.baselines.machine import this_machine
    from pytest_speedbench.cli.tested_engines import EVIDENCE

    data = {
        "speedbench": __version__,
        "python": platform.python_version(),
        "machine": this_machine().model_dump(),
        **{title: [asdict(check) for check in checks] for title, checks in sections},
        "tested_by_this_project": [asdict(entry) for entry in EVIDENCE],
    }
    echo(json.dumps(data, indent=1))


def _machine(out: Lines) -> None:
    import platform

    from pytest_speedbench._version import __version__
    from pytest_speedbench.baselines.machine import this_machine

    machine = this_machine()
    gpus = ", ".join(machine.gpus) + f", driver {machine.driver}" if machine.gpus else "no GPU"
    out.line(f"speedbench {__version__}, Python {platform.python_version()}, {machine.system}")
    out.line(f"{machine.cpu}, {machine.cores} cores, {machine.memory_gib} GiB, {gpus}")


def _section(out: Lines, title: str, checks: Iterable[Check]) -> None:
    styles = {"works": "green", "no": "yellow"}
    out.line()
    out.line(title, "bold")
    for check in checks:
        out.item(f"  {check.state:6}", f"{check.name}: {check.about}", styles.get(check.state, ""))
        if check.fix and check.fix not in check.about:
            out.exact(f"        {check.fix}")


def _evidence(out: Lines) -> None:
    from pytest_speedbench.cli.tested_engines import EVIDENCE

    out.line()
    out.line("tested by this project with real models", "bold")
    for entry in EVIDENCE:
        about = "; ".join(part for part in (entry.ran or "never", entry.basis) if part)
        out.item("  ", f"{entry.engine}: {about}")
