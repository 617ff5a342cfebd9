"""nvidia/SPEED-Bench through a stand-in for the ``datasets`` package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_speedbench.splits import CATEGORIES, TIERS, SplitError, hub, load_split, split_slices

PLACEHOLDER = "FULL BENCHMARK DATA SHOULD BE FETCHED FROM THE SOURCE USING SPECDEC_BENCH"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Rows that the hub would send; an empty list means no access."""
    rows: list[dict[str, Any]] = []

    def load_dataset(name: str, configuration: str, *, split: str) -> list[dict[str, Any]]:
        assert (name, split) == ("nvidia/SPEED-Bench", "test")
        if not rows:
            raise OSError("gated: 401")
        return rows

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    hub.load_speed_bench.cache_clear()
    yield rows
    hub.load_speed_bench.cache_clear()


def row(name: str, category: str, *turns: str) -> dict[str, Any]:
    return {"question_id": name, "category": category, "turns": [*turns], "multiturn": False}


def test_a_configuration_is_loaded_and_can_be_narrowed(served: list[dict[str, Any]]) -> None:
    served += [row("1", "coding", "Code."), row("2", "math", "Add.")]
    split = load_split("nvidia/SPEED-Bench:qualitative")
    assert split.name == "nvidia/SPEED-Bench:qualitative"
    assert "NVIDIA" in split.licence
    assert [s.id for s in load_split("nvidia/SPEED-Bench:qualitative:math").samples] == ["2"]
    assert load_split("nvidia/SPEED-Bench").digest == split.digest


def test_slices_are_known_without_the_data() -> None:
    assert split_slices("nvidia/SPEED-Bench:qualitative") == CATEGORIES
    assert split_slices("nvidia/SPEED-Bench:throughput_16k") == TIERS
    assert split_slices("nvidia/SPEED-Bench:throughput_16k:mixed") == ("mixed",)


def test_unresolved_placeholders_are_refused(served: list[dict[str, Any]]) -> None:
    served += [row("1", "coding", "Code."), row("2", "math", f"{PLACEHOLDER} …")]
    with pytest.raises(SplitError, match=r"SPEED-Bench:qualitative, row 2: .*prepare_data\.py"):
        load_split("nvidia/SPEED-Bench")


def test_no_access_names_the_ways_out(served: list[dict[str, Any]]) -> None:
    assert served == []
    with pytest.raises(SplitError, match=r"gated: 401.*hf auth login.*local folder"):
        load_split("nvidia/SPEED-Bench:throughput_2k")
