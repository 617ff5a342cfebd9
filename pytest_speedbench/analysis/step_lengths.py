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

    try:
        steps = [unpack_numbers(request.steps) for request in record.requests]
    except ValueError as error:
        raise RecordError(f"{record.case}: its requests are damaged: {error}") from error
    counts = np.bincount(np.concatenate([np.empty(0, np.int64), *steps]))[1:]
    if not counts.size:
        raise NoData("no decoding steps were recorded")
    return tuple((counts / counts.sum()).tolist())
