"""The templates of all pages: everything put into one is escaped."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pytest_speedbench.errors import ReportError
from pytest_speedbench.escapes import printable

if TYPE_CHECKING:
    import jinja2


def check_installed() -> None:
    """Whether an HTML report can be written, asked before anything is measured for it.

    Raises:
        ReportError: the message names what is missing.
    """
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise ReportError(
            f"no HTML report without {' and '.join(missing)}: pip install "
            "'pytest-speedbench[report]' (--speed-summary=PATH.md needs nothing)"
        )


def template(name: str) -> jinja2.Template:
    """A page's template, everything put into it escaped.

    Raises:
        ReportError: what pages are made with is not installed.
    """
    check_installed()
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_speedbench.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _plain(value: Any) -> Any:
    """Text without control characters; what the template itself has made stays as it is."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return printable(value)
    return value
