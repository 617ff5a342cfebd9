"""Sample and Split: order, selection, digest."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.splits import CATEGORIES, Sample, SplitError, make_split, require_context

from .conftest import sample

CATEGORY = st.sampled_from([*CATEGORIES, "other", "low_entropy"])


@st.composite
def splits(draw: st.DrawFn) -> object:
    """A split with some categories, samples in mixed order."""
    categories = draw(st.lists(CATEGORY, min_size=1, max_size=30))
    return make_split("drawn", [sample(f"s{i}", c) for i, c in enumerate(categories)])


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, pytest_speedbench.splits as s; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"numpy", "datasets", "pyarrow", "sentence_transformers", "matplotlib", "torch"}
    assert heavy.isdisjoint(done.stdout.split())


def test_slices_are_in_canonical_order_and_strangers_last() -> None:
    split = make_split("x", [sample("1", "zebra"), sample("2", "writing"), sample("3", "coding")])
    assert split.slices == ("coding", "writing", "zebra")


@given(splits(), st.integers(1, 5), st.integers(0, 5))
def test_a_smaller_draw_is_the_beginning_of_a_larger_one(split, n, more) -> None:  # type: ignore[no-untyped-def]
    small, large = split.select(n=n), split.select(n=n + more)
    for name in split.slices:
        mine = [s for s in small if s.category == name]
        assert mine == [s for s in large if s.category == name][: len(mine)]
        assert len(mine) == min(n, len(split.select(name)))


@given(splits())
def test_interleaved_is_balanced_at_every_prefix(split) -> None:  # type: ignore[no-untyped-def]
    order = split.interleaved()
    assert sorted(s.id for s in order) == sorted(s.id for s in split.samples)
    for end in range(1, len(order)):
        for name in split.slices:
            taken = sum(s.category == name for s in order[:end])
            left = sum(s.category == name for s in order[end:])
            ahead = max(sum(s.category == o for s in order[:end]) for o in split.slices)
            assert left == 0 or ahead - taken <= 1


def test_an_unknown_category_names_the_ones_there_are() -> None:
    split = make_split("x", [sample("1", "coding")])
    with pytest.raises(SplitError, match=r"'codng'; did you mean 'coding'\? Allowed: coding, all"):
        split.select("codng")


@pytest.mark.parametrize("n", [0, -1])
def test_a_draw_of_none_is_refused(n: int) -> None:
    with pytest.raises(SplitError, match=f"at least 1, got {n}"):
        make_split("x", [sample("1")]).select(n=n)


def test_duplicate_ids_and_empty_splits_are_refused() -> None:
    with pytest.raises(SplitError, match="duplicate id '1'"):
        make_split("x", [sample("1"), sample("1")])
    with pytest.raises(SplitError, match="'x' has no samples"):
        make_split("x", [])


def test_the_digest_is_of_what_the_model_sees() -> None:
    one = Sample("1", "qa", ("Why?",))
    relabelled = Sample("1", "qa", ("Why?",), sub_category="physics", difficulty="hard")
    changed = Sample("1", "qa", ("Why not?",))
    digests = [make_split("x", [s]).digest for s in (one, relabelled, changed)]
    assert digests[0] == digests[1] != digests[2]
    assert digests[0] == "7d56a9e9d53ce910455daf40ccfe81c1bfc065c1d35201155ab021a678bbd60f"


def test_a_narrowed_split_keeps_name_and_digest_of_the_whole() -> None:
    split = make_split("x", [sample("1", "qa"), sample("2", "coding")])
    assert split.only("qa").digest == split.digest
    assert [s.id for s in split.only("qa").samples] == ["1"]


def test_axis_is_entropy_where_all_categories_are_tiers() -> None:
    assert make_split("x", [sample("1", "mixed")]).axis == "entropy"
    assert make_split("x", [sample("1", "mixed"), sample("2")]).axis == "category"


def test_a_context_window_smaller_than_the_bucket_names_the_largest_that_fits() -> None:
    require_context("8k", 8192 + 256, 256)
    with pytest.raises(SplitError, match=r"16384 prompt tokens \+ 256 .* 8192 tokens; use throug"):
        require_context("16k", 8192, 256)
    with pytest.raises(SplitError, match="no bucket fits"):
        require_context("1k", 1024, 256)
    with pytest.raises(SplitError, match="unknown throughput bucket '4k'"):
        require_context("4k", 8192, 256)


def test_messages_hold_the_system_prompt_and_the_first_turn() -> None:
    talk = Sample("1", "qa", ("Hi", "Bye"), system="Be brief.")
    assert talk.multiturn
    assert talk.messages() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]
