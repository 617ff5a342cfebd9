"""Runs of pytest inside tests: what each would load, read and look for again is so once."""

from __future__ import annotations

import platform
import sys
from functools import cache, cached_property
from importlib import import_module, metadata
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from _pytest import pytester

# Plugins of the developer's environment: loading them takes half the start of such a run.
WITHOUT_OTHER_PLUGINS = " ".join(
    f"-p no:{plugin}"
    for plugin in (
        *("hypothesispytest", "anyio", "platformdirs", "pytest_cov"),
        *("html", "html_fixtures", "metadata"),
    )
)
# What pytest collects, and a module that loads transformers.
COLLECTED = ("suites", "conformance", "session.trainer")


@cache
def prepare() -> None:
    """Before the first run in this process."""
    _load_modules()
    _keep_torch()
    _read_distributions_once()
    _describe_machine_once()
    # pytest 9.2 looks for misplaced fixtures behind the decorators of every name of every plugin,
    # in each run: an eighth of a small one. The run around these tests would warn of ours.
    manager = import_module("_pytest.fixtures").FixtureManager
    manager._check_for_wrapped_fixture = lambda *_: None


def _load_modules() -> None:
    """pytester forgets the modules that a run inside it has imported; ours, and what they import
    where it is used, would be imported again by every run."""
    import pytest_speedbench

    for module in walk_packages(pytest_speedbench.__path__, "pytest_speedbench."):
        if not module.name.partition(".")[2].startswith(COLLECTED):
            import_module(module.name)
    for name in (
        "email.parser",
        "matplotlib.backends.backend_svg",
        "matplotlib.figure",
        "matplotlib.scale",
        "multiprocessing.connection",
        "pytest_benchmark.stats",
        "rich._emoji_codes",
        "rich.box",
        "rich.console",
        "rich.table",
        "scipy.special",
        "scipy.stats",
    ):
        import_module(name)


def _keep_torch() -> None:
    """Where a run has imported torch, it cannot be imported a second time."""

    def snapshot(self: pytester.Pytester) -> pytester.SysModulesSnapshot:
        return pytester.SysModulesSnapshot(preserve=lambda name: name.startswith("torch"))

    pytester.Pytester._Pytester__take_sys_modules_snapshot = snapshot


def _describe_machine_once() -> None:
    """pytest-benchmark describes the processor in every run that saves (several programs, 0.1 s),
    and asks two programs twice for the project's name, in folders of no repository too."""
    import cpuinfo
    from pytest_benchmark import utils

    cpuinfo.get_cpu_info = cache(cpuinfo.get_cpu_info)
    platform.architecture = cache(platform.architecture)
    project_name = utils.get_project_name
    utils.get_project_name = lambda: (
        project_name() if utils.in_any_parent(".git") else Path.cwd().name
    )


class ReadOnce:
    """An installed distribution: every run reads the entry points and metadata of all of them."""

    def __init__(self, distribution: metadata.Distribution) -> None:
        self._distribution = distribution
        self.entry_points = distribution.entry_points

    @cached_property
    def files(self) -> Any:
        return self._distribution.files

    @cached_property
    def metadata(self) -> Any:
        return self._distribution.metadata

    @property
    def version(self) -> str:
        return str(self.metadata["Version"])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._distribution, name)


@cache
def _installed(path: tuple[str, ...]) -> tuple[ReadOnce, ...]:
    return tuple(map(ReadOnce, metadata.Distribution.discover(path=[*path])))


def _read_distributions_once() -> None:
    metadata.distributions = lambda path=None, **asked: (
        metadata.Distribution.discover(**asked) if asked else _installed(tuple(path or sys.path))
    )
    metadata.version = cache(metadata.version)
