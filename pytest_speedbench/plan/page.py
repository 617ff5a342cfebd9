"""The tables of ``docs/options.md``, made from the table of options.

``python -m pytest_speedbench.plan.page docs/options.md`` writes them into the page.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pytest_speedbench.plan.settings import GROUPS, Settings
from pytest_speedbench.plan.table import Option

_HEAD = "| option | ini | marker | default | meaning |\n| --- | --- | --- | --- | --- |\n"


def with_tables(page: str) -> str:
    """``page`` with the table below the heading of each group as the code has it."""
    for group in GROUPS:
        found = re.search(rf"^## {re.escape(group)}\n\n((?:\|.*\n)+)", page, re.M)
        if found is None:
            raise ValueError(f"the page has no table below the heading {group!r}")
        page = page[: found.start(1)] + _table(group) + page[found.end(1) :]
    return page


def _table(group: str) -> str:
    options = [option for option in Settings.options.values() if option.group == group]
    return _HEAD + "".join(map(_row, options))


def _row(option: Option) -> str:
    shown = option.shown or _code(_text(option.default))
    flag = _code(_written(option)) if option.on_command_line else ""
    ini = _code(option.ini) if option.on_command_line else ""
    cells = [flag, ini, _code(option.name) if option.marker else "", shown, option.text]
    return f"| {' | '.join(cells)} |\n".replace("|  |", "| |").replace("|  |", "| |")


def _written(option: Option) -> str:
    """The flag and its value, as on the command line."""
    if option.form == "optional":
        return f"{option.flag}[={option.metavar}]"
    return f"{option.flag} {option.metavar}".strip()


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _text(value: object) -> str:
    """A default as it is given on the command line; empty where there is none."""
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(with_tables(path.read_text(encoding="utf-8")), encoding="utf-8")
