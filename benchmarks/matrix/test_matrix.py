"""One sitting of the matrix: every batch size with its own number of samples, engines shared.

Run by ``benchmarks/gpu_matrix.py``, which tells the plan in the environment:
``MATRIX_PLAN=BS:SAMPLES,…`` (samples of each category, or ``all``), and
``MATRIX_LATEST=BS:TIME,…``, after which a batch size is not begun any more but left to a later
sitting.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from pytest_speedbench.engines import Speculation

begun: set[int] = set()


def _pairs(name: str) -> dict[int, str]:
    pairs = (part.partition(":") for part in os.environ.get(name, "").split(",") if part)
    return {int(bs): value for bs, _, value in pairs}


LATEST = {bs: float(moment) for bs, moment in _pairs("MATRIX_LATEST").items()}


def _case(bs: int, samples: str) -> Callable[..., None]:
    count: int | str = samples if samples == "all" else int(samples)

    @pytest.mark.speed(bs=bs, samples=count, category="all")
    def measure(speed_config: Speculation, request: pytest.FixtureRequest) -> None:
        if bs not in begun and time.time() > LATEST.get(bs, float("inf")):
            pytest.skip("no time left in this sitting")
        begun.add(bs)
        speed = request.getfixturevalue("speed")
        assert len(speed.traces) >= 1
        if speed_config.active:
            assert 1 <= speed.acceptance_length.value <= speed_config.draft_length + 1

    return measure


for _bs, _samples in _pairs("MATRIX_PLAN").items():
    globals()[f"test_bs{_bs}"] = _case(_bs, _samples)
