"""How alike the prompts of a category are: SPEED-Bench (arXiv 2604.09557), figures 2, 9 and 10."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_speedbench.analysis.table import Column, Table, Value
from pytest_speedbench.splits import Split
from pytest_speedbench.splits.check import partner_of
from pytest_speedbench.splits.embedding import Embedder
from pytest_speedbench.splits.heatmap import Panel, panels

NAME = "similarity"


@dataclass(frozen=True, slots=True)
class Similarity:
    """Panels of one split, or of two side by side, and their means."""

    split: Split
    other: Split | None
    embedder: Embedder
    table: Table


def similarity(
    split: Split, other: Split | None = None, embedder: Embedder | None = None
) -> Similarity:
    """Mean cosine similarity of first turns, category by category; lower is more diverse.

    Raises:
        SplitError: a split of token ids, or sentence-transformers is not installed.
    """
    chosen = embedder or Embedder()
    theirs = {panel.slice: panel for panel in panels(other, chosen)} if other else {}
    rows = [_row(panel, theirs) for panel in panels(split, chosen)]
    columns = [
        Column("slice", "category", "text"),
        Column("samples", "n"),
        Column("mean", split.name, digits=3),
    ]
    if other is not None:
        columns.append(Column("theirs", other.name, digits=3))
    title = "Mean cosine similarity of first turns"
    return Similarity(split, other, chosen, Table(NAME, title, tuple(columns), tuple(rows)))


def _row(panel: Panel, theirs: Mapping[str, Panel]) -> Mapping[str, Value]:
    partner = theirs.get(partner_of(panel.slice, theirs))
    return {
        "slice": panel.slice,
        "samples": panel.samples,
        "mean": panel.mean,
        "theirs": None if partner is None else partner.mean,
    }
