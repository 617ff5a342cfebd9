"""The figures of the analyses, drawn by matplotlib without a display."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_speedbench.analysis.bias import Bias
from pytest_speedbench.analysis.categories import Categories
from pytest_speedbench.analysis.checkpoints import Checkpoints
from pytest_speedbench.analysis.engines import Engines
from pytest_speedbench.analysis.length import Length, LengthCurve
from pytest_speedbench.analysis.pareto import OperatingPoint, Pareto
from pytest_speedbench.analysis.routing import Routing
from pytest_speedbench.analysis.similarity import Similarity
from pytest_speedbench.analysis.synthetic import Synthetic
from pytest_speedbench.analysis.table import Value
from pytest_speedbench.analysis.tuning import Tuning
from pytest_speedbench.analysis.vocabulary_cost import VocabularyCosts
from pytest_speedbench.errors import ReportError
from pytest_speedbench.quantities import change_of
from pytest_speedbench.report.figure_style import (
    AL,
    COLOURS,
    MARKERS,
    STYLES,
    fitted,
    legend,
    legend_beside,
    plain,
)
from pytest_speedbench.report.vocabulary_figure import draw_vocabularies
from pytest_speedbench.stats import Estimate

FORMATS = (".png", ".svg", ".pdf")
_WIDTH, _HEIGHT = 7.5, 4.2
_DPI = 150

Row = Mapping[str, Value]


def check_format(suffix: str) -> None:
    """Refuses what no figure can be written as, before anything is measured for it.

    Raises:
        ReportError: the message lists the formats.
    """
    if suffix.lower() not in FORMATS:
        raise ReportError(
            f"--plot: expected a path that ends in {', '.join(FORMATS)}, got {suffix or 'none'!r}"
        )


def draw(analysis: object, suffix: str) -> bytes:
    """The figure of an analysis as a file of the format that ``suffix`` names.

    Raises:
        ReportError: another format, or matplotlib is not installed.
    """
    check_format(suffix)
    if isinstance(analysis, Similarity):
        return _heatmap(analysis, suffix)
    figure = _figure(_panels(analysis))
    _PAINTERS[type(analysis)](analysis, figure)
    out = io.BytesIO()
    _save(figure, out, suffix[1:].lower())
    return out.getvalue()


def _save(figure: Any, out: io.BytesIO, form: str) -> None:
    """Equal figures make equal files: no date, and no random ids."""
    import matplotlib as mpl

    undated = {"Date": None} if form == "svg" else None
    with mpl.rc_context({"svg.hashsalt": "speedbench", "axes.unicode_minus": False}):
        figure.savefig(out, format=form, dpi=_DPI, metadata=undated)


def _panels(analysis: object) -> int:
    """How many panels stand one above the other."""
    if isinstance(analysis, Routing):
        return len(analysis.activations)
    if isinstance(analysis, Categories) and analysis.lengths[1:]:
        return len(_grouped(analysis.table.rows, "run", "bs"))
    if isinstance(analysis, Engines):
        return len(_grouped(analysis.table.rows, "method", "dl", "bs"))
    if isinstance(analysis, Length):
        return len(_runs_of(analysis))
    return 2 if isinstance(analysis, VocabularyCosts) else 1


def _figure(panels: int) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ReportError(
            "--plot needs matplotlib: pip install 'pytest-speedbench[plots]'"
        ) from error
    return Figure(figsize=(_WIDTH, _HEIGHT * panels), layout="constrained")


def _heatmap(analysis: Similarity, suffix: str) -> bytes:
    from pytest_speedbench.splits.heatmap import heatmap_png

    if suffix.lower() != ".png":
        raise ReportError("--plot: heatmaps are written as .png")
    return heatmap_png(analysis.split, analysis.other, embedder=analysis.embedder)


def _draw_categories(analysis: Categories, figure: Any) -> None:
    """AL over DL, a line per category; a bar per category where there is one DL."""
    rows = analysis.table.rows
    if not analysis.lengths[1:]:
        axes = figure.subplots()
        _bars(axes, _grouped(rows, "run", "dl", "bs"), "acceptance_length")
        axes.set_ylabel(AL)
        axes.set_ylim(bottom=1)
        return
    runs = _grouped(rows, "run", "bs")
    panels = figure.subplots(len(runs), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, ((run, bs), own) in zip(panels, runs.items(), strict=True):
        for number, ((name,), points) in enumerate(_grouped(own, "slice").items()):
            ordered = sorted(points, key=lambda row: _order(row["dl"]))
            _line(axes, number, str(name), ordered, "dl", "acceptance_length")
        axes.set_title(plain(f"{run} BS {bs}"), fontsize=10)
        axes.set_xticks(analysis.lengths)
        axes.set_ylabel(AL)
    axes.set_xlabel("draft length (tokens)")
    legend_beside(panels[0], "category")


def _draw_checkpoints(analysis: Checkpoints, figure: Any) -> None:
    """AL over training steps, a line per category."""
    axes = figure.subplots()
    for number, ((name,), rows) in enumerate(_grouped(analysis.table.rows, "slice").items()):
        _line(axes, number, str(name), rows, "step", "acceptance_length")
    axes.set_xlabel("training step")
    axes.set_ylabel(AL)
    legend_beside(axes, "category")


def _draw_bias(analysis: Bias, figure: Any) -> None:
    axes = figure.subplots()
    _bars(axes, _grouped(analysis.table.rows, "run", "dl", "bs"), "ratio", change=True)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_ylabel("AL there relative to here (%)")
    axes.set_title(plain(analysis.table.title), fontsize=10)


def _draw_synthetic(analysis: Synthetic, figure: Any) -> None:
    axes = figure.subplots()
    groups = _grouped(analysis.table.rows, "run", "isl", "dl")
    for number, ((run, isl, dl), own) in enumerate(groups.items()):
        points = sorted(own, key=lambda row: _order(row["bs"]))
        label = f"{run} ISL {isl}" + (f" DL {dl}" if dl else "")
        _line(axes, number, label, points, "bs", "output_tps", change=True)
    axes.axhline(0, color="black", linewidth=0.8)
    _log_batches(axes, analysis.table.rows)
    axes.set_ylabel("tokens/s of random input\nrelative to real text (%)")
    legend(axes)


def _draw_tuning(analysis: Tuning, figure: Any) -> None:
    """Speedup over DL, a line per batch size; dashed what the longest DL predicts."""
    axes = figure.subplots()
    for number, ((bs,), rows) in enumerate(_grouped(analysis.table.rows, "bs").items()):
        _line(axes, number, f"BS {bs}", rows, "dl", "speedup")
        shown = [(row["dl"], row["predicted"]) for row in rows if row["predicted"] is not None]
        colour = COLOURS[number % len(COLOURS)]
        axes.plot([dl for dl, _ in shown], [value for _, value in shown], "--", color=colour)
    axes.plot([], [], "--", color="#555555", label="predicted from the longest DL")
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(sorted({_order(row["dl"]) for row in analysis.table.rows}))
    axes.set_xlabel("draft length (tokens)")
    axes.set_ylabel("speedup")
    legend(axes)


def _draw_pareto(analysis: Pareto, figure: Any) -> None:
    axes = figure.subplots()
    groups: dict[tuple[str, int], list[OperatingPoint]] = {}
    for point in analysis.points:
        groups.setdefault((point.run, point.dl), []).append(point)
    for number, ((run, dl), points) in enumerate(groups.items()):
        style = "-" if dl else "--"
        colour = COLOURS[number % len(COLOURS)]
        label = f"{run} DL {dl}" if dl else run
        x, y = [p.user_tps for p in points], [p.output_tps for p in points]
        marker = MARKERS[number % len(MARKERS)]
        axes.plot(x, y, style, color=colour, marker=marker, ms=4, label=plain(label))
    # One label a batch size, at its highest point: those of other arms lie close by.
    for bs in dict.fromkeys(p.bs for p in analysis.points):
        top = max((p for p in analysis.points if p.bs == bs), key=lambda p: p.output_tps)
        axes.annotate(
            f"BS {bs}",
            (top.user_tps, top.output_tps),
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    frontier = [p for p in analysis.points if p.on_frontier]
    axes.scatter(
        [p.user_tps for p in frontier],
        [p.output_tps for p in frontier],
        s=90,
        facecolors="none",
        edgecolors="black",
        linewidths=0.8,
        label="frontier",
    )
    axes.margins(0.08, 0.12)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.set_xlabel("tokens/s of one user")
    axes.set_ylabel("output tokens/s per GPU")
    legend(axes)


def _draw_length(analysis: Length, figure: Any) -> None:
    runs = _runs_of(analysis)
    panels = figure.subplots(len(runs), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    for axes, ((run, dl, bs), curves) in zip(panels, runs.items(), strict=True):
        for number, curve in enumerate(curves):
            colour = COLOURS[number % len(COLOURS)]
            lengths = [s.input_tokens for s in curve.samples]
            values = [s.decode_tokens / s.steps for s in curve.samples]
            axes.scatter(lengths, values, s=6, color=colour, alpha=0.3, linewidths=0)
            ends = [curve.slope.shortest, curve.slope.longest]
            label = plain(f"{curve.tier} {change_of(1 + curve.slope.per_doubling.value, 1)}")
            style = STYLES[number // len(COLOURS) % len(STYLES)]
            axes.plot(ends, fitted(curve, ends), style, color=colour, label=label)
        axes.set_title(plain(f"{run} DL {dl} BS {bs}"), fontsize=10)
        axes.set_ylabel(AL)
        axes.set_xscale("log", base=2)
        legend_beside(axes, "change a doubling")
    panels[0].set_ylim(bottom=1)
    panels[-1].xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    panels[-1].set_xlabel("input (tokens)")


def _runs_of(analysis: Length) -> dict[tuple[str, int, int], list[LengthCurve]]:
    runs: dict[tuple[str, int, int], list[LengthCurve]] = {}
    for curve in analysis.curves:
        runs.setdefault((curve.run, curve.dl, curve.bs), []).append(curve)
    return runs


def _draw_engines(analysis: Engines, figure: Any) -> None:
    settings = _grouped(analysis.table.rows, "method", "dl", "bs")
    panels = figure.subplots(len(settings), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
    sides = list(zip(analysis.names, ("al_first", "al_second"), strict=True))
    for axes, ((method, dl, bs), rows) in zip(panels, settings.items(), strict=True):
        groups: dict[tuple[Value, ...], list[dict[str, Value]]] = {
            (engine, "", ""): [{**row, "al": row[key]} for row in rows] for engine, key in sides
        }
        _bars(axes, groups, "al")
        axes.set_title(plain(_group_label((method, dl, bs))), fontsize=10)
        axes.set_ylabel(AL)
    panels[0].set_ylim(bottom=1)


def _draw_routing(analysis: Routing, figure: Any) -> None:
    panels = figure.subplots(len(analysis.activations), 1, squeeze=False)[:, 0]
    highest = max(float(a.frequency.max()) for a in analysis.activations)
    for axes, activation in zip(panels, analysis.activations, strict=True):
        image = axes.imshow(activation.frequency, aspect="auto", cmap="magma", vmin=0, vmax=highest)
        axes.set_title(plain(activation.name), fontsize=10)
        axes.set_ylabel("layer")
        axes.set_xlabel("expert")
    figure.colorbar(image, ax=list(panels), label="share of the layer's choices")


_PAINTERS: Mapping[type, Callable[[Any, Any], None]] = {
    Categories: _draw_categories,
    Checkpoints: _draw_checkpoints,
    Bias: _draw_bias,
    Synthetic: _draw_synthetic,
    Pareto: _draw_pareto,
    Length: _draw_length,
    Engines: _draw_engines,
    Routing: _draw_routing,
    Tuning: _draw_tuning,
    VocabularyCosts: draw_vocabularies,
}


def _grouped(rows: Iterable[Row], *keys: str) -> dict[tuple[Value, ...], list[Row]]:
    groups: dict[tuple[Value, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def _bars(
    axes: Any,
    groups: Mapping[tuple[Value, ...], Sequence[Mapping[str, Value]]],
    key: str,
    *,
    change: bool = False,
) -> None:
    """Bars of ``key`` for each slice with their intervals, one colour a group."""
    names = list(dict.fromkeys(str(row["slice"]) for rows in groups.values() for row in rows))
    width = 0.8 / len(groups)
    for number, (group, rows) in enumerate(groups.items()):
        found = {str(row["slice"]): row[key] for row in rows}
        shown = [(i, e) for i, n in enumerate(names) if isinstance(e := found.get(n), Estimate)]
        centre = (number - (len(groups) - 1) / 2) * width
        at = [i + centre for i, _ in shown]
        heights = [_shown(e.value, change) for _, e in shown]
        axes.bar(
            at,
            heights,
            width,
            color=COLOURS[number % len(COLOURS)],
            label=plain(_group_label(group)),
        )
        errors = _errors([e for _, e in shown], change)
        axes.errorbar(at, heights, errors, fmt="none", ecolor="black", elinewidth=1, capsize=2)
    axes.set_xticks(range(len(names)), [plain(n) for n in names], rotation=40)
    for text in axes.get_xticklabels():
        text.set_horizontalalignment("right")
    if len(groups) > 1:
        legend(axes)


def _group_label(group: tuple[Value, ...]) -> str:
    run, dl, bs = group
    return " ".join(filter(None, (str(run), f"DL {dl}" if dl else "", f"BS {bs}" if bs else "")))


def _line(
    axes: Any,
    number: int,
    label: str,
    rows: Sequence[Row],
    x: str,
    y: str,
    *,
    change: bool = False,
) -> None:
    """The estimates ``y`` of ``rows`` over ``x`` with their intervals, joined by a line."""
    pairs = [(row[x], row[y]) for row in rows]
    shown = [(at, estimate) for at, estimate in pairs if isinstance(estimate, Estimate)]
    estimates = [estimate for _, estimate in shown]
    axes.errorbar(
        [at for at, _ in shown],
        [_shown(e.value, change) for e in estimates],
        yerr=_errors(estimates, change),
        color=COLOURS[number % len(COLOURS)],
        marker=MARKERS[number // len(COLOURS) % len(MARKERS)],
        ms=4,
        capsize=2,
        elinewidth=0.8,
        label=plain(label),
    )


def _shown(value: float, change: bool) -> float:
    return 100 * (value - 1) if change else value


def _errors(estimates: Sequence[Estimate], change: bool) -> Any:
    """Distances to the limits, shape (2, estimates); NaN, which is not drawn, where unknown: a
    distance of 0 would show as an interval without width."""
    scale = 100.0 if change else 1.0
    down = [scale * (e.value - e.low) if e.low is not None else math.nan for e in estimates]
    up = [scale * (e.high - e.value) if e.high is not None else math.nan for e in estimates]
    return np.array([down, up])


def _order(value: Value) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _log_batches(axes: Any, rows: Iterable[Row]) -> None:
    batches = sorted({row["bs"] for row in rows if isinstance(row["bs"], int)})
    axes.set_xscale("log", base=2)
    axes.set_xticks(batches, [str(bs) for bs in batches])
    axes.set_xlabel("batch size")
