"""The bundled split: what ships, and how it is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pytest_speedbench.splits import (
    CATEGORIES,
    SplitError,
    bundled,
    data_dir,
    list_splits,
    load_split,
    split_slices,
)
from pytest_speedbench.splits.curate import curate
from pytest_speedbench.splits.writing import first_rows, read_pool, write_split

from .conftest import Writer, sample


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundled data that a test may spoil."""
    folder = tmp_path / "splits"
    shutil.copytree(data_dir() / "qualitative", folder / "qualitative")
    monkeypatch.setattr(bundled, "data_dir", lambda: folder)
    bundled.load_bundled.cache_clear()
    return folder / "qualitative"


def test_qualitative_has_all_categories_with_multi_turn_samples() -> None:
    split = load_split("qualitative")
    assert split.slices == CATEGORIES == split_slices("qualitative")
    assert split.licence == "Apache-2.0"
    assert split.axis == "category"
    sizes = {len(split.select(name)) for name in split.slices}
    assert len(sizes) == 1
    assert sizes.pop() >= 8
    assert all(any(s.multiturn for s in split.select(name, 8)) for name in split.slices)
    assert {s.licence for s in split.samples} == {"Apache-2.0"}


def test_the_whole_split_holds_what_its_card_promises() -> None:
    split = load_split("qualitative")
    if split.version.startswith("0."):
        pytest.skip("the first small split")
    assert {len(split.select(name)) for name in split.slices} == {80}
    assert sum(s.multiturn for s in split.samples) >= 176
    assert max(len(s.turns) for s in split.samples) <= 5
    languages = {s.language for s in split.select("multilingual")}
    assert len(languages) >= 23
    assert all(s.sub_category and s.difficulty and s.language for s in split.samples)


def test_a_category_of_the_bundled_split_keeps_its_digest() -> None:
    assert load_split("qualitative:math").digest == load_split("qualitative").digest
    assert split_slices("qualitative:math") == ("math",)


def test_a_changed_file_is_noticed(copy: Path) -> None:
    path = copy / "qa.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("?", "!"), encoding="utf-8")
    with pytest.raises(SplitError, match=r"do not match the digest.*speedbench splits curate"):
        load_split("qualitative")


def test_missing_data_names_the_fix(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (copy / "split.json").unlink()
    with pytest.raises(SplitError, match="bundled split 'qualitative': cannot read"):
        split_slices("qualitative")
    monkeypatch.undo()
    monkeypatch.setattr(bundled, "_PACKAGE", copy)
    with pytest.raises(SplitError, match="pip install --force-reinstall pytest-speedbench"):
        bundled.data_dir()


def test_the_listing_names_every_split() -> None:
    names = [line.name for line in list_splits()]
    assert names[0] == "qualitative"
    assert names[-1] == "random"
    assert "throughput_32k" in names
    assert list_splits()[0].digest == load_split("qualitative").digest


def test_writing_is_stable_and_read_back_the_same(tmp_path: Path) -> None:
    chosen = {c: load_split("qualitative").select(c, 3) for c in ("qa", "coding")}
    first = write_split(tmp_path / "a", chosen, version="9")
    second = write_split(tmp_path / "b", dict(reversed(chosen.items())), version="9")
    assert first == second
    for name in ("coding.jsonl", "qa.jsonl", "split.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    card = json.loads((tmp_path / "a" / "split.json").read_text(encoding="utf-8"))
    assert card["categories"] == {"coding": 3, "qa": 3}
    assert card["digest"] == first
    again = load_split(str(tmp_path / "a" / "qa.jsonl")).samples
    assert [s.turns for s in again] == [s.turns for s in chosen["qa"]]


def test_first_rows_hold_a_multi_turn_sample() -> None:
    rows = [sample("1"), sample("2"), sample("3"), sample("4", "qa", "a", "b")]
    assert [s.id for s in first_rows(rows, 2)] == ["1", "4"]
    assert [s.id for s in first_rows(rows[:3], 2)] == ["1", "2"]


def _pool(jsonl: Writer, n: int = 30) -> Path:
    words = ("tide", "loom", "rust", "bell", "salt", "moth", "opal", "reed", "yarn", "dusk")
    for category in ("qa", "coding"):
        rows = [
            {
                "id": f"{category}-{i}",
                "category": category,
                "turns": [f"{words[i % 10]} {words[i // 3 % 10]} {i}", "more"][: 1 + (i % 4 == 0)],
            }
            for i in range(n)
        ]
        path = jsonl(f"{category}.jsonl", rows)
    return path.parent


@pytest.mark.usefixtures("bag_of_words")
def test_curate_writes_a_diverse_split_the_same_way_twice(jsonl: Writer, tmp_path: Path) -> None:
    pool = _pool(jsonl)
    one = curate(pool, tmp_path / "a", per_category=10, version="1")
    two = curate(pool, tmp_path / "b", per_category=10, version="1")
    assert one == two
    for line in one.categories:
        assert line.mean_similarity <= line.greedy_similarity < line.random_similarity
        assert (line.candidates, line.chosen) == (30, 10)
    written = load_split(str(tmp_path / "a" / "qa.jsonl")).samples
    assert sum(s.multiturn for s in written) >= 2
    card = json.loads((tmp_path / "a" / "split.json").read_text(encoding="utf-8"))
    assert card["made"]["candidates"] == {"coding": 30, "qa": 30}


@pytest.mark.usefixtures("bag_of_words")
def test_curate_leaves_out_prompts_of_a_reference(jsonl: Writer, tmp_path: Path) -> None:
    known = [sample("known", "qa", "tide tide 0")]
    report = curate(_pool(jsonl), tmp_path / "a", per_category=5, version="1", references=known)
    assert all(line.left_out[0].endswith("-0") for line in report.categories)


@pytest.mark.usefixtures("bag_of_words")
def test_pools_that_cannot_be_used(jsonl: Writer, tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"holds no <category>.jsonl"):
        read_pool(tmp_path / "nowhere")
    pool = _pool(jsonl)
    with pytest.raises(
        SplitError, match=r"'coding': \d+ distinct candidates of 30, expected at least 40"
    ):
        curate(pool, tmp_path / "a", per_category=40, version="1")
    (pool / "math.jsonl").write_text((pool / "qa.jsonl").read_text())
    with pytest.raises(SplitError, match="holds rows of category 'qa'"):
        read_pool(pool)
