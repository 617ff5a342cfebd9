"""Collection: the grid of each marked test, its order, and what pytest-benchmark's flags mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import pytest

from pytest_speedbench.errors import SpeedbenchError, shown, warnings_at
from pytest_speedbench.escapes import label
from pytest_speedbench.plan.cases import Case, order_by_engine
from pytest_speedbench.plan.grid import build_grid, check_drawing, check_names
from pytest_speedbench.plan.options import command_line_options, from_command_line, from_ini
from pytest_speedbench.plan.precedence import load_settings
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.secrets import hide_secrets
from pytest_speedbench.session.xdist_schedule import is_worker

CASE = "_speed_case"
FIXTURES = ("speed", "speed_engine", "speed_config", "speed_samples", "speed_baseline")
_BENCHMARK_ONLY = "--benchmark-only"


@lru_cache(maxsize=1)
def settings_of(config: pytest.Config) -> Settings:
    """The settings of a session, read once."""
    return load_settings(config)


def parametrize(metafunc: pytest.Metafunc, marker: pytest.Mark | None) -> None:
    """One test per case. Errors of marker or options become one clear collection error."""
    if marker is not None and marker.args:
        pytest.fail(
            shown(
                f"{metafunc.definition.nodeid}: speed takes keyword arguments, such as bs=[1, 32]"
            ),
            pytrace=False,
        )
    if marker is not None:
        _Overridden.of(metafunc.config).add(metafunc.definition, marker.kwargs)
    problem = None
    try:
        with warnings_at(metafunc.definition):
            cases, ids = build_grid(marker.kwargs if marker else {}, settings_of(metafunc.config))
    except SpeedbenchError as error:
        problem = str(error)
    if problem is not None:  # not inside the handler, which would be shown as a cause
        pytest.fail(shown(f"{metafunc.definition.nodeid}: {problem}"), pytrace=False)
    if marker is None:  # so that -m speed finds every test that measures
        marked = [pytest.param(case, marks=pytest.mark.speed) for case in cases]
        metafunc.parametrize(CASE, marked, ids=ids)
    else:
        metafunc.parametrize(CASE, cases, ids=ids)


def refuse_without_fixture(test: pytest.Item) -> None:
    """A test with our marker and none of our fixtures is a collection error."""
    pytest.fail(
        label(
            f"{test.nodeid}: marked with speed, but it asks for none of the fixtures "
            f"{', '.join(FIXTURES)}"
        ),
        pytrace=False,
    )


class _Overridden:
    """Names the options of the command line that markers override."""

    def __init__(self, config: pytest.Config) -> None:
        self._given = {
            option.name: option.flag
            for option in command_line_options()
            if option.marker and from_command_line(config, option) is not None
        }
        self._tests: dict[str, list[str]] = {}

    @classmethod
    @lru_cache(maxsize=1)
    def of(cls, config: pytest.Config) -> _Overridden:
        """The one of this session, which reports once collection is done."""
        found = cls(config)
        config.pluginmanager.register(found)
        return found

    def add(self, test: pytest.Item, arguments: Mapping[str, object]) -> None:
        for name, value in arguments.items():
            if value is not None and name in self._given:
                self._tests.setdefault(self._given[name], []).append(test.name)

    def lines(self) -> list[str]:
        """One an option."""
        return [
            label(
                f"{flag} is overridden by the marker of {tests[0]}"
                + (f" and {len(tests) - 1} more" if len(tests) > 1 else "")
            )
            for flag, tests in self._tests.items()
        ]

    def pytest_report_collectionfinish(self) -> list[str]:
        return [f"speedbench: {line}" for line in self.lines()]


def overridden_options(config: pytest.Config) -> list[str]:
    """Options of the command line that markers override; once collection is done."""
    return _Overridden.of(config).lines()


def prepare(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Orders the tests of ours and gives them the marks that other plugins look at."""
    for item in items:
        _note_fixtures(item)
    positions = [i for i, item in enumerate(items) if case_of(item) is not None]
    ours = [items[i] for i in positions]
    cases = [case for item in ours if (case := case_of(item)) is not None]
    _check_options(config, cases)
    for position, chosen in zip(positions, order_by_engine(cases), strict=True):
        items[position] = ours[chosen]
    for item in ours:
        _follow_benchmark_flags(config, item)


def _check_options(config: pytest.Config, cases: list[Case]) -> None:
    spelling = _spelling(config)
    problem = ""
    try:
        check_names(settings_of(config), cases, spelling)
        check_drawing(settings_of(config), cases, spelling)
    except SpeedbenchError as error:
        problem = str(error)
    if problem and is_worker(config):
        config.pluginmanager.register(_Refusal(problem))
    elif problem:
        raise pytest.UsageError(problem)


def _spelling(config: pytest.Config) -> dict[str, str]:
    """What messages call each option that was given: its flag, or its name in the ini file."""
    found = {}
    for option in command_line_options():
        if from_command_line(config, option) is not None:
            found[option.name] = option.flag
        elif from_ini(config, option) is not None:
            found[option.name] = f"ini option {option.ini}"
    return found


class _Refusal:
    """Fails every test of ours: pytest-xdist crashes on a usage error that a worker finds."""

    def __init__(self, problem: str) -> None:
        self._problem = problem

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if case_of(item) is not None:
            pytest.fail(self._problem, pytrace=False)


def case_of(item: pytest.Item) -> Case | None:
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get(CASE)


def _note_fixtures(item: pytest.Item) -> None:
    """Parameters of fixtures become a part of the run: they may change what an engine reads."""
    case, parameters = case_of(item), _parameters_of_fixtures(item)
    if case is not None and parameters:
        run = replace(case.run, fixtures=parameters)
        item.callspec.params[CASE] = replace(case, run=run)  # type: ignore[attr-defined]


def _parameters_of_fixtures(item: pytest.Item) -> tuple[tuple[str, str], ...]:
    """Name and text of each parameter but ours that a fixture gets, and not the test alone.

    pytest makes a fixture of its own for a plain argument of a test.
    """
    callspec, info = getattr(item, "callspec", None), getattr(item, "_fixtureinfo", None)
    if callspec is None or info is None or callspec.params.keys() == {CASE}:
        return ()
    fixtures = [one for definitions in info.name2fixturedefs.values() for one in definitions]
    used = {name for fixture in fixtures for name in fixture.argnames}
    used |= {one.argname for one in fixtures if not one.func.__module__.startswith("_pytest.")}
    return tuple(
        (name, _text(name, value, callspec.indices[name]))
        for name, value in sorted(callspec.params.items())
        if name != CASE and name in used
    )


def _text(name: str, value: object, index: int) -> str:
    """A parameter in ids and keys: its value where that is short and no secret."""
    plain = isinstance(value, str | int | float) and hide_secrets(value, name) == value
    return str(value) if plain else str(index)


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
