"""The comment above each entry of our ``acceptance_length.yaml``, which TensorRT-LLM ignores.

It says that the entry is our AL, and what its two numbers leave out: n and the interval.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pytest_speedbench.baselines.measured import MetricRecord

OWN_TOOL: Final = "pytest-speedbench"
OWN_COUNTING: Final = "counts tokens per decoding step, as AL is defined here"
_MARK: Final = re.compile(
    rf"^# {OWN_TOOL}: n = (?P<n>\d+), "
    r"(?:95 ?% interval (?P<low>\d+\.\d+) to (?P<high>\d+\.\d+)|uncertainty unknown)\r?\n"
    r"(?P<key>.+):[ \t]*\r?$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class ReferenceMark:
    """n, and the interval at 95%; None where it is unknown."""

    n: int
    interval: tuple[float, float] | None


def reference_mark(al: MetricRecord) -> str:
    """The comment above the entry of an AL."""
    known = "uncertainty unknown"
    if al.interval:
        known = "95% interval {:.4f} to {:.4f}".format(*al.interval)
    return f"# {OWN_TOOL}: n = {al.n}, {known}"


def reference_marks(text: str) -> dict[str, ReferenceMark]:
    """The comments in a file, by the entries' keys as they stand there, with any quotes."""
    return {
        found["key"]: ReferenceMark(
            int(found["n"]),
            (float(found["low"]), float(found["high"])) if found["low"] else None,
        )
        for found in _MARK.finditer(text)
    }
