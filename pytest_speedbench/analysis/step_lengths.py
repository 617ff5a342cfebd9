"""How many tokens the decoding steps of a run emitted."""

from __future__ import annotations

from pytest_speedbench.baselines.packing import unpack_numbers
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.errors import NoData, RecordError


def step_lengths(record: Record) -> tuple[float, ...]:
    """The share of decoding steps that emitted 1, 2, … tokens, up to the longest.

    Raises:
        NoData: the engine reports no steps.
        RecordError: a request of the record is damaged.
    """
    import numpy as np

    packed = " ".join(request.steps for request in record.requests)
    try:
        counts = np.bincount(unpack_numbers(packed))[1:]
    except ValueError as error:
        raise RecordError(f"{record.case}: its requests are damaged: {error}") from error
    if not counts.size:
        raise NoData("no decoding steps were recorded")
    return tuple((counts / counts.sum()).tolist())
