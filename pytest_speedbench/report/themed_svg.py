"""Matplotlib's drawings as SVG that takes its colours and its type from the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any, Final

from pytest_speedbench.escapes import printable

SIZE: Final = 11
"""Of all text, in units of the drawing."""
# Colours that stand for the page's own, by the name of its CSS variable. The variables are put in
# afterwards, so that one drawing suits the light and the dark page.
_OF_SERIES = tuple(f"s{n}" for n in range(6))
_NAMES = ("mark", "ink", "soft", "line", "good", "bad", "open", "card", *_OF_SERIES)
COLOURS: Final = {name: f"#{n:02x}{n:02x}{n:02x}" for n, name in enumerate(_NAMES, 1)}
SERIES: Final = tuple(COLOURS[name] for name in _OF_SERIES)
_SETTINGS: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "speedbench",
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "font.size": SIZE,
    "legend.fontsize": SIZE,
    "legend.frameon": False,
    "text.color": COLOURS["ink"],
    "axes.labelcolor": COLOURS["soft"],
    "axes.edgecolor": COLOURS["line"],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": COLOURS["line"],
    "xtick.color": COLOURS["line"],
    "ytick.color": COLOURS["line"],
    "xtick.labelcolor": COLOURS["soft"],
    "ytick.labelcolor": COLOURS["soft"],
}


def themed_svg(
    paint: Callable[[Any], None], label: str, id_prefix: str, width: float, height: float
) -> str:
    """The drawing that ``paint`` makes on axes, as an element of a page.

    Args:
        paint: draws on a ``matplotlib.axes.Axes``, with :data:`COLOURS` alone.
        label: what a screen reader says of it.
        id_prefix: keeps its ids apart from those of others on the page.
        width: in inches of 72 units; about 4.9 is a phone's width.
        height: as ``width``.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(width, height))
        paint(figure.subplots())
        lay_out(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    return _of_the_page(out.getvalue(), label, id_prefix)


def lay_out(figure: Any) -> None:
    """Places axes, labels and legends; ``paint`` may do so to measure what it has drawn.

    A layout of the figure's own would make ``savefig`` draw everything twice.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    ConstrainedLayoutEngine().execute(figure)


def _of_the_page(svg: str, label: str, id_prefix: str) -> str:
    """The element alone, with the page's colours and font, and ids of its own."""
    svg = svg[svg.index("<svg") :]
    for variable, colour in COLOURS.items():
        svg = svg.replace(colour, f"var(--{variable})")
    svg = re.sub(r"<(metadata|style).*?</\1>", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->\n?", "", svg, flags=re.S)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{id_prefix}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{id_prefix}-\1)", svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{id_prefix}-\1"', svg)
    svg = re.sub(r"(font: [^;\"]*?\d+px) [^;\"]*", r"\1 system-ui, sans-serif", svg)
    spoken = escape(printable(label))
    return re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>',
        lambda found: (
            f'<svg class="chart" role="img" aria-label="{spoken}" viewBox="{found[1]}" '
            'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        ),
        svg,
        count=1,
    )
