"""guidellm's JSON report: it holds times and texts, and nothing about drafts."""

from __future__ import annotations

from typing import NoReturn

from pytest_speedbench.errors import ForeignFileError
from pytest_speedbench.interop.foreign import Given
from pytest_speedbench.interop.foreign_file import ForeignFile


def recognises(file: ForeignFile) -> bool:
    """Whether it is one."""
    head = file.first.get("metadata") if isinstance(file.first, dict) else None
    return isinstance(head, dict) and "guidellm_version" in head


def read(file: ForeignFile, given: Given) -> NoReturn:
    """Says what to import instead.

    Raises:
        ForeignFileError: always.
    """
    raise ForeignFileError(
        f"{file} was written by guidellm, which records no acceptance of draft tokens. "
        "speculators' evaluate.py writes it beside guidellm's report, as acceptance.csv: import "
        "that, or measure the same server with --speed-engine openai --speed-url URL"
    )
