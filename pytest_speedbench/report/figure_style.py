"""What the figures of the analyses share: colours, labels and legends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_speedbench.escapes import printable

if TYPE_CHECKING:
    from pytest_speedbench.analysis.length import LengthCurve

# Distinguishable with any colour vision (Okabe & Ito 2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
STYLES = ("-", "--", ":")

AL = "acceptance length (tokens/step)"


def plain(label: str) -> str:
    """A label without control characters, and with dollar signs that start no formula."""
    return printable(label).replace("$", r"\$")


def legend(axes: Any) -> None:
    """Within the plot, where matplotlib finds room."""
    axes.legend(fontsize=7, frameon=False, ncols=2)


def legend_beside(axes: Any, title: str) -> None:
    """To the right of the plot, where it covers no point."""
    axes.legend(
        title=title,
        title_fontsize=8,
        fontsize=7,
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1, 0.5),
    )


def fitted(curve: LengthCurve, input_tokens: Sequence[int]) -> Any:
    """AL on the regression line through the weighted mean of the samples, shape (inputs,)."""
    steps = np.array([s.steps for s in curve.samples], dtype=float)
    doublings = np.log2([s.input_tokens / curve.slope.shortest for s in curve.samples])
    mean = sum(s.decode_tokens for s in curve.samples) / steps.sum()
    slope = curve.slope.per_doubling.value
    base = mean / (1 + slope * float((steps * doublings).sum() / steps.sum()))
    at = np.log2(np.array(input_tokens, dtype=float) / curve.slope.shortest)
    return base * (1 + slope * at)
