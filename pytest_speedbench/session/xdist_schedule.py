"""pytest-xdist: which worker runs which cases, and on which GPUs and cores.

Cases are assigned by engine. Each worker gets one share of the started engines' configurations, so
that no configuration with speculation starts on two workers. Every worker collects the same cases
and so computes the same assignment; the controller learns it from the list of tests that it gets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_speedbench.errors import DeviceError
from pytest_speedbench.plan.cases import Case, RunKey, engine_group

PLUGIN = "speedbench-assigner"
WORKER_INPUT = "speedbench"
WORKER_OUTPUT = "speedbench"
REPORT = "speedbench_output"
_LABEL = "@speedbench-"
_LABELLED = re.compile(_LABEL + r"\d+$")
# Values of --dist with which each case goes to the worker of its share: none given, or groups.
_BY_SHARE = ("no", "loadgroup")


# -- the assignment --------------------------------------------------------------------------------


def assign(cases: Sequence[Case], workers: int, timed: bool) -> dict[RunKey, int]:
    """The share, from 0 on, of every run.

    One share for each worker at most. With ``timed`` runs the engine without speculation is needed
    beside each one with it, on the same GPU: where there are at least as many models (of an engine)
    as workers, all configurations of one model go to one worker, and no engine starts twice.
    Otherwise the configurations of a model are spread, and the engine without speculation starts
    once on each of their workers.
    """
    runs = list(dict.fromkeys(case.run for case in cases))
    units = _units(runs, timed)
    families = _merged(units, lambda unit: (unit[0].engine, unit[0].model))
    if timed and len(families) >= workers:
        units = families
    loads = [0] * workers
    shares: dict[RunKey, int] = {}
    for unit in sorted(units, key=len, reverse=True):
        share = loads.index(min(loads))
        loads[share] += len(unit)
        shares |= dict.fromkeys(unit, share)
    return shares


def _units(runs: Sequence[RunKey], timed: bool) -> list[list[RunKey]]:
    """Runs that stay together: those of one engine configuration.

    Timed runs without speculation go with the first that have it: they are measured in turns.
    """
    units = _merged([[run] for run in runs], lambda unit: engine_group(unit[0]))
    if not timed:
        return units
    kept: list[list[RunKey]] = []
    for unit in sorted(units, key=lambda unit: not unit[0].speculation.active):
        first = unit[0]
        mates = [u for u in kept if engine_group(u[0].base()) == engine_group(first.base())]
        if mates and not first.speculation.active:
            mates[0].extend(unit)
        else:
            kept.append(list(unit))
    return kept


def _merged(
    units: Sequence[list[RunKey]], key: Callable[[list[RunKey]], object]
) -> list[list[RunKey]]:
    found: dict[object, list[RunKey]] = {}
    for unit in units:
        found.setdefault(key(unit), []).extend(unit)
    return list(found.values())


def assign_separately(cases: Sequence[Case]) -> dict[RunKey, int]:
    """A share for each configuration: where xdist may send any case to any worker."""
    runs = dict.fromkeys(case.run for case in cases)
    return {run: number for number, unit in enumerate(_units(list(runs), False)) for run in unit}


# -- in a worker ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """This worker among those of its machine: ``slot`` of ``workers``, as the controller set it.

    ``assigned`` says that cases come by share, ``runs_all`` that every worker runs all of them.
    """

    slot: int
    workers: int
    assigned: bool
    runs_all: bool = False

    @classmethod
    def of(cls, config: pytest.Config) -> Place | None:
        """None in a session without workers, and in its controller."""
        reported = getattr(config, "workerinput", {}).get(WORKER_INPUT)
        return cls(**reported) if reported else None

    def shares(
        self, cases: Sequence[Case], timed: bool, count: int, *, joined: bool = False
    ) -> dict[RunKey, int]:
        """The assignment among ``count`` workers on all machines. One worker loads a server that
        they ``joined``: the requests of another would be in its timing and its counters.

        Raises:
            DeviceError: xdist sends cases of that server to several workers.
        """
        if joined and count > 1 and not self.assigned:
            raise DeviceError(
                f"{count} workers would load the server at --speed-url at once, and disturb each "
                "other's timing: leave --dist out, so that one of them gets all its cases, or run "
                "with -n0"
            )
        if joined:
            return {case.run: 0 for case in cases}
        if self.runs_all:
            return {}
        return assign(cases, count, timed) if self.assigned else assign_separately(cases)


@contextmanager
def labelled(config: pytest.Config, shares: Mapping[str, int]) -> Iterator[None]:
    """The list of tests that xdist sends to its controller names the share of each, by test id.

    The ids themselves stay as they are: reports, files and other plugins never see a label.
    """
    worker = worker_of(config) if shares else None
    if worker is None:
        yield
        return
    send = worker.sendevent

    def send_labelled(name: str, **content: Any) -> None:
        if name == "collectionfinish":
            content["ids"] = [_label(nodeid, shares.get(nodeid)) for nodeid in content["ids"]]
        send(name, **content)

    worker.sendevent = send_labelled
    try:
        yield
    finally:
        del worker.sendevent


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is an xdist worker, whose controller writes files and reports."""
    return hasattr(config, "workerinput")


def worker_of(config: pytest.Config) -> Any:
    """xdist's plugin in a worker; None elsewhere.

    No hook gives a worker something to say before tests are assigned, so its ``sendevent`` is
    wrapped. It is not documented: tests/session/test_xdist_couplings.py says when it changes.
    """
    plugins = (plugin for _, plugin in config.pluginmanager.list_name_plugin())
    return next((p for p in plugins if type(p).__name__ == "WorkerInteractor"), None)


def _label(nodeid: str, share: int | None) -> str:
    return nodeid if share is None else f"{nodeid}{_LABEL}{share}"


# -- in the controller ----------------------------------------------------------------------------


@dataclass(eq=False)  # pytest 8 hashes plugins
class Assigner:
    """Gives workers their places, sends each its share, and takes what they have measured."""

    config: pytest.Config
    dist: str
    """What the user has chosen with --dist; "no" for nothing."""
    take: Callable[[dict[str, Any]], None]
    """Called with what a worker reports: of a test as soon as it is over, of all at the end."""
    check: Callable[[], None]
    """Called once before anything is measured; raises where nothing can be."""
    _checked: bool = False
    _slots: dict[str, int] = field(default_factory=dict)
    _local: int = 0
    """Workers on this machine."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self, specs: Sequence[Any]) -> None:
        self._local = sum(bool(spec.popen) for spec in specs)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """A worker that replaces a crashed one gets its place, with its GPUs."""
        if not node.gateway.spec.popen:
            return  # on another machine, which is all its own
        taken = set(self._slots.values())
        slot = next(n for n in range(len(taken) + 1) if n not in taken)
        self._slots[node.gateway.id] = slot
        node.workerinput[WORKER_INPUT] = {
            "slot": slot,
            "workers": self._local,
            "assigned": self.dist in _BY_SHARE,
            "runs_all": self.dist == "each",
        }

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """One error here, in place of one for each test of each worker."""
        if not self._checked and any(map(_LABELLED.search, ids)):
            self._checked = True
            self.check()

    @pytest.hookimpl(tryfirst=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._slots.pop(node.gateway.id, None)
        if reported := getattr(node, "workeroutput", {}).get(WORKER_OUTPUT):
            self.take(reported)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        reported = report.__dict__.pop(REPORT, None)
        if reported:
            self.take(reported)

    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        return EngineScheduling(config, log, self.dist) if self.dist in _BY_SHARE else None


class EngineScheduling:
    """xdist's own scheduling by groups, or its own by load where no speed test was collected."""

    def __init__(self, config: pytest.Config, log: Any, dist: str) -> None:
        from xdist.scheduler import LoadGroupScheduling

        self._config, self._log, self._dist = config, log, dist
        self._inner: Any = LoadGroupScheduling(config, log)
        self._settled = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def add_node_collection(self, node: Any, collection: Sequence[str]) -> None:
        if not self._settled:
            self._settle(collection)
        self._inner.add_node_collection(node, collection)

    def _settle(self, collection: Sequence[str]) -> None:
        self._settled = True
        if self._dist == "loadgroup" or any(map(_LABELLED.search, collection)):
            return
        from xdist.scheduler import LoadScheduling

        nodes = self._inner.nodes
        self._inner = LoadScheduling(self._config, self._log)
        for node in nodes:
            self._inner.add_node(node)

    def remove_node(self, node: Any) -> str | None:
        """The test in which ``node`` has crashed, if it has; it is not run again.

        xdist would give it to the next worker, with the rest of its group, and crash that too.
        """
        crashed = _first_open(getattr(self._inner, "assigned_work", {}).get(node, {}))
        found: str | None = self._inner.remove_node(node)
        return _LABELLED.sub("", crashed) if crashed else found


def _first_open(workload: Mapping[str, dict[str, bool]]) -> str | None:
    """The first test that is not complete, which it now is."""
    for unit in workload.values():
        for nodeid, complete in unit.items():
            if not complete:
                unit[nodeid] = True
                return nodeid
    return None
