"""Records damaged anywhere: every command ends with a code and a line, never a traceback."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Speedbench

VALUES = (
    *(None, 0, -1, 1.5, float("nan"), float("inf"), 10**30, True),
    *("", "x", "1 2 3", "-1", [], {}, [1]),
)
GATED = ("--fail", "acceptance_length:2%,speedup:5%,output_tps:5%")


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _places(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value[:2]):
            yield from _places(item, (*path, number))


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.nightly) for seed in range(1, 8))]
)
def test_one_value_changed_anywhere(speedbench: Speedbench, saved: Path, seed: int) -> None:
    draws = random.Random(seed)
    whole = json.loads((saved / "0001_base.json").read_text())
    whole["benchmarks"] = whole["benchmarks"][:1]
    record = whole["benchmarks"][0]["extra_info"]["speedbench"]
    places = [place for place in _places(record) if place]
    path = saved / "0009_damaged.json"
    for _ in range(8):
        data = copy.deepcopy(whole)
        place = draws.choice(places)
        part = data["benchmarks"][0]["extra_info"]["speedbench"]
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = draws.choice(VALUES)
        path.write_text(json.dumps(data))
        for command in (
            ("compare", "9", "1", *GATED),
            ("plan", "--baseline", "9"),
            ("report", "9"),
        ):
            result = speedbench(*command)
            assert result.code in (0, 1, 2), place
            assert bool(result.err) == (result.code == 2), place
        assert speedbench("history").code == 0
