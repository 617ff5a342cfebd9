"""The drawings of a run beside its baseline: both are named, also where one has fewer values."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("matplotlib")

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.report.html.evidence import Figure, figures_of
from tests.compare.saved_runs import record as with_requests
from tests.report.conftest import estimate, record, result

DEPTH = "AL by position in the context"
POSITIONS = "Acceptance by position"


def figure(title: str, new: Record, old: Record) -> Figure:
    (found,) = (
        f for f in figures_of([result(new, baseline=old)], "r", drawn=True) if f.title == title
    )
    return found


def deep(*lengths: float) -> Record:
    """A record with these AL in the buckets of 1,024 tokens."""
    buckets: list[dict[str, Any]] = [
        {"start": 1024 * k, "end": 1024 * (k + 1), "acceptance_length": estimate(value)}
        for k, value in enumerate(lengths)
    ]
    return record(depth=buckets)


def assert_both_are_named(found: Figure) -> None:
    for name, colour in (("baseline", "var(--soft)"), ("this run", "var(--mark)")):
        assert f">{name}</" in found.svg
        assert colour in found.svg


@pytest.mark.parametrize(("new", "cells"), [((2.1,), ("2.10", "–")), ((), ("–", "–"))])
def test_a_run_with_fewer_buckets_than_its_baseline(
    new: tuple[float, ...], cells: tuple[str, ...]
) -> None:
    found = figure(DEPTH, deep(*new), deep(2.5, 2.4))
    assert_both_are_named(found)
    assert found.numbers is not None
    assert found.numbers.rows == (("baseline", ("2.50", "2.40")), ("this run", cells))


def test_a_run_without_acceptance_by_position() -> None:
    new = record(metrics={"acceptance_by_position": None})
    found = figure(POSITIONS, new, record())
    assert_both_are_named(found)
    assert found.numbers is not None
    assert found.numbers.rows[1] == ("this run", ("–", "–", "–"))


def test_buckets_that_nobody_has_several_of_are_not_drawn() -> None:
    case = result(deep(2.1), baseline=deep(2.5))
    assert DEPTH not in [found.title for found in figures_of([case], "r", drawn=True)]


def test_step_lengths_and_inputs_of_one_side_alone() -> None:
    old = with_requests("math")
    requests = [r.model_copy(update={"prompt_tokens": 16 + n}) for n, r in enumerate(old.requests)]
    for title in ("Step lengths", "AL over the length of the input"):
        found = figure(title, record(), record(requests=requests))
        assert_both_are_named(found)
        assert found.numbers is not None
        name, cells = found.numbers.rows[1]
        assert (name, set(cells)) == ("this run", {"–"})
