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


def read_texts(record: Record, tokenizer: str) -> Texts:
    """The texts of ``record`` by the tokenizer of a model: a hub name in the cache, or a folder.

    Prompts are those of the split, where it is here and still has the same rows.

    Raises:
        ReportError: there is no such tokenizer.
    """
    kind = engine_type(record.engine.name).tokenizer
    try:
        found = load_tokenizer(kind if kind == "words" else "huggingface", tokenizer, form="raw")
    except (EngineError, ImportError) as error:
        raise ReportError(
            f"--text needs the tokenizer of {tokenizer!r}: {error}; give it with --tokenizer MODEL"
        ) from error
    return Texts(found.decode, _prompts(record))


def _prompts(record: Record) -> dict[str, Sequence[str]]:
    try:
        samples = load_split(record.split.name).samples
    except SplitError:  # a user's file, or one that is built for a tokenizer
        return {}
    rows = record.split.rows or {}
    return {s.id: s.turns for s in samples if rows.get(s.id) == s.digest}
