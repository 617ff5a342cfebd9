"""Split files of any content: read as samples, or refused with the place."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.splits import SplitError, load_split

from .mutations import damaged, refused, share

ROWS = [
    {"id": "a-0", "category": "math", "prompt": "1 + 1", "source": "us", "licence": "CC0-1.0"},
    {"id": "a-1", "category": "qa", "turns": ["Who?", "Why?"], "system": "Be brief."},
    {"messages": [{"role": "user", "content": "Hello"}], "category": "qa"},
]
TEXT = "".join(json.dumps(row) + "\n" for row in ROWS)
SUFFIXES = st.sampled_from([".jsonl", ".json", ".csv", ".txt", ".jsonl.gz", ".jsonl.zst"])


def loads(content: bytes, suffix: str, keep_good: bool) -> None:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / f"prompts{suffix}"
        path.write_bytes(content)
        try:
            split = load_split(str(path), keep_good=keep_good)
        except SplitError as error:
            refused(error)
            return
        assert split.samples
        assert all(sample.turns and sample.category for sample in split.samples)
        assert split.digest.encode()


@share(25)
@given(damaged(ROWS), SUFFIXES, st.booleans())
def test_damaged_rows(rows: Any, suffix: str, keep_good: bool) -> None:
    items = rows if isinstance(rows, list) else [rows]
    text = "".join(json.dumps(row) + "\n" for row in items)
    loads(text.encode(), suffix, keep_good)


@share(25)
@given(st.data(), SUFFIXES, st.booleans())
def test_bytes_that_were_cut_changed_or_added(
    data: st.DataObject, suffix: str, keep_good: bool
) -> None:
    content = bytearray(TEXT.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    loads(bytes(content), suffix, keep_good)


@share(25)
@given(st.binary(max_size=200), SUFFIXES, st.booleans())
def test_any_bytes(content: bytes, suffix: str, keep_good: bool) -> None:
    loads(content, suffix, keep_good)
