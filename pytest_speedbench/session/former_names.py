"""Former names of what users name on the command line."""

from __future__ import annotations

import re

_CONFORMANCE = re.compile(r"pytest_speedbench\.engines\.conformance(?![\w-])")


def rename_conformance(named: list[str], args: list[str]) -> None:
    """``--pyargs`` with the former name of the conformance suite runs the suite."""
    renamed = {
        name: _CONFORMANCE.sub("pytest_speedbench.conformance", name)
        for name in named
        if _CONFORMANCE.match(name)
    }
    for names in (named, args):
        names[:] = [renamed.get(name, name) for name in names]
