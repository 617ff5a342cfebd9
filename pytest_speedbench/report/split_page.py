"""``speedbench splits check --html``: one page on a split that needs no network and no script."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from pytest_speedbench._version import __version__
from pytest_speedbench.report.html.templates import template
from pytest_speedbench.report.view import NOTHING

if TYPE_CHECKING:
    from pytest_speedbench.splits.check import CheckReport


def render_split_page(report: CheckReport, against: str = "", heatmap: bytes = b"") -> str:
    """The whole page; ``against`` names the other split, ``heatmap`` is a PNG or empty.

    Raises:
        ReportError: jinja2 is not installed.
    """
    return template("split.html").render(
        report=report,
        similar={entry.slice: entry for entry in report.similarity or ()},
        against=against,
        heatmap=base64.b64encode(heatmap).decode("ascii"),
        version=__version__,
        nothing=NOTHING,
    )
