"""The texts behind a record, which keeps ids alone: from the tokenizer and the split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.errors import EngineError, ReportError
from pytest_speedbench.measure.tokenizer import load_tokenizer
from pytest_speedbench.splits import SplitError, load_split


@dataclass(frozen=True, slots=True)
class Texts:
    """How the token ids of a record read, and what its prompts are.

    Attributes:
        decode: token ids → text.
        prompts: sample id → the user's turns; samples may be missing.
    """

    decode: Callable[[Sequence[int]], str]
    prompts: Mapping[str, Sequence[str]] = field(default_factory=dict)


def read_texts(record: Record, tokenizer: str = "", split: str = "") -> Texts:
    """The texts of ``record``.

    Args:
        record: of any run.
        tokenizer: a model's: a hub name in the cache, or a folder; empty for the target's name.
        split: where the prompts are, as in ``--speed-split``; empty for the recorded name, which
            finds those that come with the package. Rows that have changed since are left out.

    Raises:
        ReportError: there is no such tokenizer.
        SplitError: ``split`` cannot be read.
    """
    tokenizer = tokenizer or record.model.name
    kind = engine_type(record.engine.name).tokenizer
    try:
        found = load_tokenizer(kind if kind == "words" else "huggingface", tokenizer, form="raw")
    except (EngineError, ImportError) as error:
        raise ReportError(
            f"--text needs the tokenizer of {tokenizer!r}: {error}; give it with --tokenizer MODEL"
        ) from error
    return Texts(found.decode, _prompts(record, split))


def _prompts(record: Record, split: str) -> dict[str, Sequence[str]]:
    try:
        samples = load_split(split or record.split.name).samples
    except SplitError:
        if split:
            raise
        return {}  # a user's file, or one that is built for a tokenizer
    rows = record.split.rows or {}
    return {s.id: s.turns for s in samples if rows.get(s.id) == s.digest}
