"""The table of options meets pytest: flags, ini keys, and the values that a session is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pytest_speedbench.errors import closest
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.plan.table import Option


def suggest_options(parser: pytest.Parser, args: Sequence[str]) -> None:
    """Has pytest name an option of ours beside its error about one that no plugin has."""
    start = "--speed"
    given = [arg.partition("=")[0].removeprefix(start) for arg in args if arg.startswith(start)]
    known = {option.flag.removeprefix(start): option.flag for option in command_line_options()}
    if unknown := [name for name in given if name not in known]:
        meant = [known[name] for one in unknown if (name := closest(one, known))]
        if meant:
            parser.extra_info["did you mean"] = ", ".join(meant)


def command_line_options() -> list[Option]:
    """The options that have a flag and an ini key."""
    return [option for option in Settings.options.values() if option.on_command_line]


def marker_arguments() -> tuple[str, ...]:
    """The arguments of the speed marker."""
    return tuple(name for name, option in Settings.options.items() if option.marker)


def is_given(config: pytest.Config, option: Option) -> bool:
    """Whether the command line or the ini file holds ``option``."""
    return from_command_line(config, option) is not None or from_ini(config, option) is not None


def from_command_line(config: pytest.Config, option: Option) -> object:
    """The unread value on the command line; None where it is not given."""
    return config.getoption(option.ini, None)


def from_ini(config: pytest.Config, option: Option) -> object:
    """The unread value in the ini file: a list, or a TOML value; None where it is not given."""
    try:
        return config.getini(option.ini)
    except (TypeError, ValueError, pytest.UsageError):
        # In TOML tables with native types, pytest 9 takes lists of strings alone for our type.
        return _native(config).get(option.ini)


def _native(config: pytest.Config) -> Mapping[str, object]:
    """The table of pytest's TOML file, types as they are written."""
    import tomllib  # pytest has read such a file, and has it imported

    path = config.inipath or Path()
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    inner = path.name == "pyproject.toml" or "pytest" not in document
    table: Mapping[str, object] = (document["tool"] if inner else document)["pytest"]
    return table
