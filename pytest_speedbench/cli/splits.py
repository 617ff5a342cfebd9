"""``speedbench splits …``: what prompts there are, what is in them, and how they are made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.errors import CliError
from pytest_speedbench.cli.output import NOTHING, Justify, Lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_speedbench.splits import Sample, Split, TargetTokenizer
    from pytest_speedbench.splits.check import CheckReport, NearPair
    from pytest_speedbench.splits.curate import CurationReport
    from pytest_speedbench.splits.throughput import BuildReport

app = typer.Typer(
    help="The prompts: list, show, check, curate and build them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

EmbeddingModel = Annotated[
    str, typer.Option("--embeddings", metavar="MODEL", help="sentence-transformers name or folder.")
]
_EMBEDDINGS = "all-MiniLM-L6-v2"
_MOST_PAIRS = 10
FOUND = 1
"""Exit code of ``check`` for a split with duplicates."""


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
    out.line("also: a file (JSONL, JSON, CSV, TSV, parquet), or nvidia/SPEED-Bench:CONFIG")


@app.command()
def show(
    split: Annotated[str, typer.Argument(metavar="SPLIT", help="Name or file, [:category].")],
    samples: Annotated[int, typer.Option(min=0, help="How many samples to print.")] = 3,
    model: Annotated[
        str, typer.Option(help="Model whose tokenizer builds a throughput split.")
    ] = "",
) -> None:
    """Show a split's identity, its categories, and the first samples."""
    found = _load(split, model, max(1, samples))
    out = Lines()
    out.line(f"{found.name} {found.version}".rstrip(), "bold")
    out.line(f"digest {found.digest[:12]}, licence {found.licence or 'not stated'}")
    columns: tuple[tuple[str, Justify], ...] = (
        (found.axis, "left"),
        ("samples", "right"),
        ("multi-turn", "right"),
    )
    groups = [(name, found.select(name)) for name in found.slices]
    out.table(
        columns,
        [(name, str(len(own)), str(sum(s.multiturn for s in own))) for name, own in groups],
    )
    for sample in found.samples[:samples]:
        out.line()
        _show_sample(out, sample)


def _show_sample(out: Lines, sample: Sample) -> None:
    about = ", ".join(
        word for word in (sample.category, sample.sub_category, sample.language) if word
    )
    out.line(f"{sample.id} ({about})", "bold")
    if sample.system is not None:
        out.exact(f"system: {_beginning(sample.system)}")
    for turn in sample.turns:
        out.exact(f"user: {_beginning(turn)}")
    if sample.token_ids is not None:
        out.exact(f"{len(sample.token_ids)} token ids")


def _beginning(text: str, most: int = 600) -> str:
    return text if len(text) <= most else f"{text[:most]} … ({len(text):,} characters)"


@app.command()
def check(
    split: Annotated[str, typer.Argument(metavar="SPLIT", help="Name or file, [:category].")],
    against: Annotated[
        str, typer.Option(metavar="SPLIT", help="Also look for prompts of this split.")
    ] = "",
    heatmap: Annotated[
        Path | None, typer.Option(metavar="PATH.png", help="Draw the similarities.")
    ] = None,
    lengths_only: Annotated[
        bool, typer.Option("--no-embeddings", help="Only what needs no embedding model.")
    ] = False,
    embeddings: EmbeddingModel = _EMBEDDINGS,
) -> None:
    """Tell lengths, duplicates, languages and diversity of a split.

    Exit code 0: no duplicates; 1: exact or near duplicates were found; 2: it cannot be checked.
    """
    from pytest_speedbench.splits.check import check_split

    found, other = _load(split), _load(against) if against else None
    report = check_split(found, other, embeddings=not lengths_only, model=embeddings)
    _show_check(Lines(), report, against)
    if heatmap is not None:
        from pytest_speedbench.splits.heatmap import heatmap_png

        heatmap.write_bytes(heatmap_png(found, other, model=embeddings))
        typer.echo(f"written: {heatmap}")
    if report.duplicates or report.near or report.close_to_other:
        raise typer.Exit(FOUND)


def _show_check(out: Lines, report: CheckReport, against: str) -> None:
    out.line(f"{report.name}, digest {report.digest[:12]}", "bold")
    similar = {entry.slice: entry for entry in report.similarity or ()}
    columns: list[tuple[str, Justify]] = [
        ("slice", "left"),
        ("samples", "right"),
        ("multi-turn", "right"),
        ("words: median", "right"),
        ("longest", "right"),
        ("similarity", "right"),
    ]
    if against:
        columns.append(("there", "right"))
    rows = []
    for line in report.lengths:
        own = similar.get(line.slice)
        cells = [
            line.slice,
            str(line.samples),
            f"{line.multiturn_share:.0%}",
            f"{line.median:g}",
            str(line.longest),
            NOTHING if own is None else f"{own.mean:.3f}",
        ]
        if against:
            cells.append(NOTHING if own is None or own.other is None else f"{own.other:.3f}")
        rows.append(cells)
    out.table(columns, rows)
    out.line("languages: " + ", ".join(f"{name} {count}" for name, count in report.languages))
    out.line("scripts: " + ", ".join(f"{name} {count}" for name, count in report.scripts))
    groups = [" = ".join(ids) for ids in report.duplicates]
    _found(out, "the same text", groups)
    _found(out, "nearly the same (cosine above 0.85)", _pairs(report.near))
    if against:
        _found(out, f"close to {against} (cosine above 0.9)", _pairs(report.close_to_other))
    if report.near is None:
        out.line("near duplicates and diversity: not looked for (--no-embeddings)")


def _pairs(pairs: Sequence[NearPair] | None) -> list[str] | None:
    return None if pairs is None else [f"{p.left} ~ {p.right} {p.similarity:.3f}" for p in pairs]


def _found(out: Lines, what: str, entries: Sequence[str] | None) -> None:
    if entries is None:
        return
    if not entries:
        out.line(f"{what}: none")
        return
    out.line(f"{what}: {len(entries)}", "red")
    for entry in entries[:_MOST_PAIRS]:
        out.line(f"  {entry}")
    if len(entries) > _MOST_PAIRS:
        out.line(f"  … and {len(entries) - _MOST_PAIRS} more")


@app.command()
def curate(
    pool: Annotated[
        Path, typer.Argument(metavar="POOL", help="Folder with the candidates, <category>.jsonl.")
    ],
    per_category: Annotated[int, typer.Option(min=1, help="Samples of each category.")] = 80,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to write. [default: POOL/../qualitative]"),
    ] = None,
    version: Annotated[
        str, typer.Option(help="Version of the split. [default: that of the split in DIR]")
    ] = "",
    against: Annotated[
        str, typer.Option(metavar="SPLIT", help="Leave out prompts close to this split's.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Draws the first choice.")] = 0,
    starts: Annotated[int, typer.Option(min=1, help="First choices to try.")] = 16,
    embeddings: EmbeddingModel = _EMBEDDINGS,
) -> None:
    """Select the most diverse samples of a pool and write them as a split."""
    from pytest_speedbench.splits.curate import curate as select

    folder = out or pool.resolve().parent / "qualitative"
    references = _load(against).samples if against else ()
    report = select(
        pool,
        folder,
        per_category=per_category,
        version=version or _present_version(folder),
        seed=seed,
        starts=starts,
        model=embeddings,
        references=references,
        progress=_progress(),
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
        raise CliError(f"{path} tells no version ({error!r}); give one with --version") from error


def _show_curation(out: Lines, report: CurationReport, folder: Path) -> None:
    columns: tuple[tuple[str, Justify], ...] = (
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
    model: Annotated[str, typer.Option(help="Model whose tokenizer counts: a hub name or folder.")],
    per_tier: Annotated[int, typer.Option(min=1, max=512, help="Prompts of each tier.")] = 512,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to keep it. [default: the user's cache]"),
    ] = None,
) -> None:
    """Build a throughput split ahead, for the tokenizer of a model."""
    from pytest_speedbench.splits.throughput import build_report

    report = build_report(
        bucket.removeprefix("throughput_"),
        _tokenizer(model),
        per_tier=per_tier,
        cache=cache,
        progress=_progress(),
    )
    _show_build(Lines(), report)


def _show_build(out: Lines, report: BuildReport) -> None:
    out.line(f"{report.name}, digest {report.digest[:12]}", "bold")
    out.line(
        f"{report.length:,} tokens each, counted by {report.tokenizer}, {report.preamble} of them "
        f"the chat template's; any two share at most the first {report.shared_prefix}; built in "
        f"{report.seconds:g} s"
    )
    columns: tuple[tuple[str, Justify], ...] = (
        ("tier", "left"),
        ("samples", "right"),
        ("text met before", "right"),
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
    out.table(columns, rows, wrap=frozenset({"kinds"}))


def _load(split: str, model: str = "", per_tier: int | None = None) -> Split:
    from pytest_speedbench.splits import load_split

    if not split.startswith(("throughput_", "random")):
        return load_split(split)
    if not model:
        raise CliError(f"split {split} is made for a tokenizer: name the model with --model")
    return load_split(split, tokenizer=_tokenizer(model), per_tier=per_tier)


def _tokenizer(model: str) -> TargetTokenizer:
    """The model's tokenizer; prompts built with it serve ``--speed-model`` of the same name."""
    from pytest_speedbench.measure.tokenizer import load_tokenizer, model_name
    from pytest_speedbench.splits import TargetTokenizer

    try:
        found = load_tokenizer("huggingface", model)
    except ImportError as error:
        raise CliError(
            f"tokenizing for {model}: {error}; pip install 'pytest-speedbench[transformers]'"
        ) from error
    return TargetTokenizer(
        model_name(model), found.render, found.encode, found.decode, found.vocab_size
    )


class _Progress:
    """One line on a terminal's stderr, rewritten; silence elsewhere."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._shown:
            of = f"/{total}" if total else ""
            typer.echo(f"\r\x1b[K{stage} {done}{of}", err=True, nl=done == total)


def _progress() -> _Progress:
    return _Progress()
