"""``speedbench …``: compare, list and report saved runs and plan sample sizes, outside pytest.

One module a command. What is heavy (numpy, pydantic, engines) is imported inside the commands.
"""

from __future__ import annotations

import codecs
import gc
import io
import sys
from typing import Annotated

import typer

from pytest_speedbench.cli import (
    analyze,
    baseline,
    compare,
    doctor,
    drafter,
    export,
    history,
    import_,
    init,
    log,
    plan,
    recover,
    report,
    splits,
    tune,
)
from pytest_speedbench.cli.errors import OneLineErrors
from pytest_speedbench.escapes import stand_in_for

_STAND_INS = "speedbench-stand-ins"
_NEW_OBJECTS = 100_000
"""Between two searches for garbage: what a command reads stays until it ends, millions of objects
of records, and searching it at the usual pace took a tenth of the time of a report."""

app = typer.Typer(
    name="speedbench",
    cls=OneLineErrors,
    help="Compare, list and report saved runs; plan sample sizes; inspect splits and engines.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        from pytest_speedbench._version import __version__
        from pytest_speedbench.cli.output import echo

        echo(f"speedbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show the traceback of an internal error.")
    ] = False,
) -> None:
    pass


app.command("compare")(compare.compare)
app.command("history")(history.history)
app.add_typer(baseline.app, name="baseline")
app.add_typer(analyze.app, name="analyze")
app.command("doctor")(doctor.doctor)
app.add_typer(drafter.app, name="drafter")
app.command("plan")(plan.plan)
app.add_typer(splits.app, name="splits")
app.command("report")(report.report)
app.command("show")(report.show)
app.command("export")(export.export)
app.command("import")(import_.import_)
app.add_typer(log.app, name="log")
app.command("tune")(tune.tune)
app.command("init")(init.init)
app.command("recover")(recover.recover)


def main() -> None:
    """The console command."""
    codecs.register_error(_STAND_INS, stand_in_for)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # typer and rich print by themselves, too
            stream.reconfigure(errors=_STAND_INS)
    gc.set_threshold(_NEW_OBJECTS)
    app(prog_name="speedbench")
