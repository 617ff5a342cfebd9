"""Every format, on small files of its schema, and on the real Spec-Bench file."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.splits import Sample, SplitError, load_split

from .conftest import SPEC_BENCH, Writer, needs_spec_bench

ROWS: dict[str, dict[str, Any]] = {
    "own": {"id": "a", "category": "qa", "turns": ["Why?", "And then?"], "language": "en"},
    "mt_bench": {"question_id": 81, "category": "writing", "turns": ["Write.", "Again."]},
    "speed_bench": {
        "question_id": "q1",
        "category": "coding",
        "sub_category": "python",
        "turns": ["Code it."],
        "source": "x",
        "src_id": "7",
        "difficulty": "easy",
        "multiturn": False,
    },
    "humaneval": {
        "task_id": "HumanEval/0",
        "prompt": "def f(x):\n",
        "canonical_solution": "    return x\n",
        "test": "assert f(1) == 1",
        "entry_point": "f",
    },
    "gsm8k": {"question": "Ann has 3 eggs …", "answer": "#### 3"},
    "math500": {
        "problem": "Find x.",
        "solution": "…",
        "answer": "2",
        "subject": "Algebra",
        "level": 2,
        "unique_id": "test/algebra/1.json",
    },
    "mbpp": {
        "task_id": 11,
        "text": "Write f.",
        "code": "def f(): ...",
        "test_list": ["assert f() is None"],
    },
    "sharegpt": {
        "id": "x_0",
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Hi"},
            {"from": "gpt", "value": "Hello"},
            {"from": "human", "value": "Bye"},
        ],
    },
    "messages": {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Bye"},
        ]
    },
    "plain": {"prompt": "Tell me."},
}
# An empty id means a row without one: it is named by its content.
EXPECTED: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "own": ("a", "qa", ("Why?", "And then?")),
    "mt_bench": ("81", "writing", ("Write.", "Again.")),
    "speed_bench": ("q1", "coding", ("Code it.",)),
    "humaneval": ("HumanEval/0", "coding", ("def f(x):\n",)),
    "gsm8k": ("", "math", ("Ann has 3 eggs …",)),
    "math500": ("test/algebra/1.json", "math", ("Find x.",)),
    "mbpp": (
        "11",
        "coding",
        ("Write f. Your code should pass these tests:\n\nassert f() is None",),
    ),
    "sharegpt": ("x_0", "default", ("Hi", "Bye")),
    "messages": ("", "default", ("Hi", "Bye")),
    "plain": ("", "default", ("Tell me.",)),
}


def check(only: Sample, expected: tuple[str, str, tuple[str, ...]]) -> None:
    assert (only.id, only.category, only.turns) == (expected[0] or only.content, *expected[1:])


@pytest.mark.parametrize("name", ROWS)
def test_each_format_is_recognised(name: str, jsonl: Writer) -> None:
    only = load_split(str(jsonl("rows.jsonl", [ROWS[name]]))).samples[0]
    check(only, EXPECTED[name])


@pytest.mark.parametrize("name", ["sharegpt", "messages"])
def test_system_prompts_are_kept(name: str, jsonl: Writer) -> None:
    assert load_split(str(jsonl("rows.jsonl", [ROWS[name]]))).samples[0].system == "Be brief."


@pytest.mark.parametrize("name", ROWS)
def test_each_format_reads_the_same_from_a_json_list(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([ROWS[name]]), encoding="utf-8")
    only = load_split(str(path)).samples[0]
    check(only, EXPECTED[name])


@pytest.mark.parametrize("name", ROWS)
def test_each_format_reads_the_same_from_parquet(name: str, tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    row = ROWS[name]
    if name == "messages":  # parquet has one type a column
        row = {"messages": [m for m in row["messages"] if isinstance(m["content"], str)]}
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.Table.from_pylist([row]), path)
    only = load_split(str(path)).samples[0]
    expected = EXPECTED[name] if name != "messages" else ("", "default", ("Bye",))
    check(only, expected)


def test_a_folder_of_parquet_is_read_by_configuration(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    folder = tmp_path / "speed" / "qualitative"
    folder.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist([ROWS["speed_bench"]]), folder / "test-0.parquet")
    for name in (str(folder), f"{folder.parent}:qualitative", f"{folder}:coding"):
        assert [s.id for s in load_split(name).samples] == ["q1"]


def test_csv_with_mapped_columns(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerows([["nr", "Frage", "Thema"], ["7", "Wie,\nwarum?", "Küche"]])
    columns = {"id": "nr", "prompt": "Frage", "category": "Thema"}
    only = load_split(str(path), columns=columns).samples[0]
    assert (only.id, only.category, only.turns) == ("7", "Küche", ("Wie,\nwarum?",))


def test_a_mapped_column_that_is_missing_is_named(jsonl: Writer) -> None:
    path = jsonl("rows.jsonl", [{"q": "Why?"}])
    with pytest.raises(SplitError, match=r"row 1: column 'frage' is missing or empty; .* has q"):
        load_split(str(path), columns={"prompt": "frage"})
    with pytest.raises(SplitError, match=r"unknown field in columns= 'promt'; did you mean 'prom"):
        load_split(str(path), columns={"promt": "q"})


@needs_spec_bench
def test_the_real_spec_bench_file() -> None:
    split = load_split(str(SPEC_BENCH / "question.jsonl"))
    sizes = {name: len(split.select(name)) for name in split.slices}
    assert len(split.samples) == 480
    assert len(sizes) == 13
    assert sizes["coding"] == 10
    assert sizes["translation"] == 80
    assert all(len(s.turns) == 2 for s in split.select("writing"))
    assert len(load_split(f"{SPEC_BENCH / 'question.jsonl'}:rag").samples) == 80
