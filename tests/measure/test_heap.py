"""The heap is frozen while a load runs, and only then."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from simulated_runs import SAMPLES, InProcess, loop_of

from pytest_speedbench.measure import heap
from pytest_speedbench.measure.heap import frozen_heap, is_frozen


@pytest.fixture
def unfrozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a user's session is; this suite freezes what it has collected."""
    monkeypatch.setattr(heap, "is_frozen", is_frozen)
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("unfrozen")
def test_a_load_runs_on_a_frozen_heap() -> None:
    frozen: list[int] = []
    loop = loop_of(InProcess(), max_tokens=4)
    loop.run(SAMPLES[:2], 2, lambda done, of: frozen.append(gc.get_freeze_count()))
    assert min(frozen) > 10_000
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("unfrozen")
def test_a_load_that_fails_leaves_no_frozen_heap() -> None:
    with pytest.raises(ZeroDivisionError), frozen_heap():
        _ = 1 / 0
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("unfrozen")
def test_what_the_user_has_frozen_stays_frozen() -> None:
    gc.freeze()
    with frozen_heap():
        pass
    assert gc.get_freeze_count() > 10_000
