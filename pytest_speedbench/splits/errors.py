"""Error messages that several modules of the splits need."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType

from pytest_speedbench.errors import SplitError, did_you_mean


def unknown(
    what: str, got: str, allowed: Iterable[str], *, where: str = "", also: str = ""
) -> SplitError:
    """Return the error for an unknown name (in ``where``), with the closest and all allowed.

    ``also`` is what is allowed beside the names.
    """
    values = list(allowed)
    hint = did_you_mean(got, values) or "."
    place = f"{where}: " if where else ""
    names = ", ".join([*values, *filter(None, [also])]) or "(none)"
    return SplitError(f"{place}unknown {what} {got!r}{hint} Allowed: {names}.")


def optional_import(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional package, or raise SplitError naming the pip command that brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise SplitError(
            f"{purpose} needs the package {package!r}, which cannot be imported here ({error}). "
            f"Install it: pip install 'pytest-speedbench[{extra}]'"
        ) from error
