"""The figure of candidate draft vocabularies: AL by category, and the tokens they lack."""

from __future__ import annotations

from typing import Any

import numpy as np

from pytest_speedbench.analysis.coverage import SliceCoverage
from pytest_speedbench.analysis.vocabulary_cost import VocabularyCosts
from pytest_speedbench.report.figure_style import AL, COLOURS, legend, plain


def draw_vocabularies(analysis: VocabularyCosts, figure: Any) -> None:
    """Above, AL with each vocabulary: expected, or its ceiling. Below, the tokens outside."""
    above, below = figure.subplots(2, 1, sharex=True)
    first = analysis.costs[0]
    # Languages are too many for a figure; the table and the JSON have them.
    shown = [i for i, own in enumerate(first.slices) if own.axis != "language"]
    width = 0.8 / len(analysis.costs)
    for number, cost in enumerate(analysis.costs):
        at = np.arange(len(shown)) + (number - (len(analysis.costs) - 1) / 2) * width
        colour = COLOURS[number % len(COLOURS)]
        slices = [cost.slices[i] for i in shown]
        lengths = [cost.expected[i].expected for i in shown] if cost.expected else None
        lengths = lengths or [_ceiling(own, analysis.draft_length) for own in slices]
        label = plain(f"{cost.name} ({cost.size:,} tokens)")
        above.bar(at, lengths, width, color=colour, label=label)
        below.bar(at, [100 * own.share_outside for own in slices], width, color=colour)
    if first.expected:
        measured = [first.expected[i].measured for i in shown]
        above.plot(range(len(shown)), measured, "_", ms=18, color="black", label="measured")
    above.set_ylabel(f"{'expected' if first.expected else 'largest possible'} {AL}")
    above.set_ylim(bottom=1)
    above.set_title(f"DL {analysis.draft_length}", fontsize=10)
    names = [plain(first.slices[i].name) for i in shown]
    below.set_ylabel("tokens outside (%)")
    below.set_xticks(range(len(names)), names, rotation=40, ha="right")
    legend(above)


def _ceiling(own: SliceCoverage, draft_length: int) -> float:
    return next(c.acceptance_length for c in own.ceilings if c.draft_length == draft_length)
