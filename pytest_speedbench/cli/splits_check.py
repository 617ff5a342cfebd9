"""``speedbench splits check``: lengths, duplicates, languages and diversity of a split."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.arguments import check_written, refuse_unused
from pytest_speedbench.cli.output import NOTHING, Lines, echo, write_file
from pytest_speedbench.cli.splits_load import Columns, KeepGood, Progress, check_options, load
from pytest_speedbench.escapes import label
from pytest_speedbench.report.tables import Column

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_speedbench.splits.check import CheckReport, NearPair

EmbeddingModel = Annotated[
    str, typer.Option("--embeddings", metavar="MODEL", help="sentence-transformers name or folder.")
]
EMBEDDINGS = "all-MiniLM-L6-v2"
_MOST_PAIRS = 10
FOUND = 1
"""Exit code of ``check`` for a split with duplicates."""


def check(
    context: typer.Context,
    split: Annotated[str, typer.Argument(metavar="SPLIT", help="Name or file, [:category].")],
    against: Annotated[
        str, typer.Option(metavar="SPLIT", help="Also look for prompts close to this split's.")
    ] = "",
    heatmap: Annotated[
        Path | None, typer.Option(metavar="PATH.png", help="Plot the similarities.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="PATH.html", help="Write the report as an HTML page.")
    ] = None,
    lengths_only: Annotated[
        bool, typer.Option("--no-embeddings", help="Skip the checks that need an embedding model.")
    ] = False,
    embeddings: EmbeddingModel = EMBEDDINGS,
    columns: Columns = "",
    keep_good: KeepGood = False,
) -> None:
    """Report lengths, duplicates, languages and diversity of a split.

    Exit code 0: no duplicates; 1: exact or near duplicates were found; 2: it cannot be checked.
    """
    from pytest_speedbench.splits.check import check_split
    from pytest_speedbench.splits.embedding import Embedder

    if lengths_only:
        refuse_unused(context, "with --no-embeddings", "heatmap", "against", "embeddings")
    check_options(context, split)
    check_written({"--heatmap": heatmap, "--html": html})
    found = load(split, columns=columns, keep_good=keep_good)
    other = load(against) if against else None
    embedder = None if lengths_only else Embedder(embeddings, Progress())
    report = check_split(found, other, embedder=embedder)
    _show_check(Lines(), report, against)
    picture = b""
    if embedder is not None and (heatmap or (html and _can_plot())):
        from pytest_speedbench.splits.heatmap import heatmap_png

        picture = heatmap_png(found, other, embedder=embedder)
    if heatmap is not None:
        write_file(heatmap, picture)
    if html is not None:
        write_file(html, _page(report, against, picture).encode())
    if report.duplicates or report.near or report.close_to_other:
        raise typer.Exit(FOUND)


def _can_plot() -> bool:
    """Whether matplotlib is installed; where it is not, a page goes without its picture."""
    if importlib.util.find_spec("matplotlib") is not None:
        return True
    echo(
        "speedbench: warning: the page has no heatmap, since matplotlib is not installed: "
        "pip install 'pytest-speedbench[curation]'",
        err=True,
    )
    return False


def _page(report: CheckReport, against: str, picture: bytes) -> str:
    from pytest_speedbench.report.split_page import render_split_page

    return render_split_page(report, against, picture)


def _show_check(out: Lines, report: CheckReport, against: str) -> None:
    out.line(f"{report.name}, digest {report.digest[:12]}", "bold")
    similar = {entry.slice: entry for entry in report.similarity or ()}
    columns: list[Column] = [
        ("slice", "left"),
        ("samples", "right"),
        ("multi-turn", "right"),
        ("words min/median/max", "right"),
    ]
    if similar:
        columns.append(("similarity", "right"))
    if against:
        columns.append(("to other", "right"))
    rows = []
    for line in report.lengths:
        own = similar.get(line.slice)
        cells = [
            line.slice,
            str(line.samples),
            f"{line.multiturn_share:.0%}",
            f"{line.shortest:,} / {line.median:,g} / {line.longest:,}",
        ]
        if similar:
            cells.append(NOTHING if own is None else f"{own.mean:.3f}")
        if against:
            cells.append(NOTHING if own is None or own.other is None else f"{own.other:.3f}")
        rows.append(cells)
    out.table(columns, rows)
    languages = ", ".join(f"{name} {count}" for name, count in report.languages)
    detected = f" ({report.detected} detected from the text)" if report.detected else ""
    out.line(label(f"languages: {languages}{detected}"))
    out.line("scripts: " + ", ".join(f"{name} {count}" for name, count in report.scripts))
    groups = [" = ".join(ids) for ids in report.duplicates]
    _found(out, "identical text", groups)
    _found(out, "near duplicates (cosine above 0.85)", _pairs(report.near))
    if against:
        _found(out, f"close to {against} (cosine above 0.9)", _pairs(report.close_to_other))
        if report.nearest_other is not None:
            out.line(f"nearest in {against}: {_pair(report.nearest_other)}")
    if report.near is None:
        out.line("near duplicates and diversity: not checked (--no-embeddings)")


def _pairs(pairs: Sequence[NearPair] | None) -> list[str] | None:
    return None if pairs is None else [_pair(pair) for pair in pairs]


def _pair(pair: NearPair) -> str:
    return f"{pair.left} ~ {pair.right} {pair.similarity:.3f}"


def _found(out: Lines, what: str, entries: Sequence[str] | None) -> None:
    if entries is None:
        return
    if not entries:
        out.line(f"{what}: none")
        return
    out.line(f"{what}: {len(entries)}", "red")
    for entry in entries[:_MOST_PAIRS]:
        out.line(f"  {label(entry)}")
    if len(entries) > _MOST_PAIRS:
        out.line(f"  … and {len(entries) - _MOST_PAIRS} more")
