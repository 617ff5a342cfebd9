"""Pairwise-similarity heatmaps per category, beside another split's: SPEED-Bench's figures."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ._errors import SplitError, optional_import
from .embedding import DEFAULT_MODEL, embed_samples
from .model import Split

if TYPE_CHECKING:
    from .curation import Floats

NEAREST_IN_SPEC_BENCH: Final[Mapping[str, str]] = {"multilingual": "translation"}
"""Our categories whose counterpart in Spec-Bench has another name."""
_COLUMNS: Final = 6


def heatmap_png(
    split: Split, other: Split | None = None, *, model: str = DEFAULT_MODEL, dpi: int = 110
) -> bytes:
    """Return a PNG: one cosine-similarity matrix per slice, the other split's below it.

    All panels share one colour scale, 0 to 1. Raises SplitError without matplotlib or
    sentence-transformers, and for a split of token ids.
    """
    agg: Any = optional_import("matplotlib.backends.backend_agg", "report", "drawing the heatmap")
    figures: Any = optional_import("matplotlib.figure", "report", "drawing the heatmap")
    ours = similarity_matrices(split, model)
    theirs = similarity_matrices(other, model) if other is not None else {}
    bands = 2 if theirs else 1
    lines = math.ceil(len(ours) / _COLUMNS)
    figure = figures.Figure(figsize=(2.3 * _COLUMNS, 2.5 * lines * bands), layout="constrained")
    agg.FigureCanvasAgg(figure)
    axes = figure.subplots(lines * bands, _COLUMNS, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for place, (name, matrix) in enumerate(ours.items()):
        line, column = divmod(place, _COLUMNS)
        image = _panel(axes[line * bands][column], f"{split.name}: {name}", matrix)
        partner = name if name in theirs else NEAREST_IN_SPEC_BENCH.get(name, "")
        if other is not None and partner in theirs:
            title = f"{other.name}: {partner}"
            _panel(axes[line * bands + 1][column], title, theirs[partner])
    figure.colorbar(image, ax=axes, label="cosine similarity", shrink=0.6)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    return out.getvalue()


def similarity_matrices(split: Split, model: str = DEFAULT_MODEL) -> dict[str, Floats]:
    """Return each slice's n by n matrix of cosine similarities of first turns."""
    if any(not sample.turns for sample in split.samples):
        raise SplitError(f"split {split.name!r} holds token ids, not text; nothing to draw")
    rows = embed_samples(split.samples, model=model)
    where = {
        name: [i for i, s in enumerate(split.samples) if s.category == name]
        for name in split.slices
    }
    return {name: rows[index] @ rows[index].T for name, index in where.items()}


def _panel(axis: Any, title: str, matrix: Floats) -> Any:
    n = len(matrix)
    mean = (float(matrix.sum()) - n) / (n * (n - 1)) if n > 1 else 0.0
    axis.set_title(f"{title}\nmean {mean:.3f}, n = {n}", fontsize=7)
    return axis.imshow(matrix, vmin=0.0, vmax=1.0, cmap="magma", interpolation="nearest")
