"""``speedbench drafter``: inspect, coverage, prune."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from engines.heads import eagle3, set_maps
from engines.test_drafters import SHAPE

from .conftest import Speedbench


@pytest.fixture
def head(tmp_path: Path) -> Path:
    return eagle3(tmp_path / "head", SHAPE, [0, 2, 5, 40])


def test_inspect_shows_what_a_drafter_is(speedbench: Speedbench, head: Path) -> None:
    done = speedbench("drafter", "inspect", str(head))
    assert done.code == 0
    assert "method            eagle3" in done.out
    assert "4 of 64 tokens; maps: d2t, t2d" in done.out
    assert "no problems found" in done.out


def test_inspect_lists_problems_and_exits_with_1(speedbench: Speedbench, head: Path) -> None:
    set_maps(head, d2t=np.array([0, 1, 3, 99]))
    done = speedbench("drafter", "inspect", str(head), "--json")
    assert done.code == 1
    found = json.loads(done.out)
    assert found["draft_vocabulary"] == 4
    assert "3 → 102" in found["problems"][0]


def test_inspect_names_a_folder_that_is_missing(speedbench: Speedbench) -> None:
    done = speedbench("drafter", "inspect", "no/such/head")
    assert done.code == 2
    assert "no checkpoint at no/such/head" in done.err
