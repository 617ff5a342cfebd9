"""The random split: uniform token ids, seeded, nested."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_speedbench.splits import SplitError, load_split, split_slices
from pytest_speedbench.splits.random_ids import WARNING, random_split

from .conftest import word_tokenizer


def test_ids_are_of_the_vocabulary_without_special_ids() -> None:
    split = random_split(word_tokenizer(vocab=100), length=500, n=3)
    ids = {token for s in split.samples for token in s.token_ids or ()}
    assert ids == set(range(10, 100))


def test_draws_are_seeded_and_nested() -> None:
    few, many = random_split(n=2, length=8), random_split(n=5, length=8)
    assert few.samples == many.samples[:2]
    assert random_split(n=2, length=8, seed=1).samples != few.samples
    assert load_split("random") == load_split("random")
    assert split_slices("random") == ("random",) == load_split("random").slices


def test_bad_requests_and_the_warning() -> None:
    with pytest.raises(SplitError, match="length and n must be at least 1, got 0 and 80"):
        random_split(length=0)
    blind = dataclasses.replace(word_tokenizer(), vocab_size=None)
    with pytest.raises(SplitError, match="'words' does not report its vocabulary size"):
        random_split(blind)
    assert "overstates throughput" in WARNING
