"""Splits and their rows are identified by content: not by file name, row number or order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.splits import (
    SplitError,
    legacy_digest,
    legacy_ids,
    load_split,
    make_split,
    rows_in_common,
    split_key,
    split_slices,
    throughput_bucket,
)

from .conftest import Writer, sample

ROWS: list[dict[str, Any]] = [
    {"turns": ["Why is the sky blue?"]},
    {"turns": ["Sort these: 3, 1, 2"], "category": "coding"},
    {"id": "own", "turns": ["Hi", "Bye"], "system": "Be brief."},
    {"turns": ["Why is the sky blue?"]},
]
# What the version before content identity wrote into records of these rows, as s.jsonl and as
# folder d of a.jsonl (the same rows) and b.jsonl (one more).
OLD_DIGEST = "27cd04aa0bc170ba2f789b6f4da2da8b1f5b9530a1d9a6380855ae081ba1aa2c"
OLD_FOLDER_DIGEST = "89e73218238ee52df24d11af37618f7febd6b5e23c39a0218866ab91acfeb1aa"


def contents(path: Path) -> dict[str, str]:
    return {s.id: s.content for s in load_split(str(path)).samples}


def test_a_row_without_an_id_is_named_by_its_content(jsonl: Writer) -> None:
    ids = [s.id for s in load_split(str(jsonl("s.jsonl", ROWS))).samples]
    assert ids[0] == load_split(str(jsonl("t.jsonl", ROWS[:1]))).samples[0].content
    assert (ids[2], ids[3]) == ("own", f"{ids[0]}-2")  # digest and occurrence
    assert len(ids[0]) == 16
    assert len(set(ids)) == 4


def test_a_renamed_or_reordered_file_is_the_same_split(jsonl: Writer) -> None:
    first = load_split(str(jsonl("first.jsonl", ROWS)))
    second = load_split(str(jsonl("second.jsonl", ROWS[::-1])))
    assert first.digest == second.digest
    assert {s.id for s in first.samples} == {s.id for s in second.samples}
    assert [s.turns for s in second.samples] == [tuple(r["turns"]) for r in ROWS[::-1]]


def test_ids_of_the_file_do_not_change_the_split(jsonl: Writer) -> None:
    numbered = [row | {"id": str(i)} for i, row in enumerate(ROWS)]
    assert (
        load_split(str(jsonl("a.jsonl", ROWS))).digest
        == load_split(str(jsonl("b.jsonl", numbered))).digest
    )


@pytest.mark.parametrize(
    "change",
    [{"turns": ["Why?"]}, {"category": "math"}, {"system": "Be rude."}],
    ids=["text", "category", "system"],
)
def test_a_changed_row_is_another_split(jsonl: Writer, change: Mapping[str, Any]) -> None:
    changed = [ROWS[0] | change, *ROWS[1:]]
    assert (
        load_split(str(jsonl("a.jsonl", ROWS))).digest
        != load_split(str(jsonl("b.jsonl", changed))).digest
    )


def test_a_row_missing_or_twice_is_another_split(jsonl: Writer) -> None:
    digests = {
        load_split(str(jsonl(f"{i}.jsonl", rows))).digest
        for i, rows in enumerate((ROWS, ROWS[:3], [*ROWS, ROWS[0]]))
    }
    assert len(digests) == 3


def test_the_same_prompt_in_two_files_of_a_folder_is_two_rows(jsonl: Writer) -> None:
    jsonl("a.jsonl", ROWS[:1])
    folder = jsonl("b.jsonl", ROWS[:2]).parent
    ids = [s.id for s in load_split(str(folder)).samples]
    assert ids[1] == f"{ids[0]}-2"
    assert len(set(ids)) == 3


@given(st.permutations(range(7)))
def test_repeats_are_never_paired_across_categories(order: list[int]) -> None:
    rows = [("b", "x"), ("a", "x"), ("c", "x"), ("a", "y"), ("a", "x"), ("b", "y"), ("b", "x")]
    from pytest_speedbench.splits.identity import occurrence_ids

    def named(chosen: list[tuple[str, str]]) -> set[tuple[str, tuple[str, str]]]:
        return set(zip(occurrence_ids(chosen), chosen, strict=True))

    assert named([rows[i] for i in order]) == named(rows)


# --- the key of a case ---------------------------------------------------------------------------


def test_the_key_is_the_given_name_or_the_digest(jsonl: Writer) -> None:
    path = jsonl("prompts.jsonl", ROWS)
    digest = load_split(str(path)).digest
    assert split_key(str(path)) == split_key(f"{path}:coding") == digest[:12]
    assert split_key(str(path.rename(path.with_name("other.jsonl")))) == digest[:12]
    named = f"tickets={path.with_name('other.jsonl')}"
    assert split_key(named) == split_key(f"{named}:coding") == "tickets"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("qualitative", "qualitative"),
        ("qualitative:math", "qualitative"),
        ("throughput_8k:mixed", "throughput_8k"),
        ("random", "random"),
        ("nvidia/SPEED-Bench", "nvidia/SPEED-Bench:qualitative"),
        ("nvidia/SPEED-Bench:throughput_2k:mixed", "nvidia/SPEED-Bench:throughput_2k"),
    ],
)
def test_a_built_in_split_keeps_its_name(text: str, key: str) -> None:
    assert split_key(text) == key


def test_a_named_file_is_a_split_of_that_name(jsonl: Writer) -> None:
    path = jsonl("prompts.jsonl", ROWS)
    named = load_split(f"tickets={path}")
    assert (named.name, named.digest) == ("tickets", load_split(str(path)).digest)
    narrowed = load_split(f"tickets={path}:coding")
    assert (narrowed.name, narrowed.slices) == ("tickets", ("coding",))
    assert split_slices(f"tickets={path}") == ("coding", "default")
    assert split_slices(f"tickets={path}:coding") == ("coding",)
    assert throughput_bucket(f"tickets={path}") is None


def test_an_equals_sign_of_a_path_belongs_to_it(jsonl: Writer, tmp_path: Path) -> None:
    (tmp_path / "run=7").mkdir()
    path = jsonl("run=7/prompts.jsonl", ROWS)
    assert load_split(str(path)).name == "prompts"
    assert load_split(f"mine={path}").name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qualitative=x.jsonl", "'qualitative' is reserved; give the file another name"),
        ("all=x.jsonl", "'all' is reserved"),
        ("mine=qualitative", "'qualitative' has a name already; NAME=PATH names a file"),
        ("mine=throughput_8k:mixed", "'throughput_8k' has a name already"),
        ("mine=nope.jsonl", "split file 'nope.jsonl' does not exist"),
    ],
)
def test_names_that_cannot_be_given(text: str, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        load_split(text)


# --- rows of two versions ------------------------------------------------------------------------


def test_a_removed_row_leaves_the_others_paired(jsonl: Writer) -> None:
    old = contents(jsonl("old.jsonl", ROWS))
    found = rows_in_common(old, contents(jsonl("new.jsonl", ROWS[1:])))
    assert not found.identical
    assert found.share == 1.0  # of the smaller version
    assert all(old[a] == contents(jsonl("new.jsonl", ROWS[1:]))[b] for a, b in found.pairs.items())
    assert len(found.pairs) == 3
    assert str(found) == f"3 of 4 rows are in both; removed: {found.removed[0]}"


def test_ids_that_moved_to_other_prompts_never_pair_them() -> None:
    old = {"0": "aa", "1": "bb", "2": "cc"}
    found = rows_in_common(old, {"0": "bb", "1": "cc"})  # the first row removed, numbered again
    assert found.pairs == {"1": "0", "2": "1"}
    assert (found.changed, found.removed, found.added) == ((), ("0",), ())
    assert rows_in_common(old, dict(old)).identical


def test_an_edited_prompt_is_named_as_changed() -> None:
    found = rows_in_common({"a": "11", "b": "22"}, {"a": "11", "b": "33", "c": "44"})
    assert str(found) == "1 of 3 rows are in both; changed: b; added: c"
    many = rows_in_common({str(i): str(i) for i in range(9)}, {"x": "x"})
    assert str(many).endswith("removed: 0, 1, 2, 3, 4 and 4 more; added: x")
    assert (many.share, rows_in_common({}, {}).share) == (0.0, 0.0)


VERSIONS = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["1", "2", "3"]))


@given(VERSIONS, VERSIONS)
def test_rows_are_paired_once_and_only_with_their_own_content(
    old: dict[str, str], new: dict[str, str]
) -> None:
    found = rows_in_common(old, new)
    assert all(old[a] == new[b] for a, b in found.pairs.items())
    assert len(set(found.pairs.values())) == len(found.pairs)
    most = sum(min([*old.values()].count(c), [*new.values()].count(c)) for c in set(old.values()))
    assert len(found.pairs) == most
    assert found.identical == (sorted(old.values()) == sorted(new.values()))


# --- records of earlier versions -----------------------------------------------------------------


@pytest.mark.parametrize("present", ["s.jsonl", "renamed.jsonl", "s.ndjson"])
def test_an_earlier_record_is_mapped_where_its_digest_can_be_recomputed(
    present: str, jsonl: Writer
) -> None:
    split = load_split(str(jsonl(present, ROWS)))
    ids = legacy_ids(split, "s", OLD_DIGEST)
    assert ids is not None
    assert list(ids) == ["s-1", "s-2", "own", "s-4"]
    assert [ids[name] for name in ids] == [s.id for s in split.samples]
    narrowed = split.only("coding")
    assert legacy_ids(narrowed, "s", OLD_DIGEST) == ids


def test_an_earlier_record_of_a_folder(jsonl: Writer, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    jsonl("d/a.jsonl", ROWS)
    jsonl("d/b.jsonl", [{"turns": ["Eins?"]}])
    split = load_split(str(tmp_path / "d"))
    assert legacy_digest(split) == OLD_FOLDER_DIGEST
    ids = legacy_ids(split, "d", OLD_FOLDER_DIGEST)
    assert ids is not None
    assert list(ids) == ["a-1", "a-2", "own", "a-4", "b-1"]


def test_an_earlier_record_of_other_rows_is_not_mapped(jsonl: Writer) -> None:
    for rows in (ROWS[1:], ROWS[::-1], [*ROWS, ROWS[1]]):
        split = load_split(str(jsonl("s.jsonl", rows)))
        assert legacy_ids(split, "s", OLD_DIGEST) is None


def test_a_present_digest_needs_no_mapping() -> None:
    split = make_split("x", [sample("1"), sample("2")])
    assert legacy_ids(split, "y", split.digest) == {"1": "1", "2": "2"}


def test_records_of_the_bundled_split_stay_comparable() -> None:
    split = load_split("qualitative:math")
    old = "5ae7c2b41e51f0d5b4c47ce299d02e51cf2f7ca1aebf1d9ba229d1c26ff44a52"
    ids = legacy_ids(split, "qualitative", old)
    assert ids is not None
    assert len(ids) == 880
    assert all(name == now for name, now in ids.items())
