"""SGLang's ``bench_serving`` JSONL: its figure is of the life of the server, not of the run."""

from __future__ import annotations

from typing import NoReturn

from pytest_speedbench.errors import ForeignFileError
from pytest_speedbench.interop.foreign import Given
from pytest_speedbench.interop.foreign_file import ForeignFile

_SIGNS = {"backend", "accept_length", "total_output_tokens"}


def recognises(file: ForeignFile) -> bool:
    """Whether it is one."""
    return file.keys >= _SIGNS


def read(file: ForeignFile, given: Given) -> NoReturn:
    """Says why it cannot be converted.

    Raises:
        ForeignFileError: always.
    """
    lengths = [line.get("accept_length") for _, line in file.lines if isinstance(line, dict)]
    stated = ", ".join(f"{n:.2f}" for n in lengths if isinstance(n, int | float)) or "none"
    raise ForeignFileError(
        f"{file} was written by SGLang's bench_serving, whose accept_length ({stated}) is the "
        "server's average since its start, warm-up and all other requests included, and counts the "
        "prefill's token: it cannot be converted. Measure the same server with --speed-engine "
        "sglang --speed-url URL, which reads the steps of each request"
    )
