"""The table of options in the form that every pytest run reads: ``options.json``.

pytest rewrites the asserts of plugins, and loads each object of such a module by itself: to import
the table and its readers takes longer than all that a run which measures nothing needs of them. So
that is kept in one file, which ``python -m pytest_speedbench.plan.page docs/options.md`` writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_speedbench.plan.options import command_line_options, marker_arguments
from pytest_speedbench.plan.settings import GROUPS
from pytest_speedbench.plan.table import LATEST, Option

COMPILED = Path(__file__).with_name("options.json")


def compiled() -> dict[str, Any]:
    """What the plugin declares: the marker, and by group the keywords of each flag for argparse."""
    options = command_line_options()
    return {
        "marker": _marker_signature(),
        "groups": {
            f"speculative decoding (pytest-speedbench): {group[0].lower()}{group[1:]}": {
                option.flag: _keywords(option) for option in options if option.group == group
            }
            for group in GROUPS
        },
    }


def compiled_text() -> str:
    """:func:`compiled` as the text of the file."""
    return json.dumps(compiled(), indent=1, ensure_ascii=False) + "\n"


def _marker_signature() -> str:
    """The marker's line in ``pytest --markers``."""
    return (
        f"speed({', '.join(marker_arguments())}): measure speculative decoding over a grid; each "
        "value is one or a list"
    )


def _keywords(option: Option) -> dict[str, Any]:
    keywords: dict[str, Any] = {"dest": option.ini, "help": option.help.replace("%", "%%")}
    if option.form == "switch":
        return keywords | {"action": "store_true", "default": None}
    keywords["metavar"] = option.metavar
    if option.form == "optional":
        keywords |= {"nargs": "?", "const": LATEST}
    elif option.repeated:
        keywords["action"] = "append"
    return keywords
