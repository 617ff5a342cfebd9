"""Collection: the grid of each marked test, its order, and what pytest-benchmark's flags mean."""

from __future__ import annotations

from functools import lru_cache

import pytest

from pytest_speedbench.errors import SpeedbenchError, warnings_at
from pytest_speedbench.plan.cases import Case, order_by_engine
from pytest_speedbench.plan.grid import build_grid
from pytest_speedbench.plan.precedence import load_settings
from pytest_speedbench.plan.settings import Settings

CASE = "_speed_case"
_BENCHMARK_ONLY = "--benchmark-only"


@lru_cache(maxsize=1)
def settings_of(config: pytest.Config) -> Settings:
    """The settings of a session, read once."""
    return load_settings(config)


def parametrize(metafunc: pytest.Metafunc, marker: pytest.Mark | None) -> None:
    """One test per case. Errors of marker or options become one clear collection error."""
    if marker is not None and marker.args:
        pytest.fail(
            f"{metafunc.definition.nodeid}: speed takes keyword arguments, such as bs=[1, 32]",
            pytrace=False,
        )
    problem = None
    try:
        with warnings_at(metafunc.definition):
            cases, ids = build_grid(marker.kwargs if marker else {}, settings_of(metafunc.config))
    except SpeedbenchError as error:
        problem = str(error)
    if problem is not None:  # not inside the handler, which would be shown as a cause
        pytest.fail(f"{metafunc.definition.nodeid}: {problem}", pytrace=False)
    if marker is None:  # so that -m speed finds every test that measures
        marked = [pytest.param(case, marks=pytest.mark.speed) for case in cases]
        metafunc.parametrize(CASE, marked, ids=ids)
    else:
        metafunc.parametrize(CASE, cases, ids=ids)


def prepare(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders the tests of ours and gives them the marks that other plugins look at."""
    positions = [i for i, item in enumerate(items) if case_of(item) is not None]
    ours = [items[i] for i in positions]
    cases = [case for item in ours if (case := case_of(item)) is not None]
    for position, chosen in zip(positions, order_by_engine(cases), strict=True):
        items[position] = ours[chosen]
    for item in ours:
        _follow_benchmark_flags(config, item)


def case_of(item: pytest.Item) -> Case | None:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get(CASE)


def _follow_benchmark_flags(config: pytest.Config, item: pytest.Item) -> None:
    """``--benchmark-only`` keeps our tests; ``-skip`` and ``-disable`` skip them."""
    if config.getoption("benchmark_only", False):
        # pytest-benchmark skips every test without its fixture.
        item.own_markers[:] = [m for m in item.own_markers if not _skips_non_benchmark(m)]
    for flag in ("benchmark_skip", "benchmark_disable"):
        if config.getoption(flag, False):
            reason = f"--{flag.replace('_', '-')}"
            item.add_marker(pytest.mark.skip(reason=reason))
    if settings_of(config).disable:
        item.add_marker(pytest.mark.skip(reason="--speed-disable"))


def _skips_non_benchmark(mark: pytest.Mark) -> bool:
    return mark.name == "skip" and _BENCHMARK_ONLY in str(mark.kwargs.get("reason", ""))
