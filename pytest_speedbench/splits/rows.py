"""Rows of files: JSONL, JSON, CSV and parquet; bad rows are named and never skipped silently.

``read_rows`` streams ``(row number, mapping)``; ``read_samples`` turns them into samples with the
format that fits (``formats``), and collects what is wrong. Row numbers count from 1; in a JSONL
file they are line numbers.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from pytest_speedbench.errors import SplitError, SplitWarning, count_of, warn

from .compressed import COMPRESSIONS, content_stem, content_suffix, is_compressed, open_content
from .errors import optional_import, unknown
from .formats import MAP_COLUMNS, Format, RowError, detect
from .model import Sample, name_rows

MAX_LINE_BYTES: Final = 16 * 2**20
"""Longest line of a JSONL file that is read: 16 MiB, far above any prompt."""
MAX_JSON_BYTES: Final = 2**30
"""Largest file that is parsed as one JSON document."""
SHOWN_PROBLEMS: Final = 5
KEEP_GOOD: Final = "--keep-good (pytest: --speed-keep-good; Python: keep_good=True)"
_OVERLONG: Final = (
    f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB; a JSONL file holds one prompt a line "
    "(is this one JSON document? name it .json)"
)

Row: TypeAlias = Mapping[str, Any]
Numbered: TypeAlias = tuple[int, "Row | RowError"]


@dataclass(frozen=True, slots=True)
class ReadResult:
    """The samples of a file, the format they were read with, and one message per bad row."""

    samples: tuple[Sample, ...]
    format: str
    problems: tuple[str, ...]


def read_samples(
    path: Path,
    *,
    licence: str = "",
    columns: Mapping[str, str] | None = None,
    keep_good: bool = False,
    limit: int | None = None,
) -> ReadResult:
    """Read the samples of one file.

    ``columns`` maps our field names (id, category, prompt, turns, system, …) to the file's. With
    ``keep_good`` bad rows are left out with a SplitWarning; without it they raise SplitError.
    ``limit`` stops after that many samples.
    """
    found: list[Sample] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    form: Format | None = None
    for number, row in read_rows(path):
        if limit is not None and len(found) >= limit:
            break
        try:
            if isinstance(row, RowError):
                raise row
            form = form or detect(row, columns)
            found.append(_convert(form, row, number, path, licence, seen))
        except RowError as error:
            problems.append(f"{path}, row {number}: {error}")
    _judge(path, problems, len(found), keep_good)
    return ReadResult(name_rows(found), form.name if form else "", tuple(problems))


def _convert(
    form: Format, row: Row, number: int, path: Path, licence: str, seen: dict[str, int]
) -> Sample:
    sample = form.convert(row)
    if not sample.id:
        sample = replace(sample, row=(content_stem(path), number))
    elif sample.id in seen:
        raise RowError(
            f"duplicate id {sample.id!r}, first used in row {seen[sample.id]}; give each row its "
            f"own id, or map another column: {MAP_COLUMNS.format('id')}"
        )
    else:
        seen[sample.id] = number
    return sample if sample.licence or not licence else replace(sample, licence=licence)


def _judge(path: Path, problems: list[str], good: int, keep_good: bool) -> None:
    if not problems and good:
        return
    if not problems:
        raise SplitError(f"{path}: holds no rows; a split needs at least one prompt")
    shown = "\n  ".join(problems[:SHOWN_PROBLEMS])
    more = len(problems) - SHOWN_PROBLEMS
    rest = f"\n  … and {more} more" if more > 0 else ""
    text = f"{count_of(len(problems), 'bad row')}, {good} good:\n  {shown}{rest}"
    if good and keep_good:
        warn(f"left out {text}", SplitWarning)
        return
    fix = f"Fix them, or keep the good rows only: {KEEP_GOOD}" if good else "No row is usable"
    raise SplitError(f"{text}\n{fix}")


def read_rows(path: Path) -> Iterator[Numbered]:
    """Yield ``(number, row or RowError)`` of a .jsonl, .json, .csv, .tsv or .parquet file.

    All but parquet may be compressed: ``.jsonl.gz``, ``.csv.zst``.
    """
    if not path.is_file():
        raise SplitError(f"split file {str(path)!r} does not exist; give a file, or a split's name")
    suffix = content_suffix(path)
    if suffix not in FILE_TYPES or (suffix == ".parquet" and is_compressed(path)):
        ending = "".join(path.suffixes[-2:]) if is_compressed(path) else suffix
        allowed = (*FILE_TYPES, *(f".jsonl{ending}" for ending in COMPRESSIONS))
        raise unknown(f"file type of {path.name!r}:", ending, allowed)
    return _named_errors(path, _READERS[suffix](path))


def _named_errors(path: Path, rows: Iterator[Numbered]) -> Iterator[Numbered]:
    """The rows; SplitError with the file's name where it cannot be read."""
    try:
        yield from rows
    except OSError as error:
        raise SplitError(f"{path}: cannot be read: {error}") from error


def _jsonl(path: Path) -> Iterator[Numbered]:
    with open_content(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > MAX_LINE_BYTES:
                _skip_rest(stream, line)
                yield number, RowError(_OVERLONG)
            elif line.strip():
                yield number, _parse_line(line, first=number == 1)


def _skip_rest(stream: IO[bytes], piece: bytes) -> None:
    """Read on to the end of an overlong line, a piece at a time."""
    while piece and not piece.endswith(b"\n"):
        piece = stream.readline(MAX_LINE_BYTES)


def _parse_line(line: bytes, *, first: bool) -> Row | RowError:
    try:
        return _as_row(_parse_json(_decode(line, first=first)))
    except RowError as error:
        return error
    except json.JSONDecodeError as error:
        return RowError(f"not JSON ({error.msg} at column {error.colno}); one object a line")


def _parse_json(text: str) -> object:
    """Parse one document; RowError for what Python refuses to read although it may be JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise RowError("JSON nested too deeply") from None
    except ValueError:
        raise RowError("JSON with a number of thousands of digits") from None


def _decode(raw: bytes, *, first: bool) -> str:
    if first and raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise RowError("the file is UTF-16; re-encode it: iconv -f utf-16 -t utf-8 FILE")
    try:
        return raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise RowError(
            f"not UTF-8 (byte {raw[error.start]:#04x} at byte {error.start + 1} of the row); "
            "re-encode the file, e.g. iconv -f latin1 -t utf-8 FILE"
        ) from None


def _as_row(value: object) -> Row | RowError:
    if isinstance(value, dict):
        return value
    return RowError(f"expected a JSON object, got {type(value).__name__}")


def _json(path: Path) -> Iterator[Numbered]:
    """A document that is a list of objects (or an object with one such list); else JSONL."""
    with open_content(path) as stream:
        raw = stream.read(MAX_JSON_BYTES + 1)
    if len(raw) > MAX_JSON_BYTES:
        raise SplitError(
            f"{path}: larger than {MAX_JSON_BYTES // 2**30} GiB; turn it into JSONL: "
            "jq -c '.[]' FILE > FILE.jsonl"
        )
    try:
        value = _parse_json(_decode(raw, first=True))
    except RowError as error:
        raise SplitError(f"{path}: {error}") from None
    except json.JSONDecodeError as error:
        if raw.lstrip()[:1] == b"{":
            yield from _jsonl(path)
            return
        raise SplitError(f"{path}, line {error.lineno}: not JSON ({error.msg})") from None
    for number, item in enumerate(_list_in(value, path), start=1):
        yield number, _as_row(item)


def _list_in(value: object, path: Path) -> list[object]:
    if isinstance(value, list):
        return value
    candidates: list[Any] = list(value.values()) if isinstance(value, dict) else []
    lists: list[list[object]] = [v for v in candidates if _objects(v)]
    if len(lists) == 1:
        return lists[0]
    if isinstance(value, dict):
        return [value]
    raise SplitError(f"{path}: expected a JSON list of objects, got {type(value).__name__}")


def _objects(value: object) -> bool:
    """Whether this is a list of rows (a row's own ``messages`` has roles, not rows)."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(v, dict) and not v.keys() & {"role", "from"} for v in value)
    )


def _csv(path: Path) -> Iterator[Numbered]:
    suffix = content_suffix(path)
    delimiter = "\t" if suffix == ".tsv" else ","
    old_limit = csv.field_size_limit(MAX_LINE_BYTES)
    try:
        with open_content(path) as stream:
            rows = csv.DictReader(_text_lines(stream), delimiter=delimiter, strict=True)
            _refuse_doubled(rows.fieldnames or ())
            for number, row in enumerate(rows, start=1):
                yield number, _checked_csv(row)
    except (csv.Error, RowError) as error:
        raise SplitError(f"{path}: not readable as {suffix[1:].upper()}: {error}") from None
    finally:
        csv.field_size_limit(old_limit)


def _refuse_doubled(header: Sequence[str]) -> None:
    for name in header:
        if header.count(name) > 1:
            raise RowError(f"the header names the column {name!r} {header.count(name)} times")


def _text_lines(stream: IO[bytes]) -> Iterator[str]:
    """Lines with their ends, one at a time; RowError for one that is too long or not UTF-8."""
    number = 0
    while line := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise RowError(f"line {number} is longer than {MAX_LINE_BYTES // 2**20} MiB")
        try:
            yield _decode(line, first=number == 1)
        except RowError as error:
            raise RowError(f"line {number}: {error}") from None


def _checked_csv(row: dict[str | Any, str | Any]) -> Row | RowError:
    if None in row:
        return RowError("more fields than the header has; quote fields that hold the delimiter")
    return {key: value for key, value in row.items() if value not in (None, "")}


def _parquet(path: Path) -> Iterator[Numbered]:
    parquet: Any = optional_import("pyarrow.parquet", "hub", f"reading {path.name}")
    number = 0
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=256):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except Exception as error:  # pyarrow's own classes, known only where it is installed
        raise SplitError(f"{path}: not a readable parquet file: {error}") from error


_READERS: Final[dict[str, Callable[[Path], Iterator[Numbered]]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}
FILE_TYPES: Final = tuple(_READERS)
