"""``speedbench splits …``: list, show, check, curate and build the prompts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.output import Lines
from pytest_speedbench.cli.splits_check import EMBEDDINGS, EmbeddingModel, check
from pytest_speedbench.cli.splits_load import (
    Columns,
    KeepGood,
    Progress,
    check_options,
    load,
    tokenizer_of,
)
from pytest_speedbench.errors import CliError
from pytest_speedbench.escapes import label
from pytest_speedbench.report.tables import Column

if TYPE_CHECKING:
    from pytest_speedbench.splits import Sample
    from pytest_speedbench.splits.curate import CurationReport
    from pytest_speedbench.splits.throughput import BuildReport

app = typer.Typer(
    help="List, show, check, curate and build the prompts.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.command()(check)


@app.command("list")
def list_() -> None:
    """List the built-in splits."""
    from pytest_speedbench.splits import list_splits

    out = Lines()
    for found in list_splits():
        parts = [found.about]
        if found.samples is not None:
            parts.append(f"{found.samples} samples, digest {found.digest[:12]}")
        out.item(f"{found.name:16}", "; ".join([*parts, f"licence: {found.licence}"]))
    out.line(
        "also: PATH or NAME=PATH of a file (JSONL, JSON, CSV, TSV, parquet; .gz, .zst), or "
        "nvidia/SPEED-Bench:CONFIG"
    )


@app.command()
def show(
    context: typer.Context,
    split: Annotated[str, typer.Argument(metavar="SPLIT", help="Name or file, [:category].")],
    samples: Annotated[int, typer.Option(min=0, help="Number of samples to print.")] = 3,
    model: Annotated[
        str, typer.Option(help="Model whose tokenizer a throughput split is built for.")
    ] = "",
    columns: Columns = "",
    keep_good: KeepGood = False,
) -> None:
    """Show a split's identity, its categories, and the first samples."""
    check_options(context, split)
    found = load(split, model=model, per_tier=max(1, samples), columns=columns, keep_good=keep_good)
    out = Lines()
    out.line(f"{found.name} {found.version}".rstrip(), "bold")
    out.line(f"digest {found.digest[:12]}, licence {found.licence or 'not stated'}")
    heads: tuple[Column, ...] = (
        (found.axis, "left"),
        ("samples", "right"),
        ("multi-turn", "right"),
    )
    groups = [(name, found.select(name)) for name in found.slices]
    out.table(
        heads,
        [(name, str(len(own)), str(sum(s.multiturn for s in own))) for name, own in groups],
    )
    for sample in found.samples[:samples]:
        out.line()
        _show_sample(out, sample)


def _show_sample(out: Lines, sample: Sample) -> None:
    about = ", ".join(
        word for word in (sample.category, sample.sub_category, sample.language) if word
    )
    out.line(label(f"{sample.id} ({about})"), "bold")
    if sample.system is not None:
        out.exact(f"system: {_beginning(sample.system)}")
    for turn in sample.turns:
        out.exact(f"user: {_beginning(turn)}")
    if sample.token_ids is not None:
        out.exact(f"{len(sample.token_ids)} token ids")


def _beginning(text: str, most: int = 600) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text):,} characters)"


@app.command()
def curate(
    pool: Annotated[
        Path, typer.Argument(metavar="POOL", help="Folder with the candidates, <category>.jsonl.")
    ],
    per_category: Annotated[int, typer.Option(min=1, help="Samples of each category.")] = 80,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Output folder. [default: POOL/../qualitative]"),
    ] = None,
    version: Annotated[
        str, typer.Option(help="Version of the split. [default: that of the split in DIR]")
    ] = "",
    against: Annotated[
        str, typer.Option(metavar="SPLIT", help="Leave out prompts close to this split's.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed of the first choice.")] = 0,
    starts: Annotated[int, typer.Option(min=1, help="Number of first choices to try.")] = 16,
    embeddings: EmbeddingModel = EMBEDDINGS,
) -> None:
    """Select the most diverse samples of a pool; write them as a split."""
    from pytest_speedbench.splits.curate import curate as select

    folder = out or pool.resolve().parent / "qualitative"
    references = load(against).samples if against else ()
    report = select(
        pool,
        folder,
        per_category=per_category,
        version=version or _present_version(folder),
        seed=seed,
        starts=starts,
        model=embeddings,
        references=references,
        progress=Progress(),
    )
    _show_curation(Lines(), report, folder)


def _present_version(folder: Path) -> str:
    """The version in ``split.json``, so that the same pool gives the same files."""
    import json

    path = folder / "split.json"
    if not path.exists():
        return "1"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise CliError(f"{path} has no version ({error!r}); give one with --version") from error


def _show_curation(out: Lines, report: CurationReport, folder: Path) -> None:
    columns: tuple[Column, ...] = (
        ("category", "left"),
        ("candidates", "right"),
        ("left out", "right"),
        ("chosen", "right"),
        ("similarity", "right"),
        ("greedy", "right"),
        ("random", "right"),
    )
    rows = [
        (
            line.category,
            str(line.candidates),
            str(len(line.left_out)),
            str(line.chosen),
            f"{line.mean_similarity:.4f}",
            f"{line.greedy_similarity:.4f}",
            f"{line.random_similarity:.4f}",
        )
        for line in report.categories
    ]
    out.table(columns, rows)
    out.exact(f"written: {folder}, version {report.version}, digest {report.digest[:12]}")


@app.command()
def build(
    bucket: Annotated[str, typer.Argument(metavar="BUCKET", help="1k, 2k, 8k, 16k or 32k.")],
    model: Annotated[
        str,
        typer.Option(help="Model whose tokenizer counts: a hub name, a folder, or 'demo'."),
    ] = "",
    encoding: Annotated[
        str, typer.Option(metavar="NAME", help="Instead of a model: o200k_base, as in SPEED-Bench.")
    ] = "",
    per_tier: Annotated[int, typer.Option(min=1, max=512, help="Prompts of each tier.")] = 512,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Cache folder. [default: the user's cache]"),
    ] = None,
) -> None:
    """Build a throughput split in advance.

    Lengths are in tokens of a model or of o200k_base.
    """
    from pytest_speedbench.splits.throughput import build_report

    report = build_report(
        bucket.removeprefix("throughput_"),
        tokenizer_of(model, encoding),
        per_tier=per_tier,
        cache=cache,
        progress=Progress(),
    )
    _show_build(Lines(), report)


def _show_build(out: Lines, report: BuildReport) -> None:
    out.line(f"{report.name}, digest {report.digest[:12]}", "bold")
    out.line(
        f"{report.length:,} tokens each, counted by {report.tokenizer}, "
        f"{report.preamble} of them in the chat template; any two share at most the first "
        f"{report.shared_prefix}; built in {report.seconds:g} s"
    )
    columns: tuple[Column, ...] = (
        ("tier", "left"),
        ("samples", "right"),
        ("reused text", "right"),
        ("kinds", "left"),
    )
    rows = [
        (
            tier.tier,
            str(tier.samples),
            f"{tier.reused_share:.1%}",
            ", ".join(f"{name} {count}" for name, count in tier.kinds.items()),
        )
        for tier in report.tiers
    ]
    out.table(columns, rows)
    out.exact(f"cached in: {report.folder}")
