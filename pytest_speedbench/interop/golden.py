"""Our table of reference values, to hold in a repository: YAML, name → AL, n and interval."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pydantic import Field, RootModel, model_validator

from pytest_speedbench.engines.serving.schema import Form, Length
from pytest_speedbench.escapes import label
from pytest_speedbench.interop.foreign import ForeignTotals, Given, Threshold
from pytest_speedbench.interop.foreign_file import ForeignFile
from pytest_speedbench.interop.naming import yaml_key
from pytest_speedbench.interop.reference_marks import OWN_COUNTING, OWN_TOOL

_SIGN: Final = "acceptance_length"


class Entry(Form):
    """``source`` is the tool whose way of counting the value has; empty for AL as defined here."""

    acceptance_length: float = Field(ge=1, allow_inf_nan=False)
    n: Length | None = None
    low: float | None = Field(ge=1, allow_inf_nan=False, default=None)
    high: float | None = Field(ge=1, allow_inf_nan=False, default=None)
    least: float | None = Field(ge=1, allow_inf_nan=False, default=None)
    source: str = ""

    @property
    def interval(self) -> tuple[float, float] | None:
        """At 95%; None where it is unknown."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @model_validator(mode="after")
    def _fits(self) -> Entry:
        if (ends := self.interval) and not ends[0] <= self.acceptance_length <= ends[1]:
            raise ValueError("acceptance_length is not between low and high")
        return self


class Table(RootModel[dict[str, Entry]]):
    """Name, which is the case in our own exports → value."""


def golden_table(thresholds: Iterable[Threshold], comments: Sequence[str]) -> bytes:
    """YAML of some values, below ``comments``."""
    lines = [f"# {comment}" for comment in comments]
    for threshold in thresholds:
        lines += [
            f"{yaml_key(threshold.name)}:",
            f"  acceptance_length: {threshold.acceptance_length:.4f}",
            *([f"  least: {threshold.least:.4f}"] if threshold.least is not None else []),
            *([f"  n: {threshold.n}"] if threshold.n is not None else []),
            *_uncertainty(threshold),
            *([f"  source: {yaml_key(threshold.source)}"] if threshold.source else []),
        ]
    return ("\n".join(lines) + "\n").encode()


def _uncertainty(threshold: Threshold) -> list[str]:
    if threshold.interval is None:
        return ["  uncertainty: unknown"]
    low, high = threshold.interval
    return [f"  low: {low:.4f}", f"  high: {high:.4f}"]


def threshold_file(found: ForeignTotals) -> bytes:
    """The averages of another tool as such a table."""
    comments = [
        "Acceptance length (tokens per decoding step).",
        f"{found.tool} {found.counting}.",
    ]
    if found.uncertain:
        comments.append("Without an interval the uncertainty of a value is unknown.")
    return golden_table(found.thresholds, [*comments, *map(label, found.notes)])


def recognises(file: ForeignFile) -> bool:
    """Whether it is such a table."""
    return any(_SIGN in entry for entry in file.entries)


def read(file: ForeignFile, given: Given) -> ForeignTotals:
    """AL by name, with n and interval where they are known."""
    found = file.parse(Table, file.yaml)
    thresholds = [
        Threshold(
            name,
            entry.acceptance_length,
            entry.n,
            least=entry.least,
            interval=entry.interval,
            source=entry.source,
        )
        for name, entry in found.root.items()
    ]
    return ForeignTotals(OWN_TOOL, thresholds, OWN_COUNTING, tuple(_origins(thresholds)))


def _origins(thresholds: Sequence[Threshold]) -> Iterator[str]:
    for source in dict.fromkeys(t.source for t in thresholds if t.source):
        names = ", ".join(t.name for t in thresholds if t.source == source)
        yield f"{names}: from {source}, as it counts"
