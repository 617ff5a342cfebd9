"""Bad input: one clear message with the row and the fix; good rows kept only if asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.splits import SplitError, SplitWarning, formats, load_split, rows

from .conftest import Writer

GOOD = {"id": "g", "turns": ["Fine?"]}
BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"id": "b", "turns": []}, "the row has no turns"),
    ({"id": "b", "turns": None}, "the row has no turns"),
    ({"id": "b", "turns": "Why?"}, "'turns' must be a list of strings, got str"),
    ({"id": "b", "turns": [3]}, r"'turns\[0\]' must be a string, got int"),
    ({"id": "b", "turns": ["ok", "  "]}, r"'turns\[1\]' is empty"),
    ({"id": [1], "turns": ["x"]}, "'id' must be a non-empty string or an integer, got"),
    ({"id": "b", "turns": ["x"], "category": ""}, "'category' must be a non-empty string"),
    ({"id": "b", "turns": ["x"], "category": "all"}, "category 'all' is reserved"),
    ({"id": "b", "turns": ["x"], "language": ["en"]}, "'language' must be a string, got list"),
    ({"id": "b", "turns": ["\ud800"]}, "half of a surrogate pair"),
    ({"id": "b\ud800", "turns": ["x"]}, "'id' holds half of a surrogate pair"),
    ({"turns": ["x"], "category": "\ud800"}, "'category' holds half of a surrogate pair"),
    ({"turns": ["x"], "language": "\ud800"}, "'language' holds half of a surrogate pair"),
    ({"id": "b" * 501, "turns": ["x"]}, "'id' has 501 characters; expected at most 500"),
    ({"turns": ["x"], "category": "c" * 501}, "'category' has 501 characters"),
    ({"id": "b", "turns": ["x"], "system": 3}, "'system' must be a string, got int"),
    (
        {"id": "b", "turns": ["FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE USING …"]},
        r"unresolved placeholder of nvidia/SPEED-Bench.*prepare_data\.py",
    ),
]


@pytest.mark.parametrize(("row", "message"), BAD_ROWS)
def test_a_bad_row_is_named_and_can_be_left_out(
    row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{json.dumps(GOOD)}\n{json.dumps(row)}\n", encoding="utf-8")
    with pytest.raises(SplitError, match=rf"(?s)row 2: .*{message}.*keep_good=True"):
        load_split(str(path))
    with pytest.warns(SplitWarning, match=r"left out 1 bad row, 1 good"):
        assert [s.id for s in load_split(str(path), keep_good=True).samples] == ["g"]


RAW: list[tuple[bytes, str]] = [
    (b"{not json}", "row 2: not JSON"),
    (b"[1, 2]", "row 2: expected a JSON object, got list"),
    (b'{"turns": ["caf\xe9"]}', r"row 2: not UTF-8 \(byte 0xe9 at byte 16 .*iconv -f latin1"),
    (b"[" * 100_000, "row 2: (JSON nested too deeply|not JSON)"),
    (b'{"id": ' + b"1" * 5000 + b"}", "row 2: JSON with a number of thousands of digits"),
]


@pytest.mark.parametrize(("line", "message"), RAW)
def test_a_line_that_is_not_a_row(line: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + line + b"\n")
    with pytest.raises(SplitError, match=message):
        load_split(str(path))


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 200_000, f"[{'1' * 5000}]"])
def test_a_document_that_python_cannot_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(SplitError, match=r"rows\.json.*: (JSON |not JSON)"):
        load_split(str(tmp_path / "rows.json"))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    memory = Path("/proc/self/mem")  # a file whose first byte is an error
    if not memory.exists():
        pytest.skip("no /proc")
    (tmp_path / "rows.jsonl").symlink_to(memory)
    with pytest.raises(SplitError, match=r"rows\.jsonl: cannot be read: "):
        load_split(str(tmp_path / "rows.jsonl"))


def test_a_column_twice_in_a_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("prompt,id,prompt\na,1,b\n")
    with pytest.raises(SplitError, match="the header names the column 'prompt' 2 times"):
        load_split(str(tmp_path / "rows.csv"))


def test_utf16_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(GOOD).encode("utf-16"))
    with pytest.raises(SplitError, match=r"row 1: the file is UTF-16.*iconv"):
        load_split(str(path))


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert load_split(str(path)).samples[0].id == "g"


@pytest.mark.parametrize("extra", [1, 2, 50, 1000])
def test_an_overlong_line_is_refused_without_being_read_whole(
    extra: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 100)
    path = tmp_path / "rows.jsonl"
    good = json.dumps(GOOD).encode()
    path.write_bytes(b"x" * (99 + extra) + b"\n" + good + b"\n")
    with pytest.raises(SplitError, match=r"row 1: the line is longer than 16 MiB"):
        load_split(str(path))
    with pytest.warns(SplitWarning, match="left out 1 bad row"):
        assert len(load_split(str(path), keep_good=True).samples) == 1


def test_duplicate_ids_name_both_rows(jsonl: Writer) -> None:
    path = jsonl("rows.jsonl", [GOOD, {"id": "h", "turns": ["x"]}, GOOD])
    with pytest.raises(SplitError, match=r"row 3: duplicate id 'g', first used in row 1"):
        load_split(str(path))


def test_no_row_usable_is_never_kept(jsonl: Writer) -> None:
    path = jsonl("rows.jsonl", [{"id": "b", "turns": []}])
    with pytest.raises(SplitError, match="No row is usable"):
        load_split(str(path), keep_good=True)


def test_many_bad_rows_are_summed_up(jsonl: Writer) -> None:
    path = jsonl("rows.jsonl", [GOOD, *({"id": str(i), "turns": []} for i in range(9))])
    with pytest.raises(SplitError, match=r"(?s)9 bad rows, 1 good:.*… and 4 more"):
        load_split(str(path))


@pytest.mark.parametrize("name", ["e.jsonl", "e.csv"])
def test_an_empty_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("")
    with pytest.raises(SplitError, match="holds no rows"):
        load_split(str(tmp_path / name))


def test_unknown_columns_are_listed_with_the_way_out(jsonl: Writer) -> None:
    with pytest.raises(SplitError, match=r"the columns are foo, bar; expected .*columns="):
        load_split(str(jsonl("rows.jsonl", [{"foo": 1, "bar": 2}])))


def test_an_image_part_is_refused(jsonl: Writer) -> None:
    content = [{"type": "image_url", "image_url": {"url": "x"}}]
    path = jsonl("rows.jsonl", [{"messages": [{"role": "user", "content": content}]}])
    with pytest.raises(SplitError, match=r"'messages\[0\].content' holds a part that is not text"):
        load_split(str(path))


def test_a_conversation_without_the_user_has_no_turns(jsonl: Writer) -> None:
    path = jsonl("rows.jsonl", [{"messages": [{"role": "assistant", "content": "Hi"}]}])
    with pytest.raises(SplitError, match="the row has no turns: no human or user in 'messages'"):
        load_split(str(path))


def test_csv_with_too_many_fields(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt\na,b\n")
    with pytest.raises(SplitError, match="row 1: more fields than the header has"):
        load_split(str(path))


def test_an_overlong_csv_line_is_refused_without_being_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MAX_LINE_BYTES", 2**20)
    path = tmp_path / "long.csv"
    path.write_bytes(b"id,prompt\n1," + b"x" * (2**20 + 1) + b"\n")
    with pytest.raises(SplitError, match=r"long\.csv: not readable as CSV: line 2 is longer"):
        load_split(str(path))


def test_csv_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("id,prompt\n1,café?\n".encode("latin-1"))
    with pytest.raises(SplitError, match=r"line 2: not UTF-8 \(byte 0xe9 .* iconv -f latin1"):
        load_split(str(path))


def test_a_separator_of_lines_inside_a_csv_field_is_text(tmp_path: Path) -> None:
    path = tmp_path / "u.csv"
    path.write_text('id,prompt\n1,one\u2028two\n2,"a\nb"\n', encoding="utf-8")
    assert [s.turns for s in load_split(str(path)).samples] == [("one\u2028two",), ("a\nb",)]


def test_a_text_beyond_any_model_is_refused(jsonl: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "MAX_TEXT", 10)
    with pytest.raises(SplitError, match="'prompt' has 11 characters; no model takes"):
        load_split(str(jsonl("long.jsonl", [{"prompt": "x" * 11}])))


def test_an_id_in_two_files_of_a_folder_names_both(jsonl: Writer) -> None:
    jsonl("a.jsonl", [{"id": "7", "prompt": "one"}])
    folder = jsonl("b.jsonl", [{"id": "7", "prompt": "two"}]).parent
    with pytest.raises(SplitError, match=r"b\.jsonl: id '7' is used in .*a\.jsonl too"):
        load_split(str(folder))


def test_json_that_is_not_a_list(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text("3")
    with pytest.raises(SplitError, match="expected a JSON list of objects, got int"):
        load_split(str(path))
    path.write_text("[1,")
    with pytest.raises(SplitError, match=r"rows\.json, line 1: not JSON"):
        load_split(str(path))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("qualitativ", r"unknown split 'qualitativ'; did you mean 'qualitative'\? Allowed: qual"),
        ("nope.jsonl", r"'nope.jsonl' does not exist \(looked in"),
        ("a/b", "'a/b' does not exist"),
        ("qualitative:maths", r"'maths'; did you mean 'math'\?"),
        ("random:math", "split 'random': unknown category 'math'"),
        ("nvidia/SPEED-Bench:qualitativ", r"'qualitativ'; did you mean 'qualitative'\?"),
        ("throughput_1k", "built to an exact length in the target's tokenizer"),
    ],
)
def test_names_that_are_not_a_split(name: str, message: str) -> None:
    with pytest.raises(SplitError, match=message):
        load_split(name)


def test_a_file_type_that_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_text("x")
    with pytest.raises(SplitError, match=r"file type of 'rows.xlsx'.* Allowed: .jsonl"):
        load_split(str(tmp_path / "rows.xlsx"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SplitError, match="holds no split file"):
        load_split(str(tmp_path / "empty"))


def test_parquet_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(SplitError, match=r"needs the package 'pyarrow'.*pytest-speedbench\[hub\]"):
        load_split(str(tmp_path / "rows.parquet"))


def test_a_file_that_is_not_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(SplitError, match="not a readable parquet file"):
        load_split(str(tmp_path / "rows.parquet"))


def test_a_parquet_file_with_a_damaged_page(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.table({"prompt": [f"Prompt {i}?" for i in range(2000)]}), path)
    raw = bytearray(path.read_bytes())
    raw[2000:2400] = b"\xff" * 400
    path.write_bytes(raw)
    with pytest.raises(SplitError, match="not a readable parquet file"):
        load_split(str(path))


def test_the_hub_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SplitError, match=r"'datasets'.*pip install 'pytest-speedbench\[hub\]'"):
        load_split("nvidia/SPEED-Bench:throughput_8k")
