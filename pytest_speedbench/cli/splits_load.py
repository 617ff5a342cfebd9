"""Shared by the commands of ``speedbench splits``: loading a split, and progress."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from pytest_speedbench.cli.arguments import refuse_unused
from pytest_speedbench.cli.output import echo, rewrite
from pytest_speedbench.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_speedbench.splits import Split, TargetTokenizer

Columns = Annotated[
    str,
    typer.Option(
        metavar="FIELD=COLUMN,…", help="Columns of a file, our name first: prompt=body,id=ticket."
    ),
]
KeepGood = Annotated[bool, typer.Option("--keep-good", help="Leave out bad rows of a file.")]


def load(
    split: str,
    *,
    model: str = "",
    per_tier: int | None = None,
    columns: str = "",
    keep_good: bool = False,
) -> Split:
    """Return the split of a name or path; one that is built for a tokenizer needs ``model``."""
    from pytest_speedbench.splits import built_for_tokenizer, load_split

    if built_for_tokenizer(split):
        if not model:
            raise CliError(f"split {split} is built for a tokenizer: give the model with --model")
        return load_split(split, tokenizer=tokenizer_of(model), per_tier=per_tier)
    return _warned(lambda: load_split(split, columns=_mapping(columns), keep_good=keep_good))


def check_options(context: typer.Context, split: str) -> None:
    """Refuses options that change nothing for ``split``.

    Raises:
        CliError: the message names the options.
    """
    from pytest_speedbench.splits import NAMES, built_for_tokenizer, divide_name

    if divide_name(split)[0] in NAMES:
        refuse_unused(context, f"on {split}, which is no file", "columns", "keep_good")
    if not built_for_tokenizer(split):
        refuse_unused(context, f"on {split}, which is built for no tokenizer", "model")


def _warned(read: Callable[[], Split]) -> Split:
    """Read, and print warnings as one line each on stderr."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read()
    for warning in caught:
        echo(f"speedbench: warning: {warning.message}", err=True)
    return found


def _mapping(columns: str) -> dict[str, str] | None:
    from pytest_speedbench.cli.arguments import read
    from pytest_speedbench.plan.settings import Settings

    return dict(read("--columns", columns, Settings.options["columns"].parse)) if columns else None


def tokenizer_of(model: str, encoding: str = "") -> TargetTokenizer:
    """The tokenizer of a model, or a tiktoken encoding.

    Prompts built with the one of a model are used with ``--speed-model`` of the same name.
    """
    if bool(model) == bool(encoding):
        raise CliError(
            "choose the tokenizer that counts the tokens: --model MODEL or --encoding o200k_base"
            + (", not both" if model else "")
        )
    if encoding:
        from pytest_speedbench.splits.targets import tiktoken_tokenizer

        return tiktoken_tokenizer(encoding)
    return _model_tokenizer(model)


def _model_tokenizer(model: str) -> TargetTokenizer:
    from pytest_speedbench.measure.model_identity import model_name
    from pytest_speedbench.measure.tokenizer import load_tokenizer
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


class Progress:
    """One line on stderr that is rewritten; nothing if stderr is not a terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._shown:
            of = f"/{total}" if total else ""
            rewrite(f"{stage} {done}{of}", last=done == total)
