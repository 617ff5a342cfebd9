"""Throughput buckets: exact length, distinct beginnings, whole instructions, a stable cache."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.splits import (
    TIERS,
    SplitError,
    TargetTokenizer,
    load_split,
    split_slices,
    throughput,
    throughput_bucket,
)
from pytest_speedbench.splits.fitting import Fitter
from pytest_speedbench.splits.material import load_material
from pytest_speedbench.splits.recipes import task
from pytest_speedbench.splits.reuse import PrefixBook, ReuseMeter
from pytest_speedbench.splits.throughput import build_report, build_throughput, cache_dir

from .conftest import word_tokenizer


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of builds that the tests of this module share."""
    return tmp_path_factory.mktemp("cache")


def test_every_prompt_renders_to_the_exact_length(cache: Path) -> None:
    words = word_tokenizer()
    split = build_throughput("1k", words, per_tier=16, cache=cache)
    assert {len(words.render(s.messages())) for s in split.samples} == {1024}
    assert split.slices == TIERS
    assert split.axis == "entropy"
    assert len(split.samples) == 48
    assert {s.sub_category for s in split.select("low_entropy")} == {
        "completion",
        "sorting",
        "annotation",
    }


@given(st.sampled_from(TIERS), st.integers(0, 511), st.integers(1024, 5000))
def test_any_task_fits_any_length_with_its_instruction_whole(
    tier: str, index: int, length: int
) -> None:
    text, ids = Fitter(word_tokenizer(), length).fit(task(tier, "1k", index, load_material()))
    assert len(ids) == length
    instruction = text.rpartition("\n\n---\n")[2]
    assert instruction.endswith((".", "»"))


def test_the_needle_occurs_once() -> None:
    for index in range(0, 20, 2):
        job = task("mixed", "2k", index, load_material())
        text, _ = Fitter(word_tokenizer(), 2048).fit(job)
        assert job.kind == "needle"
        assert text.count("By the way: the combination of") == 1


def test_beginnings_differ_and_reuse_is_reported(cache: Path) -> None:
    words = word_tokenizer()
    report = build_report("1k", words, per_tier=16, cache=cache)
    split = build_throughput("1k", words, per_tier=16, cache=cache)
    starts = {tuple(words.render(s.messages())[:256]) for s in split.samples}
    assert len(starts) == 48
    assert report.preamble == 3
    assert report.preamble <= report.shared_prefix < 256
    assert all(0 <= tier.reused_share < 1 for tier in report.tiers)
    assert [tier.samples for tier in report.tiers] == [16, 16, 16]


def test_a_small_build_is_the_beginning_of_a_large_one(tmp_path: Path) -> None:
    words = word_tokenizer()
    small = build_throughput("1k", words, per_tier=2, cache=tmp_path / "a")
    large = build_throughput("1k", words, per_tier=4, cache=tmp_path / "a")
    for tier in TIERS:
        assert small.select(tier) == large.select(tier, n=2)
    assert small.digest == large.digest
    assert small.version == large.version
    again = build_throughput("1k", words, per_tier=4, cache=tmp_path / "b")
    assert again == large


def test_the_cache_serves_what_is_there(tmp_path: Path) -> None:
    words = word_tokenizer()
    build_throughput("1k", words, per_tier=4, cache=tmp_path)
    reported: list[str] = []
    build_throughput(
        "1k", words, per_tier=2, cache=tmp_path, progress=lambda s, d, t: reported.append(s)
    )
    assert reported == []
    assert [p.name[-2:] for p in (tmp_path / "throughput_1k").iterdir()] == ["-4"]


def test_another_tokenizer_is_another_digest(tmp_path: Path) -> None:
    digests = {
        build_throughput("1k", word_tokenizer(preamble), per_tier=1, cache=tmp_path).digest
        for preamble in (1, 2)
    }
    assert len(digests) == 2


def test_load_split_builds_into_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEEDBENCH_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path / "splits"
    split = load_split("throughput_1k:mixed", tokenizer=word_tokenizer(), per_tier=2)
    assert split.slices == ("mixed",)
    assert len(split.samples) == 2
    assert split_slices("throughput_32k") == TIERS


def test_the_folder_of_a_build_is_a_split(tmp_path: Path) -> None:
    built = build_throughput("1k", word_tokenizer(), per_tier=3, cache=tmp_path)
    report = build_report("1k", word_tokenizer(), per_tier=3, cache=tmp_path)
    assert throughput_bucket("throughput_8k") == "8k"
    assert throughput_bucket(f"{report.folder}:mixed") == "1k"
    assert throughput_bucket("qualitative") is None
    again = load_split(report.folder)  # no tokenizer: what is built is built
    assert (again.name, again.digest, again.samples) == (built.name, built.digest, built.samples)
    assert split_slices(report.folder) == TIERS
    assert len(load_split(f"{report.folder}:mixed", per_tier=2).samples) == 2
    with pytest.raises(SplitError, match="holds 3 samples a tier, 4 were requested; build more"):
        load_split(report.folder, per_tier=4)


def test_a_broken_cache_names_the_fix(tmp_path: Path) -> None:
    words = word_tokenizer()
    build_throughput("1k", words, per_tier=1, cache=tmp_path)
    (folder,) = (tmp_path / "throughput_1k").iterdir()
    for text in ("{", "[]", "{}", '{"tiers": [{"tier": "mixed"}]}', '{"tiers": 3}'):
        (folder / "build.json").write_text(text)
        throughput._read.cache_clear()
        with pytest.raises(SplitError, match="delete the folder, it is built again"):
            build_throughput("1k", words, per_tier=1, cache=tmp_path)
        with pytest.raises(SplitError, match="delete the folder, it is built again"):
            load_split(str(folder))


def test_another_tools_build_json_makes_no_split_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "build.json").write_text("{}")
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Why?"}\n')
    assert len(load_split(str(tmp_path)).samples) == 1
    assert throughput_bucket(str(tmp_path)) is None


def test_bad_requests(tmp_path: Path) -> None:
    words = word_tokenizer()
    with pytest.raises(SplitError, match=r"unknown throughput bucket '3k'.*1k, 2k, 8k, 16k, 32k"):
        build_throughput("3k", words, cache=tmp_path)
    for wrong in (0, 513):
        with pytest.raises(SplitError, match=f"per_tier must be 1 to 512, got {wrong}"):
            build_throughput("1k", words, per_tier=wrong, cache=tmp_path)


def test_a_template_that_leaves_no_space_is_named(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="leaves no space for a body in 1024 tokens"):
        build_throughput("1k", word_tokenizer(preamble=1000), per_tier=1, cache=tmp_path)


def test_a_template_that_fixes_the_first_256_tokens_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_speedbench.splits.throughput.PER_TIER", 2)
    with pytest.raises(SplitError, match="more than 256 fixed tokens first"):
        build_throughput("1k", word_tokenizer(preamble=300), per_tier=2, cache=tmp_path)


def test_a_render_that_never_has_the_length_is_named(tmp_path: Path) -> None:
    words = word_tokenizer()

    def even(messages: list[dict[str, str]]) -> list[int]:
        ids = words.render(messages)
        return [*ids, 7, 7] if len(ids) % 2 else [*ids, 7]

    odd = TargetTokenizer("odd", even, words.encode, words.decode)
    with pytest.raises(SplitError, match=r"'odd': no cut of a completion prompt .* 1024 tokens"):
        build_throughput("1k", odd, per_tier=1, cache=tmp_path)


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(SplitError):
        build_throughput("1k", word_tokenizer(preamble=1000), per_tier=1, cache=tmp_path)
    assert list((tmp_path / "throughput_1k").iterdir()) == []


def test_prefix_book_and_reuse_meter() -> None:
    book = PrefixBook()
    assert book.add([1, 2, 3])
    assert book.add([1, 2, 4])
    assert not book.add([1, 2, 3])
    assert book.longest_shared() == 2
    meter = ReuseMeter()
    assert meter.share() == 0.0
    meter.add("a line of some twenty letters\nanother line that is long enough")
    assert meter.share() == 0.0
    meter.add("a line of some twenty letters\nand one that nobody has seen ye")
    assert 0.2 < meter.share() < 0.3
    meter.begin()
    assert meter.share() == 0.0


def test_rows_on_disk_are_plain_jsonl(tmp_path: Path) -> None:
    build_throughput("1k", word_tokenizer(), per_tier=1, cache=tmp_path)
    (folder,) = (tmp_path / "throughput_1k").iterdir()
    row = json.loads((folder / "mixed.jsonl").read_text(encoding="utf-8"))
    assert row["id"] == "mixed-1k-0000"
    assert row["category"] == "mixed"
    assert len(row["turns"]) == 1
