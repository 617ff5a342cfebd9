"""pytest hooks and fixtures, which forward to the session.

Every pytest run imports this module. So nothing else of ours is imported before it is used, and
hooks that only a measuring session needs are registered by it: a test run that never asks for
``speed`` pays a few milliseconds.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_speedbench.baselines.schema import Record
    from pytest_speedbench.engines.protocol import Engine, Speculation
    from pytest_speedbench.plan.cases import Case
    from pytest_speedbench.session.result import SpeedResult
    from pytest_speedbench.splits import Sample

PLUGIN = "speedbench-session"
CASE = "_speed_case"
_OPTIONS = Path(__file__).parent / "plan" / "options.json"


@cache
def _declared() -> dict[str, Any]:
    """The marker and the options, made from their table by ``pytest_speedbench.plan.compiled``."""
    declared: dict[str, Any] = json.loads(_OPTIONS.read_bytes())
    return declared


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, options in _declared()["groups"].items():
        group = parser.getgroup(name)
        for flag, keywords in options.items():
            group.addoption(flag, **keywords)
            # pytest takes text and TOML lists for this type alone; plan/options.py reads the rest.
            text = keywords["help"].replace("%%", "%")
            parser.addini(keywords["dest"], text, type="linelist", default=None)


def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    if "--speed" in " ".join(args):
        from pytest_speedbench.plan.options import suggest_options

        suggest_options(parser, args)
    if early_config.known_args_namespace.pyargs:
        from pytest_speedbench.session.former_names import rename_conformance

        rename_conformance(early_config.known_args_namespace.file_or_dir, args)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _declared()["marker"])
    storage = str(getattr(config.option, "benchmark_storage", ""))
    if "://" in storage and not storage.startswith("file://"):
        from pytest_speedbench.session.storage import redirect

        redirect(config)
    if _any_given(config):  # errors in options are reported before anything is collected
        from pytest_speedbench.plan.precedence import load_settings

        load_settings(config)


def _any_given(config: pytest.Config) -> bool:
    """Whether the command line or the ini file holds an option of ours."""
    for options in _declared()["groups"].values():
        for keywords in options.values():
            name = keywords["dest"]
            try:
                if config.getoption(name) is not None or config.getini(name) is not None:
                    return True
            except (TypeError, ValueError, pytest.UsageError):  # a TOML value that is no text
                return True
    return False


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    option = config.option
    if getattr(option, "numprocesses", None) or getattr(option, "tx", None):
        from pytest_speedbench.session.summary import assign_to_workers

        assign_to_workers(config)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("speed")
    if CASE in metafunc.fixturenames:
        from pytest_speedbench.session.collection import parametrize

        parametrize(metafunc, marker)
    elif marker in metafunc.definition.own_markers:
        from pytest_speedbench.session.collection import refuse_without_fixture

        refuse_without_fixture(metafunc.definition)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Generator[None, None, None]:
    yield
    if any(_case(item) for item in items):
        from pytest_speedbench.session.collection import prepare

        prepare(config, items)


@pytest.hookimpl(wrapper=True)
def pytest_collection_finish(session: pytest.Session) -> Generator[None]:
    cases = {item: case for item in session.items if (case := _case(item))}
    if not cases or session.config.option.collectonly:
        return (yield)
    from pytest_speedbench.session.hooks import SessionHooks

    with SessionHooks.register(session.config, cases).labelled():
        return (yield)


def _case(item: pytest.Item) -> Case | None:
    """The case of a collected test, None for tests that are not ours."""
    callspec = getattr(item, "callspec", None)
    return None if callspec is None else callspec.params.get(CASE)


def _hooks(request: pytest.FixtureRequest) -> Any:
    hooks = request.config.pluginmanager.get_plugin(PLUGIN)
    if hooks is None:
        pytest.fail("the speed fixtures work in collected tests only", pytrace=False)
    return hooks


@pytest.fixture
def _speed_case() -> None:
    """Replaced by the parametrization of every test that asks for a speed fixture."""
    pytest.fail(
        "the speed fixtures must be named in the signature of the test or of a fixture that it "
        "uses: request.getfixturevalue comes too late for the grid",
        pytrace=False,
    )


@pytest.fixture
def speed(request: pytest.FixtureRequest, _speed_case: Case) -> SpeedResult:
    """The measured run of this case: metrics as estimates, and the regression gate."""
    result: SpeedResult = _hooks(request).speed(_speed_case, request.node)
    return result


@pytest.fixture
def speed_engine(request: pytest.FixtureRequest, _speed_case: Case) -> Engine:
    """The started engine of this case."""
    engine: Engine = _hooks(request).engine(_speed_case)
    return engine


@pytest.fixture
def speed_config(_speed_case: Case) -> Speculation:
    """The configuration of speculative decoding of this case; starts nothing."""
    return _speed_case.run.speculation


@pytest.fixture
def speed_samples(request: pytest.FixtureRequest, _speed_case: Case) -> tuple[Sample, ...]:
    """The samples of this case; starts no engine."""
    samples: tuple[Sample, ...] = _hooks(request).samples(_speed_case)
    return samples


@pytest.fixture
def speed_baseline(request: pytest.FixtureRequest, _speed_case: Case) -> Record | None:
    """The saved record that this case is compared with, or None; starts no engine."""
    baseline: Record | None = _hooks(request).baseline(_speed_case)
    return baseline
