"""``speedbench drafter coverage``: what candidate vocabularies cost on the target's own outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pytest_speedbench.cli.arguments import DEFAULT_STORAGE, Storage, check_written, numbers
from pytest_speedbench.cli.drafter_outputs import (
    SOURCE,
    Asked,
    BatchSize,
    Category,
    Engine,
    EngineArg,
    Language,
    MaxTokens,
    Model,
    Outputs,
    Samples,
    check_options,
    check_vocabulary,
    decoder,
    get_outputs,
    target_tokenizer,
)
from pytest_speedbench.cli.output import Lines, echo, write_bytes
from pytest_speedbench.errors import CliError
from pytest_speedbench.quantities import change_of
from pytest_speedbench.report.tables import Column

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_speedbench.analysis.coverage import Ints
    from pytest_speedbench.analysis.vocabulary_cost import VocabularyCost, VocabularyCosts

_MOST_LANGUAGES = 12


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A vocabulary under test; ``token_ids`` has shape (draft vocabulary,)."""

    name: str
    token_ids: Ints
    target_size: int


def coverage(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help=SOURCE)],
    drafter: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Drafter whose vocabulary to measure; may be repeated."),
    ] = None,
    sizes: Annotated[
        str, typer.Option(metavar="N,…", help="Also the N most frequent tokens of --frequencies.")
    ] = "",
    frequencies: Annotated[
        str, typer.Option(metavar="SOURCE", help="Outputs or text whose tokens are counted.")
    ] = "",
    dl: Annotated[str, typer.Option(metavar="N,…", help="Draft lengths.")] = "1,3,5",
    tokens: Annotated[int, typer.Option(min=0, help="Lost tokens to list.")] = 12,
    engine: Engine = None,
    model: Model = "",
    samples: Samples = "8",
    max_tokens: MaxTokens = 128,
    bs: BatchSize = 1,
    engine_arg: EngineArg = None,
    category: Category = "",
    language: Language = "",
    plot: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Draw a figure: .png, .svg or .pdf.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Show what a draft vocabulary lacks, and the AL that it allows.

    One pass of the target serves any number of vocabularies. The ceiling of AL is exact: no drafter
    with the vocabulary exceeds it on these outputs. Where SOURCE is a run with a drafter, the
    expected AL is that drafter's with the vocabulary.
    """
    asked = Asked(
        engine, model, samples, max_tokens, bs, engine_arg or (), category, language, storage
    )
    check_options(context, source, *([frequencies] if frequencies else []))
    lengths = numbers("--dl", dl)
    if plot is not None:
        _check_plot(plot)
    candidates = list(_drafters(drafter or ()))
    counts = numbers("--sizes", sizes) if sizes else []
    if bool(counts) != bool(frequencies):
        raise CliError("--sizes counts the tokens of --frequencies SOURCE: give both, or neither")
    if not candidates and not counts:
        raise CliError("no vocabulary to measure: give --drafter PATH, or --sizes N --frequencies")
    found = get_outputs(source, asked)
    if counts:
        ranked = found if frequencies == source else get_outputs(frequencies, asked)
        candidates += _most_frequent(counts, ranked, frequencies)
    costs = _costs(candidates, found, lengths, tokens)
    show = decoder(found) if tokens else str
    if plot is not None:
        _plot(costs, plot)
    if as_json:
        echo(json.dumps(_plain(found, costs, show), indent=2))
        return
    out = Lines()
    out.line(found.about)
    if counts and frequencies == source:
        out.line(
            "note: the sizes are ranked on these same outputs, so they cover them too well: give "
            "--frequencies another SOURCE",
            "yellow",
        )
    for cost in costs.costs:
        _show(out, cost, costs.draft_length, show)
    _explain(out, costs)


def _drafters(paths: Sequence[str]) -> Iterator[Candidate]:
    from pytest_speedbench.engines.checkpoints import local_checkpoint
    from pytest_speedbench.engines.draft_vocabulary import draft_vocabulary

    for path in paths:
        vocabulary = draft_vocabulary(local_checkpoint(path))
        yield Candidate(path, vocabulary.token_ids, vocabulary.target_size)


def _most_frequent(counts: Sequence[int], ranked: Outputs, source: str) -> Iterator[Candidate]:
    from pytest_speedbench.analysis.coverage import rank_tokens

    tokenizer = target_tokenizer(ranked)
    whole = tokenizer.vocab_size
    check_vocabulary(ranked, whole, ranked.model)
    ranking = rank_tokens(ranked.outputs, whole, tokenizer.stop_ids)
    for count in counts:
        if count > whole:
            raise CliError(f"--sizes {count}: the vocabulary of {ranked.model} has {whole} tokens")
        yield Candidate(f"the {count:,} most frequent of {source}", ranking[:count], whole)


def _costs(
    candidates: Sequence[Candidate], found: Outputs, lengths: Sequence[int], most: int
) -> VocabularyCosts:
    from pytest_speedbench.analysis.vocabulary_cost import VocabularyCosts, vocabulary_cost

    drafted_at = found.draft_length if found.drafted else 0
    costs = []
    for own in candidates:
        check_vocabulary(found, own.target_size, own.name)
        costs.append(
            vocabulary_cost(
                own.name,
                own.token_ids,
                own.target_size,
                found.outputs,
                lengths,
                drafted_at=drafted_at,
                most_lost=most,
            )
        )
    return VocabularyCosts(tuple(costs), drafted_at or max(lengths))


def _check_plot(path: Path) -> None:
    from pytest_speedbench.report.figures import check_format

    check_format(path.suffix)
    check_written({"--plot": path})


def _plot(costs: VocabularyCosts, path: Path) -> None:
    from pytest_speedbench.report.figures import draw

    write_bytes(path, draw(costs, path.suffix))


def _show(out: Lines, cost: VocabularyCost, draft_length: int, show: Callable[[int], str]) -> None:
    out.line()
    out.line(f"{cost.name}: {cost.size:,} of {cost.target_size:,} tokens", "bold")
    lengths = [ceiling.draft_length for ceiling in cost.slices[0].ceilings]
    columns: list[Column] = [("slice", "left"), ("tokens", "right")]
    columns += [("outside", "right"), *((f"≤ DL {dl}", "right") for dl in lengths)]
    if cost.expected:
        columns += [("AL", "right"), ("expected", "right")]
    rows = [_row(cost, place) for place in range(len(cost.slices))]
    hidden = max(0, sum(own.axis == "language" for own in cost.slices) - _MOST_LANGUAGES)
    out.table(columns, rows[: len(rows) - hidden])
    if hidden:
        out.line(f"  … and {hidden} more languages (--json lists all)")
    if cost.lost:
        out.line()
        steps = f"steps at DL {draft_length}"
        out.table(
            (("lost token", "left"), ("id", "right"), ("count", "right"), (steps, "right")),
            [(show(t.token_id), str(t.token_id), str(t.count), str(t.steps)) for t in cost.lost],
        )


def _row(cost: VocabularyCost, place: int) -> tuple[str, ...]:
    own = cost.slices[place]
    ceilings = (f"{ceiling.acceptance_length:.2f}" for ceiling in own.ceilings)
    row = (own.name, f"{own.tokens:,}", f"{own.share_outside:.1%}", *ceilings)
    if not cost.expected:
        return row
    found = cost.expected[place]
    return (*row, f"{found.measured:.2f}", f"{found.expected:.2f} {change_of(1 - found.loss, 1)}")


def _explain(out: Lines, costs: VocabularyCosts) -> None:
    first = costs.costs[0]
    whole = ", ".join(f"{c.whole:.2f} at DL {c.draft_length}" for c in first.slices[0].ceilings)
    out.line()
    out.line(
        "outside: share of the tokens that cannot be drafted. ≤ DL: the largest AL of any drafter "
        f"with this vocabulary on these outputs; with the whole one {whole}. steps: decoding steps "
        "that this ceiling would save if the vocabulary had the token."
    )
    if first.expected:
        out.line(
            f"AL: measured in the run, at DL {costs.draft_length}. expected: AL if its drafter "
            "could propose only this vocabulary; tokens that the drafter itself lacks are not "
            "accounted for."
        )


def _plain(found: Outputs, costs: VocabularyCosts, show: Callable[[int], str]) -> dict[str, Any]:
    def plain(cost: VocabularyCost) -> dict[str, Any]:
        data = asdict(cost)
        for own, slice_ in zip(cost.slices, data["slices"], strict=True):
            slice_["share_outside"] = own.share_outside
        for token in data["lost"]:
            token["text"] = show(token["token_id"])
        return data

    return {
        "outputs": found.about,
        "draft_length": found.draft_length or None,
        "vocabularies": [plain(cost) for cost in costs.costs],
    }
