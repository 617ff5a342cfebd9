"""A file or folder of another tool, read once, with limits; every error names the file."""

from __future__ import annotations

import csv
import io
import json
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
CUT: Final = "was it cut off, or is it still being written?"

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
            raise ForeignFileError(f"{self}: not UTF-8 text") from error
        if not text.strip():
            raise ForeignFileError(f"{self} is empty; {CUT}")
        return text

    @cached_property
    def document(self) -> Any:
        """One JSON document."""
        text = self.text
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ForeignFileError(f"{self} is not JSON ({error}); {CUT}") from error

    @cached_property
    def lines(self) -> list[tuple[int, Any]]:
        """(line number, JSON document) of every line that is not blank."""
        numbered = enumerate(self.text.splitlines(), start=1)
        return [(number, self._line(number, line)) for number, line in numbered if line.strip()]

    @property
    def first(self) -> Any:
        """The JSON document in the first line."""
        line = self.text.lstrip().split("\n", 1)[0]
        return self._line(1, line)

    def _line(self, number: int, line: str) -> Any:
        try:
            return json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ForeignFileError(f"{self}, line {number}: not JSON ({error}); {CUT}") from error

    @cached_property
    def table(self) -> list[dict[str, str]]:
        """Rows of a CSV file with a header; a missing cell is empty."""
        try:
            rows = csv.DictReader(io.StringIO(self.text), restkey="", restval="", strict=True)
            return list(rows)
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
            return yaml.safe_load(text)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            raise ForeignFileError(f"{self} is not YAML ({reason}); {CUT}") from error

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
