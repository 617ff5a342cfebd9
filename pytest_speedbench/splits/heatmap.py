"""Pairwise-similarity heatmaps per category, beside another split's: SPEED-Bench's figures."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pytest_speedbench.errors import SplitError

from .check import partner_of
from .curation import mean_similarity
from .embedding import Embedder
from .errors import optional_import
from .model import Split

if TYPE_CHECKING:
    from .curation import Floats

MOST_DRAWN: Final = 400
"""Most prompts of a slice that are drawn; the mean is always that of all."""
_COLUMNS: Final = 4
_PANEL: Final = 2.1
"""Width of a panel in inches."""


@dataclass(frozen=True, slots=True)
class Panel:
    """The matrix of one slice: at most the first 400 of its ``samples``, and the mean over all."""

    split: str
    slice: str
    matrix: Floats
    samples: int
    mean: float

    @property
    def title(self) -> str:
        """Split, slice, number of prompts and mean similarity, in two lines."""
        drawn = len(self.matrix)
        count = f"n = {self.samples}" if drawn == self.samples else f"{drawn} of {self.samples}"
        return f"{self.split}: {self.slice}\n{count}, mean {self.mean:.3f}"


def heatmap_png(
    split: Split, other: Split | None = None, *, embedder: Embedder | None = None, dpi: int = 130
) -> bytes:
    """Return a PNG: one cosine-similarity matrix per slice, the other split's beside it.

    All panels share one colour scale, 0 to 1. Raises SplitError without matplotlib or
    sentence-transformers, and for a split of token ids.
    """
    agg: Any = optional_import("matplotlib.backends.backend_agg", "curation", "drawing the heatmap")
    figures: Any = optional_import("matplotlib.figure", "curation", "drawing the heatmap")
    chosen = embedder or Embedder()
    groups = list(_grouped(split, other, chosen))
    across = _COLUMNS // 2 if other is not None else _COLUMNS
    across = min(across, len(groups))
    width = len(groups[0]) * across
    lines = math.ceil(len(groups) / across)
    figure = figures.Figure(
        figsize=(_PANEL * width + 0.9, (_PANEL + 0.55) * lines + 0.4), layout="constrained"
    )
    agg.FigureCanvasAgg(figure)
    axes = figure.subplots(lines, width, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for place, group in enumerate(groups):
        line, column = divmod(place, across)
        for offset, panel in enumerate(group):
            if panel is not None:
                image = _draw(axes[line][column * len(group) + offset], panel)
    figure.suptitle("Cosine similarity of first turns, prompt by prompt", fontsize=10)
    figure.colorbar(image, ax=axes, label="0: unrelated, 1: the same", shrink=0.5, aspect=30)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    return out.getvalue()


def _grouped(
    split: Split, other: Split | None, embedder: Embedder
) -> Iterator[tuple[Panel | None, ...]]:
    """Our panel of each slice and, where there is another split, its nearest one or None."""
    theirs = {panel.slice: panel for panel in panels(other, embedder)} if other else {}
    for panel in panels(split, embedder):
        if other is None:
            yield (panel,)
        else:
            yield panel, theirs.get(partner_of(panel.slice, theirs))


def panels(split: Split, embedder: Embedder) -> list[Panel]:
    """Return the panel of each slice; SplitError for a split of token ids."""
    if any(not sample.turns for sample in split.samples):
        raise SplitError(f"split {split.name!r} holds token ids, not text; nothing to draw")
    rows = embedder.rows(split)
    found = []
    for name in split.slices:
        own = rows[[i for i, s in enumerate(split.samples) if s.category == name]]
        drawn = own[:MOST_DRAWN]
        found.append(Panel(split.name, name, drawn @ drawn.T, len(own), mean_similarity(own)))
    return found


def _draw(axis: Any, panel: Panel) -> Any:
    axis.set_axis_on()
    axis.set_title(panel.title, fontsize=8)
    last = len(panel.matrix) - 1
    ticks = [0, last] if last else [0]
    for set_ticks in (axis.set_xticks, axis.set_yticks):
        set_ticks(ticks, [str(tick + 1) for tick in ticks], fontsize=7)
    return axis.imshow(panel.matrix, vmin=0.0, vmax=1.0, cmap="magma", interpolation="nearest")
