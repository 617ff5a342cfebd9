"""Helpers of the splits tests: small files, small splits, a tokenizer without any download."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.splits import Sample, TargetTokenizer

SPEC_BENCH = Path(os.environ.get("SPEEDBENCH_SPEC_BENCH", "no-such-folder"))
needs_spec_bench = pytest.mark.skipif(
    not (SPEC_BENCH / "question.jsonl").is_file(),
    reason="SPEEDBENCH_SPEC_BENCH names no folder with question.jsonl of Spec-Bench",
)
Writer = Callable[[str, Iterable[Mapping[str, Any]]], Path]


@pytest.fixture
def jsonl(tmp_path: Path) -> Writer:
    """Write rows to a JSONL file in the test's folder."""

    def write(name: str, rows: Iterable[Mapping[str, Any]]) -> Path:
        path = tmp_path / name
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        path.write_text(text, encoding="utf-8")
        return path

    return write


def sample(name: str, category: str = "qa", *turns: str) -> Sample:
    """Return a sample with one turn made from its id, unless turns are given."""
    return Sample(name, category, turns or (f"What is {name}?",))


def word_tokenizer(preamble: int = 3, vocab: int = 50021) -> TargetTokenizer:
    """Return a tokenizer of words, spaces and signs: exact, fast, and with awkward long tokens."""

    def encode(text: str) -> list[int]:
        pieces = re.findall(r"\s+|\w{1,6}|[^\w\s]", text)
        return [sum(map(ord, piece)) * 31 % (vocab - 10) + 10 for piece in pieces]

    def render(messages: list[dict[str, str]]) -> list[int]:
        body = [token for m in messages for token in encode(m["content"])]
        return [*range(preamble), *body, 1, 2]

    return TargetTokenizer("words", render, encode, str, vocab, frozenset(range(10)))
