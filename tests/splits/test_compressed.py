"""Split files as they are published: .gz and .zst."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_speedbench.splits import SplitError, compressed, load_split, split_key

TEXTS = ("One?", "Two, or\nthree?")
JSONL = "".join(json.dumps({"turns": [text]}) + "\n" for text in TEXTS).encode()
FILES = {
    "p.jsonl": JSONL,
    "p.json": json.dumps([{"turns": [text]} for text in TEXTS]).encode(),
    "p.csv": b'prompt\nOne?\n"Two, or\nthree?"\n',
}


def zst(raw: bytes) -> bytes:
    zstandard = pytest.importorskip("zstandard")
    half = len(raw) // 2  # two frames, as parallel compressors write
    packed: bytes = zstandard.compress(raw[:half]) + zstandard.compress(raw[half:])
    return packed


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zst)])
@pytest.mark.parametrize("name", FILES)
def test_a_compressed_file_is_the_split_of_its_content(
    name: str, ending: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    packed = tmp_path / f"{name}{ending}"
    packed.write_bytes(pack(FILES[name]))
    split = load_split(str(packed))
    assert split.name == "p"
    assert [s.turns[0] for s in split.samples] == list(TEXTS)
    assert split_key(str(packed)) == split_key(str(tmp_path / name))


def test_a_folder_of_compressed_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(JSONL))
    assert len(load_split(str(tmp_path)).samples) == 2


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zst)])
def test_damaged_data_is_one_clear_error(
    ending: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / f"p.jsonl{ending}"
    raw = pack(JSONL * 50)
    for damaged in (b"not compressed at all", raw[: len(raw) // 2] + b"\xff" * 40):
        path.write_bytes(damaged)
        with pytest.raises(SplitError, match=r"p\.jsonl\.\w+: the compressed data is damaged"):
            load_split(str(path))


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zst)])
def test_a_file_that_ends_early_is_never_read_in_part(
    ending: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tmp_path / f"p.jsonl{ending}"
    raw = pack(JSONL)
    for length in range(len(raw) - 8, len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(SplitError, match=r"damaged .*fetch the file again"):
            load_split(str(path))


def test_a_file_that_expands_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compressed, "MAX_EXPANDED", 10_000)
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(b"\n" * 200_000))
    with pytest.raises(SplitError, match="expands to more than"):
        load_split(str(tmp_path / "p.jsonl.gz"))


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zst)])
@pytest.mark.parametrize("name", ["p.jsonl", "p.json", "p.csv"])
def test_a_compressed_file_without_the_ending(
    ending: str, pack: Callable[[bytes], bytes], name: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(pack(JSONL))
    with pytest.raises(SplitError, match=rf"{name} is compressed: rename it to {name}\{ending}$"):
        load_split(str(tmp_path / name))


def test_zst_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.jsonl.zst").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(SplitError, match=r"'zstandard'.*pip install 'pytest-speedbench\[hub\]'"):
        load_split(str(tmp_path / "p.jsonl.zst"))


def test_types_that_are_not_read_compressed(tmp_path: Path) -> None:
    for name, ending in (("p.parquet.gz", ".parquet.gz"), ("p.txt.zst", ".txt.zst")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(SplitError, match=rf"{ending}.* Allowed: .*\.jsonl\.gz"):
            load_split(str(tmp_path / name))
