"""What is made from the table of options: entries of ``docs/options.md``, and ``options.json``.

``python -m pytest_speedbench.plan.page docs/options.md`` writes both. In the page an option has a
heading of its own, so that it has an address and the search finds it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pytest_speedbench.plan.compiled import COMPILED, compiled_text
from pytest_speedbench.plan.settings import GROUPS, Settings
from pytest_speedbench.plan.table import Option


def with_options(page: str) -> str:
    """``page`` with the options of each group, as the code has them, below its heading.

    Raises:
        ValueError: a group has no heading, or none behind it.
    """
    for group in GROUPS:
        found = re.search(rf"^## {re.escape(group)}\n\n(.*?)(?=^## )", page, re.M | re.S)
        if found is None:
            raise ValueError(f"the page has no heading {group!r} with another one behind it")
        page = page[: found.start(1)] + _entries(group) + page[found.end(1) :]
    return page


def _entries(group: str) -> str:
    options = [option for option in Settings.options.values() if option.group == group]
    return "".join(map(_entry, options))


def _entry(option: Option) -> str:
    name = _written(option) if option.on_command_line else option.name
    ini = f"ini {_code(option.ini)}" if option.on_command_line else ""
    marker = f"marker {_code(option.name)}" if option.marker else ""
    default = option.shown or _code(_text(option.default))
    places = " · ".join(filter(None, (ini, marker, default and f"default {default}")))
    text = re.sub(r"^\[?[a-z]", lambda first: first[0].upper(), option.text)
    return f"### {_code(name)} {{ #{_anchor(option)} }}\n\n{text}.\n\n{places}\n\n"


def _anchor(option: Option) -> str:
    return option.flag.strip("-") if option.on_command_line else option.name


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
    COMPILED.write_text(compiled_text(), encoding="utf-8")
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(with_options(path.read_text(encoding="utf-8")), encoding="utf-8")
