"""``speedbench splits …`` on small splits, with a tiny encoder and a tokenizer of words."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_speedbench.measure import tokenizer

from .conftest import Speedbench


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    texts = ("How do tides work?", "Sort a list\x1b[31m of apples", "how do  TIDES work?")
    rows = [
        {"id": f"p{i}", "category": "qa", "turns": [text], "language": "en"}
        for i, text in enumerate(texts)
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_list(speedbench: Speedbench) -> None:
    result = speedbench("splits", "list")
    assert result.code == 0
    assert "qualitative     version " in result.out
    for name in ("throughput_1k", "throughput_32k", "random", "nvidia/SPEED-Bench:CONFIG"):
        assert name in result.out


def test_show(speedbench: Speedbench, prompts: Path) -> None:
    result = speedbench("splits", "show", prompts, "--samples", "2")
    assert result.code == 0
    assert "prompts" in result.out.splitlines()[0]
    assert "licence not stated" in result.out
    assert "p0 (qa, en)\nuser: How do tides work?" in result.out
    assert "user: Sort a list\\x1b[31m of apples" in result.out
    assert "p2" not in result.out


@pytest.mark.parametrize("name", ["random_prompts", "throughput_of_ours"])
def test_show_a_file_that_is_called_like_a_built_in_split(
    speedbench: Speedbench, prompts: Path, name: str
) -> None:
    path = prompts.rename(prompts.with_name(f"{name}.jsonl"))
    assert speedbench("splits", "show", path).code == 0
    named = speedbench("splits", "show", f"{name}={path}:qa", "--samples", "1")
    assert (named.code, named.out.splitlines()[0].strip()) == (0, name)


def test_show_a_session_with_tool_results(speedbench: Speedbench) -> None:
    result = speedbench("splits", "show", "agentic_8k:data", "--samples", "1")
    assert result.code == 0
    assert "migration-postgres-split (data, migration, en)" in result.out
    assert "system: You are an engineering agent." in result.out
    assert "user: <tool_result>\nname: run_command\narguments: {" in result.out


def test_show_bundled_category(speedbench: Speedbench) -> None:
    result = speedbench("splits", "show", "qualitative:math", "--samples", "1")
    assert result.code == 0
    assert "math-" in result.out
    assert "coding" not in result.out


def test_show_random_counts_token_ids(
    speedbench: Speedbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "load_tokenizer", lambda kind, model: tokenizer.WordTokenizer())
    result = speedbench("splits", "show", "random", "--model", "m", "--samples", "1")
    assert result.code == 0
    assert "token ids" in result.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "qualitativ"), "unknown split 'qualitativ'; did you mean 'qualitative'?"),
        (("show", "no/such.jsonl"), "split file 'no/such.jsonl' does not exist"),
        (("show", "throughput_1k"), "is built for a tokenizer: give the model with --model"),
        (("check", "nope", "--no-embeddings"), "unknown split 'nope'"),
        (("show", "math"), "'math'; it is a category of the split qualitative: 'qualitative:math'"),
        (("curate", "/nope"), "pool '/nope' holds no <category>.jsonl"),
        (("build", "1k"), "--model MODEL or --encoding o200k_base"),
        (("build", "1k", "--model", "m", "--encoding", "o200k_base"), "o200k_base, not both"),
        (("show", "x.jsonl", "--columns", "prompt"), "cannot read 'prompt': expected FIELD=COLUMN"),
        (("check", "x", "--no-embeddings", "--heatmap", "x.png"), "--heatmap has no effect"),
    ],
)
def test_wrong_usage(speedbench: Speedbench, arguments: tuple[str, ...], message: str) -> None:
    result = speedbench("splits", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_check_finds_duplicates(speedbench: Speedbench, prompts: Path) -> None:
    result = speedbench("splits", "check", prompts, "--no-embeddings")
    assert result.code == 1
    assert "identical text: 1\n  p0 = p2" in result.out
    assert "languages: en 3" in result.out
    assert "scripts: LATIN 3" in result.out
    assert "not checked (--no-embeddings)" in result.out


def test_check_of_the_bundled_split_is_clean(speedbench: Speedbench) -> None:
    result = speedbench("splits", "check", "qualitative", "--no-embeddings")
    assert result.code == 0
    assert "identical text: none" in result.out


@pytest.mark.usefixtures("bag_of_words")
def test_check_against_another_split_with_a_heatmap(
    speedbench: Speedbench, prompts: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "map.png"
    result = speedbench(*("splits", "check", prompts, "--against", prompts, "--heatmap", picture))
    assert result.code == 1
    assert "near duplicates (cosine above 0.85): 1\n  p0 ~ p2 1.000" in result.out
    assert f"close to {prompts} (cosine above 0.9): 3" in result.words
    assert f"written: {picture}" in result.out
    assert picture.read_bytes().startswith(b"\x89PNG")


def _pool(folder: Path) -> Path:
    pool = folder / "pool"
    pool.mkdir()
    for category, words in (("math", "sum of"), ("qa", "why is")):
        rows = [
            {"id": f"{category}-{i}", "category": category, "turns": [f"{words} {i} w{i * i} v{i}"]}
            for i in range(8)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (pool / f"{category}.jsonl").write_text(text)
    return pool


@pytest.mark.usefixtures("bag_of_words")
def test_curate_writes_a_split_and_again_the_same(speedbench: Speedbench, tmp_path: Path) -> None:
    pool = _pool(tmp_path)
    result = speedbench("splits", "curate", pool, "--per-category", "3", "--version", "7")
    out = tmp_path / "qualitative"
    assert result.code == 0
    assert f"written: {out}, version 7, digest " in result.out
    card = (out / "split.json").read_bytes()
    assert json.loads(card)["categories"] == {"math": 3, "qa": 3}
    assert speedbench("splits", "curate", pool, "--per-category", "3").code == 0
    assert (out / "split.json").read_bytes() == card  # the version is kept
    (out / "split.json").write_text("{}")
    damaged = speedbench("splits", "curate", pool, "--per-category", "3")
    assert (damaged.code, "give one with --version" in damaged.err) == (2, True)


@pytest.mark.usefixtures("bag_of_words")
def test_curate_from_too_small_a_pool(speedbench: Speedbench, tmp_path: Path) -> None:
    result = speedbench("splits", "curate", _pool(tmp_path), "--per-category", "80")
    assert result.code == 2
    assert "lower --per-category to" in result.err


def test_columns_are_mapped_and_bad_rows_left_out(speedbench: Speedbench, tmp_path: Path) -> None:
    path = tmp_path / "tickets.csv"
    path.write_text("ticket,body\n1,My printer is on fire\n2,\n")
    mapped = ("splits", "check", path, "--no-embeddings", "--columns", "prompt=body,id=ticket")
    refused = speedbench(*mapped)
    assert (refused.code, "row 2: column 'body' is missing or empty" in refused.err) == (2, True)
    kept = speedbench(*mapped, "--keep-good")
    assert kept.code == 0
    assert "all            1" in kept.out
    assert kept.err.startswith("speedbench: warning: left out 1 bad row, 1 good")


@pytest.mark.usefixtures("bag_of_words")
def test_check_writes_a_page(speedbench: Speedbench, prompts: Path, tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    pytest.importorskip("matplotlib")
    page = tmp_path / "check.html"
    result = speedbench("splits", "check", prompts, "--against", prompts, "--html", page)
    assert f"written: {page}" in result.out
    text, pictures = re.subn(
        r'src="data:image/png;base64,iVBOR[\w+/=]+"', "", page.read_text(encoding="utf-8")
    )
    assert pictures == 1
    assert "p0 = p2" in text
    assert '<th scope="row">qa</th>' in text
    assert not re.search(r'(src|href)="(?!#)|https?://|@import|url\(', text)  # nothing is fetched


@pytest.mark.usefixtures("bag_of_words")
def test_check_writes_a_page_without_matplotlib(
    speedbench: Speedbench, prompts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jinja2")
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name)
    )
    page = tmp_path / "check.html"
    result = speedbench("splits", "check", prompts, "--html", page)
    assert (result.code, f"written: {page}" in result.out) == (1, True)
    assert "the page has no heatmap, since matplotlib is not installed" in result.err
    assert "<img" not in page.read_text(encoding="utf-8")


def test_a_page_without_embeddings_has_no_column_of_similarity(
    speedbench: Speedbench, prompts: Path, tmp_path: Path
) -> None:
    pytest.importorskip("jinja2")
    page = tmp_path / "check.html"
    result = speedbench("splits", "check", prompts, "--no-embeddings", "--html", page)
    assert f"written: {page}" in result.out
    text = page.read_text(encoding="utf-8")
    assert "imilarity" not in text
    assert text.count("<td") == 7 * text.count('<th scope="row">')


def test_names_with_control_characters_stay_in_one_line(
    speedbench: Speedbench, tmp_path: Path
) -> None:
    path = tmp_path / "p.jsonl"
    row = {"id": "i\x1b[31m\n4 pass", "category": "c\r\nall 9", "language": "e\x9bn"}
    rows = [row | {"id": row["id"] + end, "prompt": "Hi"} for end in "ab"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = speedbench("splits", "show", path).out
    assert "c\\r\\nall 9  " in shown
    assert "i\\x1b[31m\\n4 passa (c\\r\\nall 9, e\\x9bn)" in shown
    checked = speedbench("splits", "check", path, "--no-embeddings").out
    assert "i\\x1b[31m\\n4 passa = i\\x1b[31m\\n4 passb" in checked
    assert "languages: e\\x9bn 2" in checked


def test_build_in_a_fixed_encoding(
    speedbench: Speedbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Words:
        n_vocab = 200

        def encode(self, text: str, disallowed_special: object) -> list[int]:
            return [ord(char) % 200 for char in text]

    module = SimpleNamespace(get_encoding=lambda name: Words())
    monkeypatch.setitem(sys.modules, "tiktoken", module)
    arguments = ("--encoding", "o200k_base", "--per-tier", "1", "--cache", tmp_path)
    result = speedbench("splits", "build", "8k", *arguments)
    assert (result.code, result.err) == (0, "")
    assert "8,192 tokens each, counted by o200k_base, 0 of them" in result.words


def test_build(speedbench: Speedbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Bytes(tokenizer.WordTokenizer):
        """One token a byte: what is cut at a token is cut anywhere."""

        def render(self, messages: Any) -> list[int]:
            return [1, *(i for m in messages for i in self.encode(m["content"])), 2]

        def encode(self, text: str) -> list[int]:
            return [16 + byte for byte in text.encode()]

        def decode(self, token_ids: Any) -> str:
            return bytes(token - 16 for token in token_ids).decode(errors="ignore")

    monkeypatch.setattr(tokenizer, "load_tokenizer", lambda kind, model: Bytes())
    arguments = ("--model", "bytes", "--per-tier", "1", "--cache", tmp_path)
    result = speedbench("splits", "build", "8k", *arguments)
    assert (result.code, result.err) == (0, "")
    assert "throughput_8k, digest " in result.out
    assert "8,192 tokens each, counted by bytes" in result.words
    for tier in ("low_entropy", "mixed", "high_entropy"):
        assert tier in result.out
    kept = result.out.splitlines()[-1].removeprefix("cached in: ")
    shown = speedbench("splits", "show", kept, "--samples", "1")
    assert shown.out.startswith("throughput_8k 1/py")
    assert "mixed" in shown.out
    unknown = speedbench("splits", "build", "3k", *arguments)
    assert (unknown.code, "unknown throughput bucket '3k'" in unknown.err) == (2, True)
