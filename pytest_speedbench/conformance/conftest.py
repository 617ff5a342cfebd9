"""The engine under test, and the configurations that each test runs with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import pytest

from pytest_speedbench.conformance.subject import Subject
from pytest_speedbench.engines.protocol import NO_SPECULATION, EngineConfig, Speculation
from pytest_speedbench.engines.registry import check, engine_type
from pytest_speedbench.errors import CaseError, EngineError, EngineUnavailable
from pytest_speedbench.escapes import printable
from pytest_speedbench.plan.grid import build_grid
from pytest_speedbench.plan.options import is_given
from pytest_speedbench.plan.precedence import load_settings
from pytest_speedbench.plan.settings import Settings

_BATCH = 3


@lru_cache(maxsize=1)
def _settings(config: pytest.Config) -> Settings:
    return load_settings(config)


def _given(config: pytest.Config, name: str) -> bool:
    return is_given(config, Settings.options[name])


def _refusal(settings: Settings, speculation: Speculation) -> EngineError | None:
    config = EngineConfig(
        settings.engine[0],
        settings.model[0],
        speculation,
        1,
        settings.url,
        settings.engine_arg,
    )
    try:
        check(config)
    except EngineUnavailable:  # then every test is skipped with the command that installs it
        return None
    except EngineError as error:
        return error
    return None


@lru_cache(maxsize=1)
def _speculations(config: pytest.Config) -> list[Speculation]:
    """The configurations of ``--speed-method``, ``-drafter`` and ``-dl``; without
    ``--speed-method`` every declared method that can start with the given arguments. No speculation
    comes first, since the others are compared with it."""
    settings = _settings(config)
    adapter = engine_type(settings.engine[0])
    asked = _given(config, "method")
    methods = settings.method if asked else adapter.methods
    grid = build_grid({"category": "all", "method": list(methods)}, settings)[0]
    found = list(dict.fromkeys(case.run.speculation for case in grid))
    able = [one for one in found if _refusal(settings, one) is None]
    # A drafter belongs to one method, and may not work with others. A method is left out only if it
    # was not asked for.
    kept = [
        one
        for one in found
        if one in able or (asked and not any(other.method == one.method for other in able))
    ]
    without = [NO_SPECULATION] if "none" in adapter.methods else []
    if settings.url and not adapter.switches:  # a server has one configuration
        without = []
    return list(dict.fromkeys([*without, *kept]))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "speculation" not in metafunc.fixturenames:
        return
    problem = ""
    found: Sequence[Speculation] = ()
    try:
        found = _speculations(metafunc.config)
        switches = engine_type(_settings(metafunc.config).engine[0]).switches
    except (CaseError, EngineError) as error:
        problem = str(error)
    if problem:
        pytest.fail(problem, pytrace=False)
    each = getattr(metafunc.module, "EACH", "speculation")
    if each == "first" or (each == "engine" and switches):
        found = found[:1]
    # Session-wide, so that pytest runs the tests of one engine together.
    metafunc.parametrize("speculation", found, ids=_label, scope="session")


def _label(speculation: Speculation) -> str:
    drafter = (speculation.drafter or "").rstrip("/").rpartition("/")[2]
    words = [speculation.method, drafter, f"dl{speculation.draft_length}"]
    return "-".join(word for word in words if word) if speculation.active else "none"


@pytest.fixture(scope="session")
def subject(request: pytest.FixtureRequest) -> Iterator[Subject]:
    """The adapter of ``--speed-engine``; its engines are started once and closed at the end."""
    settings = _settings(request.config)
    batch = max(settings.bs) if _given(request.config, "bs") else _BATCH
    under_test = Subject(settings, batch, _given(request.config, "method"))
    yield under_test
    under_test.close()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Lists the declared methods that were not tried, with the reason."""
    try:
        settings = _settings(config)
        tried = {one.method for one in _speculations(config)}
        declared = engine_type(settings.engine[0]).methods
    except (CaseError, EngineError):
        return
    for method in declared:
        if method in tried:
            continue
        refusal = _refusal(settings, Speculation(method, settings.dl[0]))
        why = str(refusal) if refusal else "not asked for with --speed-method"
        terminalreporter.write_line(printable(f"conformance: {method} was not tried: {why}"))
