"""A file or folder of another tool, read once, with limits; every error names the file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from pytest_speedbench.baselines.files import read_regular
from pytest_speedbench.engines.serving.schema import describe
from pytest_speedbench.errors import ForeignFileError, UsageError

MOST_BYTES: Final = 2**28
"""Largest file that is read: 256 MiB."""
_DECODER: Final = json.JSONDecoder()
_BLANKS: Final = re.compile(r"\s*")
CUT: Final = "was it cut off, or is it still being written?"
_ONE_EACH: Final = "give each result its own file, and import one of them"

Form = TypeVar("Form", bound=BaseModel)


@dataclass(frozen=True)
class ForeignFile:
    """A file, or a folder of files that one run wrote.

    Raises:
        ForeignFileError: by every property, where the file cannot be read as what was asked for.
    """

    path: Path

    def __str__(self) -> str:
        return self.path.name or str(self.path)

    @property
    def is_folder(self) -> bool:
        return self.path.is_dir()

    def beside(self, name: str) -> ForeignFile | None:
        """The file of this name in the folder, or beside the file; None where there is none."""
        path = (self.path if self.is_folder else self.path.parent) / name
        return ForeignFile(path) if path.is_file() else None

    @cached_property
    def text(self) -> str:
        """The content, decoded."""
        try:
            if self.path.stat().st_size > MOST_BYTES:
                raise ForeignFileError(f"{self}: larger than {MOST_BYTES // 2**20} MiB")
            text = read_regular(self.path).decode("utf-8-sig")
        except OSError as error:
            raise ForeignFileError(f"cannot read {self.path}: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            cut = f"; {CUT}" if error.reason == "unexpected end of data" else ""
            raise ForeignFileError(f"{self}: not UTF-8 text{cut}") from error
        if not text.strip():
            raise ForeignFileError(f"{self} is empty; {CUT}")
        return text

    @property
    def document(self) -> Any:
        """The only JSON document."""
        if len(self.documents) > 1:
            raise ForeignFileError(
                f"{self} holds {len(self.documents)} results, one JSON document each: {_ONE_EACH}"
            )
        return self.documents[0]

    @cached_property
    def documents(self) -> list[Any]:
        """The JSON documents, one after the other; at least one."""
        found, end = [], 0
        while end < len(self.text):
            document, end = self._decode(end)
            found.append(document)
        return found

    @cached_property
    def first(self) -> Any:
        """The first JSON document, which may be the first line."""
        return self._decode(0)[0]

    @property
    def keys(self) -> Set[str]:
        """The keys of the first JSON document; none where it is not an object."""
        return self.first.keys() if isinstance(self.first, dict) else set()

    def _decode(self, start: int) -> tuple[Any, int]:
        """The JSON document at ``start``, and where the next one begins."""
        text = self.text
        try:
            document, end = _DECODER.raw_decode(text, _after_blanks(text, start))
        except (ValueError, RecursionError) as error:
            raise ForeignFileError(f"{self} is not JSON ({error}); {CUT}") from error
        return document, _after_blanks(text, end)

    @cached_property
    def lines(self) -> list[tuple[int, Any]]:
        """(line number, JSON document) of every line that is not blank."""
        numbered = enumerate(self.text.splitlines(), start=1)
        return [(number, self._line(number, line)) for number, line in numbered if line.strip()]

    def _line(self, number: int, line: str) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ForeignFileError(f"{self}, line {number}: not JSON ({error}); {CUT}") from error

    @cached_property
    def table(self) -> list[dict[str, str]]:
        """Rows of a CSV file below its header, which may stand there again behind each run."""
        columns, *rows = self._cells
        for number, row in enumerate(rows, start=2):
            if len(row) != len(columns):
                raise ForeignFileError(
                    f"{self}, row {number} has {len(row)} of {len(columns)} columns; {CUT}"
                )
        return [dict(zip(columns, row, strict=True)) for row in rows if row != columns]

    @property
    def columns(self) -> list[str]:
        """The header of a CSV file."""
        return self._cells[0]

    @cached_property
    def _cells(self) -> list[list[str]]:
        """Of a CSV file, without blank lines; at least the header."""
        try:
            return [row for row in csv.reader(io.StringIO(self.text), strict=True) if row]
        except csv.Error as error:
            raise ForeignFileError(f"{self}: not CSV ({error}); {CUT}") from error

    @cached_property
    def yaml(self) -> Any:
        """One YAML document."""
        try:
            import yaml
        except ImportError as error:
            raise UsageError(
                f"reading {self} needs PyYAML: pip install 'pytest-speedbench[data]'"
            ) from error
        text = self.text
        try:
            nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
            data = yaml.safe_load(text) if len(nodes) == 1 else None
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise ForeignFileError(f"{self} is not YAML ({reason}); {CUT}") from error
        if len(nodes) > 1:
            raise ForeignFileError(f"{self} holds {len(nodes)} YAML documents: {_ONE_EACH}")
        tables = [node for node in nodes if isinstance(node, yaml.MappingNode)]
        keys = [
            key.value for table in tables for key, _ in table.value if isinstance(key.value, str)
        ]
        if twice := next((key for key, count in Counter(keys).items() if count > 1), None):
            raise ForeignFileError(f"{self} has {twice!r} twice: {_ONE_EACH}")
        return data

    @property
    def heading(self) -> list[str]:
        """What the comment above the first entry of a YAML file says, as a note."""
        comment = []
        for line in self.text.splitlines():
            if not line.startswith("#"):
                break
            comment.append(line.lstrip("# ").rstrip())
        said = " ".join(filter(None, comment))
        return [f"{self} says: {said}"] if said else []

    @property
    def entries(self) -> list[Mapping[Any, Any]]:
        """The mappings in the YAML document, one below each of its keys."""
        values = self.yaml.values() if isinstance(self.yaml, Mapping) else ()
        return [value for value in values if isinstance(value, Mapping)]

    @property
    def outline(self) -> list[str]:
        """What a file has at its top, to be shown: keys, columns, or the names in a folder."""
        if self.is_folder:
            return sorted(path.name for path in self.path.iterdir())
        match self.path.suffix.lower():
            case ".csv":
                return self.columns
            case ".yaml" | ".yml":
                return [str(key) for key in self.yaml] if isinstance(self.yaml, Mapping) else []
            case _:
                return [str(key) for key in self.keys]

    def parse(self, form: type[Form], data: Any, line: int | None = None) -> Form:
        """``data`` of this file, validated.

        Raises:
            ForeignFileError: a wrong type or a number that cannot be, with its place.
        """
        try:
            return form.model_validate(data)
        except ValidationError as error:
            where = f", line {line}" if line else ""
            raise ForeignFileError(
                f"{self}{where}: {describe(error)}; was it written by another version of the tool?"
            ) from error


def _after_blanks(text: str, start: int) -> int:
    found = _BLANKS.match(text, start)
    return found.end() if found else start
