"""``speedbench drafter prune``: an EAGLE-3 head cut to the most frequent tokens of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.arguments import DEFAULT_STORAGE, Storage, numbers
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
    Samples,
    check_options,
    check_vocabulary,
    get_outputs,
    target_tokenizer,
)
from pytest_speedbench.cli.output import Lines
from pytest_speedbench.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_speedbench.analysis.coverage import Ints, Output
    from pytest_speedbench.engines.draft_vocabulary import DraftVocabulary


def prune(
    context: typer.Context,
    drafter: Annotated[str, typer.Argument(metavar="PATH", help="Folder of an EAGLE-3 head.")],
    sizes: Annotated[str, typer.Option(metavar="N,…", help="Sizes of the draft vocabulary.")],
    frequencies: Annotated[str, typer.Option(metavar="SOURCE", help=SOURCE)],
    out: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Gets a folder vN for each size.")
    ],
    engine: Engine = None,
    model: Model = "",
    samples: Samples = "8",
    max_tokens: MaxTokens = 128,
    bs: BatchSize = 1,
    engine_arg: EngineArg = None,
    category: Category = "",
    language: Language = "",
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Cut an EAGLE-3 head to the most frequent tokens of a corpus.

    Writes checkpoints that engines load: the rows of the output layer that are kept, the maps d2t
    and t2d, and draft_vocab_size. Nothing is retrained, so a head can be measured with a cut
    vocabulary before one is trained for it. The target's stop tokens are always kept.
    """
    from pytest_speedbench.engines.checkpoints import local_checkpoint
    from pytest_speedbench.engines.pruning import check_prunable, write_pruned

    asked = Asked(
        engine, model, samples, max_tokens, bs, engine_arg or (), category, language, storage
    )
    check_options(context, frequencies)
    wanted = numbers("--sizes", sizes)
    head = local_checkpoint(drafter)
    old = check_prunable(head)
    folders = {size: out / f"v{size}" for size in wanted}
    _check_sizes(wanted, old, drafter)
    for folder in folders.values():
        if folder.exists():
            raise CliError(f"{folder} exists: remove it, or choose another folder with -o")
    found = get_outputs(frequencies, asked)
    check_vocabulary(found, old.target_size, drafter)
    ranking = _ranking(found.outputs, old, target_tokenizer(found).stop_ids)
    lines = Lines()
    lines.line(f"ranked by {found.about}")
    for size, folder in folders.items():
        kept = ranking[:size]
        weights = write_pruned(head, kept, folder)
        lines.exact(f"{folder}  {weights / 2**20:.1f} MiB, {_covered(found.outputs, kept)}")
        if unseen := size - _seen(found.outputs, kept):
            lines.line(
                f"note: {unseen:,} of the {size:,} tokens do not occur in this corpus and are "
                "those of the lowest ids; a longer one ranks them too",
                "yellow",
            )


def _check_sizes(wanted: Sequence[int], old: DraftVocabulary, drafter: str) -> None:
    for size in wanted:
        if size >= old.size:
            raise CliError(
                f"--sizes {size}: {drafter} can draft {old.size} tokens, so a cut must be smaller"
            )


def _ranking(outputs: Sequence[Output], old: DraftVocabulary, stop_ids: Sequence[int]) -> Ints:
    """The tokens that the head can draft, in the order in which they are kept."""
    import numpy as np

    from pytest_speedbench.analysis.coverage import rank_tokens

    ranking = rank_tokens(outputs, old.target_size, stop_ids)
    return ranking[np.isin(ranking, old.token_ids)]


def _covered(outputs: Sequence[Output], kept: Ints) -> str:
    from pytest_speedbench.analysis.coverage import measure_coverage

    whole = measure_coverage(outputs, kept, [])[0]
    return f"{1 - whole.share_outside:.2%} of the corpus"


def _seen(outputs: Sequence[Output], kept: Ints) -> int:
    """How many of the tokens ``kept`` occur in the outputs."""
    import numpy as np

    present = np.unique(np.concatenate([output.token_ids for output in outputs]))
    return int(np.isin(kept, present).sum())
