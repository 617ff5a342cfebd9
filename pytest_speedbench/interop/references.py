"""Tables of reference values: speculators, TensorRT-LLM and InferenceX. All are totals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

from pydantic import Field, RootModel

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import UNKNOWN_METHOD
from pytest_speedbench.engines.serving.schema import Form
from pytest_speedbench.errors import ForeignFileError
from pytest_speedbench.interop.foreign import ForeignTotals, Given, Threshold
from pytest_speedbench.interop.foreign_file import CUT, ForeignFile
from pytest_speedbench.interop.naming import yaml_key
from pytest_speedbench.interop.reference_marks import (
    OWN_COUNTING,
    OWN_TOOL,
    ReferenceMark,
    reference_marks,
)
from pytest_speedbench.interop.stated import contradiction, refuse_no_method

SPECULATORS: Final = "speculators"
TENSORRT_LLM: Final = "TensorRT-LLM"
INFERENCEX: Final = "InferenceX"
ACCEPTANCE: Final = "acceptance.csv"
_COLUMNS: Final = {"subset", "num_drafts", "num_accepted_tokens"}
_DRAFTED_STEPS: Final = (
    "counts 1 + accepted / drafts over the steps that had a draft, before last steps are cut; "
    "AL in the definition here is lower, the more so the shorter the answers"
)


# -- speculators ------------------------------------------------------------------------------


class Row(Form):
    """A line of ``acceptance.csv``: growth of vLLM's counters over one subset."""

    subset: str
    num_drafts: float = Field(ge=0, allow_inf_nan=False)
    num_accepted_tokens: float = Field(ge=0, allow_inf_nan=False)
    acceptance_length: float = Field(ge=0, allow_inf_nan=False)


def recognises_speculators(file: ForeignFile) -> bool:
    """Whether it is such a file, or a folder with one."""
    if file.is_folder:
        return file.beside(ACCEPTANCE) is not None
    return set(file.columns) >= _COLUMNS


def read_speculators(file: ForeignFile, given: Given) -> ForeignTotals:
    """AL by subset; the counts of runs that were appended to one file are added.

    Raises:
        ForeignFileError: no row with drafts, or a method whose steps may have no draft.
    """
    table = file.beside(ACCEPTANCE) if file.is_folder else file
    assert table is not None
    refuse_no_method(table, given)
    if given.method != UNKNOWN_METHOD and not traits(given.method).every_step:
        raise ForeignFileError(
            f"{table} counts only steps that had a draft, and {given.method} has steps without: "
            "it cannot be converted"
        )
    subsets: dict[str, list[Row]] = {}
    for number, data in enumerate(table.table, start=2):
        row = table.parse(Row, data, number)
        if row.num_drafts:
            subsets.setdefault(row.subset, []).append(row)
    if not table.table:
        raise ForeignFileError(f"{table} has a header and no rows; {CUT}")
    found = [Threshold(name, _length(rows), source=SPECULATORS) for name, rows in subsets.items()]
    if not found:
        raise ForeignFileError(f"{table}: no subset in which anything was drafted")
    notes = [
        f"{name}: {len(rows)} runs in one file, whose counts are added"
        for name, rows in subsets.items()
        if len(rows) > 1
    ]
    for name, rows in subsets.items():
        for row in rows:
            notes += contradiction(
                f"{name}: acceptance_length", row.acceptance_length, _length([row])
            )
    return ForeignTotals(
        SPECULATORS, found, _DRAFTED_STEPS, tuple(notes), depends_on=frozenset({"method"})
    )


def _length(rows: Sequence[Row]) -> float:
    return 1 + sum(row.num_accepted_tokens for row in rows) / sum(row.num_drafts for row in rows)


# -- TensorRT-LLM -----------------------------------------------------------------------------


class Reference(Form):
    ref_al: float = Field(ge=1, allow_inf_nan=False)
    min_al: float = Field(ge=1, allow_inf_nan=False)


class References(RootModel[dict[str, Reference]]):
    """``acceptance_length.yaml``: test → value and lower limit."""


def recognises_tensorrt_llm(file: ForeignFile) -> bool:
    """Whether it is such a file."""
    return any("ref_al" in entry for entry in file.entries)


def read_tensorrt_llm(file: ForeignFile, given: Given) -> ForeignTotals:
    """AL by test, with the limit that TensorRT-LLM's own tests assert.

    Entries that ``speedbench export`` wrote are our AL, with n and interval.
    """
    found = file.parse(References, file.yaml)
    marks = reference_marks(file.text)
    thresholds = [_reference(name, entry, marks) for name, entry in found.root.items()]
    own = [threshold.name for threshold in thresholds if threshold.n is not None]
    if len(own) == len(thresholds):
        return ForeignTotals(OWN_TOOL, thresholds, OWN_COUNTING)
    notes = [f"{', '.join(own)}: from {OWN_TOOL}, which {OWN_COUNTING}"] if own else []
    notes += [
        f"{name}: min_al {entry.min_al:g} is above ref_al {entry.ref_al:g}"
        for name, entry in found.root.items()
        if entry.min_al > entry.ref_al
    ]
    heading = () if own else file.heading  # with entries of ours it begins with our comment
    return ForeignTotals(TENSORRT_LLM, thresholds, _DRAFTED_STEPS, (*heading, *notes))


def _reference(name: str, entry: Reference, marks: Mapping[str, ReferenceMark]) -> Threshold:
    mark = marks.get(yaml_key(name)) or marks.get(name)
    if mark is None:
        return Threshold(name, entry.ref_al, least=entry.min_al, source=TENSORRT_LLM)
    return Threshold(name, entry.ref_al, mark.n, least=entry.min_al, interval=mark.interval)


# -- InferenceX -------------------------------------------------------------------------------


class Curves(RootModel[dict[str, dict[str, dict[int, float]]]]):
    """A golden AL file: model → thinking mode → draft length → AL."""


def recognises_inferencex(file: ForeignFile) -> bool:
    """Whether it is such a file."""
    return any(
        isinstance(curve, Mapping) and any(isinstance(dl, int) for dl in curve)
        for entry in file.entries
        for curve in entry.values()
    )


def read_inferencex(file: ForeignFile, given: Given) -> ForeignTotals:
    """AL by model, thinking mode and draft length."""
    data = {name: value for name, value in file.yaml.items() if name != "_metadata"}
    found = file.parse(Curves, data)
    thresholds = list(_points(found))
    for point in thresholds:
        if not point.acceptance_length >= 1:  # NaN too
            raise ForeignFileError(f"{file}, {point.name}: an AL is at least 1")
    notes = (
        *file.heading,
        "measured on the coding prompts of SPEED-Bench, rounded to two digits",
        *_falls(found),
    )
    return ForeignTotals(INFERENCEX, thresholds, _DRAFTED_STEPS, notes)


def _points(found: Curves) -> Iterator[Threshold]:
    for model, modes in found.root.items():
        for mode, curve in modes.items():
            for length, value in curve.items():
                yield Threshold(f"{model} {mode} dl{length}", value, source=INFERENCEX)


def _falls(found: Curves) -> Iterator[str]:
    """Curves that fall where the draft gets longer: at the same prompts that is noise, or a
    drafter beyond the length it was trained for, and a point alone does not say which."""
    for model, modes in found.root.items():
        for mode, curve in modes.items():
            falls = [f"dl{b}" for a, b in pairwise(sorted(curve)) if curve[b] < curve[a]]
            if falls:
                yield (
                    f"{model} {mode}: AL falls at {', '.join(falls)}; without intervals that may "
                    "be noise"
                )
