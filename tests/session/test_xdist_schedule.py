"""Which worker runs which cases."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines.protocol import Sampling, Speculation
from pytest_speedbench.errors import DeviceError
from pytest_speedbench.plan.cases import Case, RunKey
from pytest_speedbench.session.xdist_schedule import (
    Assigner,
    EngineScheduling,
    Place,
    assign,
    assign_separately,
)

NONE = Speculation()


def case(
    speculation: Speculation, bs: int = 1, model: str = "m", engine: str = "vllm", part: str = "all"
) -> Case:
    return Case(RunKey(engine, model, speculation, bs, "qualitative", 8, Sampling()), part)


def grid(dl: list[int], bs: list[int], models: str = "m", engine: str = "vllm") -> list[Case]:
    return [
        case(Speculation("eagle3", length, "head"), batch, model, engine, part)
        for model, length, batch, part in product(models, dl, bs, ("math", "qa"))
    ]


@given(
    st.lists(st.sampled_from([1, 3, 5, 7]), min_size=1, unique=True),
    st.lists(st.sampled_from([1, 32, 128]), min_size=1, unique=True),
    st.sampled_from(["m", "mn", "mno"]),
    st.booleans(),
    st.integers(1, 5),
    st.booleans(),
)
def test_no_engine_with_speculation_is_on_two_workers(
    dl: list[int], bs: list[int], models: str, plain: bool, workers: int, timed: bool
) -> None:
    cases = grid(dl, bs, models)
    if plain:
        cases += [case(NONE, batch, model) for model in models for batch in bs]
    shares = assign(cases, workers, timed)
    assert set(shares) == {c.run for c in cases}
    assert set(shares.values()) <= set(range(workers))
    where: dict[tuple[str, Speculation], set[int]] = {}
    for run, share in shares.items():
        where.setdefault((run.model, run.speculation), set()).add(share)
    assert all(len(found) == 1 for found in where.values())


def test_draft_lengths_of_one_model_are_spread() -> None:
    shares = assign(grid([1, 3, 5, 7], [1, 32]), 2, timed=True)
    by_share = [{r.speculation.draft_length for r, s in shares.items() if s == n} for n in (0, 1)]
    assert by_share == [{1, 5}, {3, 7}]


def test_as_many_models_as_workers_go_whole_so_that_no_engine_at_all_starts_twice() -> None:
    shares = assign(grid([1, 3], [1], "mn"), 2, timed=True)
    assert {(run.model, share) for run, share in shares.items()} == {("m", 0), ("n", 1)}


def test_timed_runs_without_speculation_go_where_they_are_measured_anyway() -> None:
    cases = [case(NONE, 1), *grid([1, 3], [1])]
    shares = assign(cases, 2, timed=True)
    assert shares[case(NONE).run] == shares[case(Speculation("eagle3", 1, "head")).run]
    alone = assign(cases, 3, timed=False)  # nothing is compared in time: a share of its own
    assert sorted(alone.values()) == [0, 1, 2]


def test_an_engine_that_switches_serves_all_its_cases_on_one_worker() -> None:
    shares = assign(grid([1, 3, 5], [1], engine="transformers"), 2, timed=True)
    assert set(shares.values()) == {0}


def test_apart_each_configuration_is_a_share() -> None:
    assert len(set(assign_separately(grid([1, 3, 5], [1, 32])).values())) == 3


def test_one_worker_loads_a_server_that_runs_already() -> None:
    cases = grid([1, 3], [1, 32], models="mn")
    shares = Place(0, 4, assigned=True).shares(cases, True, 4, joined=True)
    assert shares == {one.run: 0 for one in cases}
    apart = Place(0, 4, assigned=False)
    with pytest.raises(DeviceError, match=r"4 workers would load the server .* leave --dist out"):
        apart.shares(cases, True, 4, joined=True)
    assert set(apart.shares(cases, True, 1, joined=True).values()) == {0}


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_work_is_dealt_evenly(workers: int) -> None:
    shares = list(assign(grid(list(range(1, 15)), [1]), workers, timed=False).values())
    counts = [shares.count(n) for n in range(workers)]
    assert max(counts) - min(counts) <= 1


class Node:
    """As much of xdist's worker as its schedulers see."""

    def __init__(self, name: str, popen: bool = True) -> None:
        self.gateway = SimpleNamespace(id=name, spec=SimpleNamespace(popen=popen))
        self.workerinput: dict[str, object] = {}
        self.shutting_down = False
        self.sent: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.sent += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def schedule(collection: list[str], way: str = "no") -> tuple[EngineScheduling, list[Node]]:
    pytest.importorskip("xdist")
    from xdist.remote import Producer

    values = {"tx": ["popen"] * 2, "maxschedchunk": None}
    option = SimpleNamespace(loadscopereorder=True, dist="load")
    config = SimpleNamespace(getvalue=values.get, getoption=values.get, option=option)
    scheduling = EngineScheduling(config, Producer("test", enabled=False), way)
    nodes = [Node("gw0"), Node("gw1")]
    for node in nodes:
        scheduling.add_node(node)
    for node in nodes:
        scheduling.add_node_collection(node, collection)
    scheduling.schedule()
    return scheduling, nodes


def test_cases_go_by_share_and_other_tests_as_ever() -> None:
    assigned = [f"t.py::test_gate[dl{n}]@speedbench-{n % 2}" for n in range(6)]
    _, nodes = schedule(assigned)
    assert sorted(node.sent for node in nodes) == [[0, 2, 4], [1, 3, 5]]
    scheduling, nodes = schedule([f"t.py::test_{n}" for n in range(6)])
    assert type(scheduling._inner).__name__ == "LoadScheduling"
    assert sorted(i for node in nodes for i in node.sent) == list(range(4))  # two each at first
    scheduling, _ = schedule(["t.py::test_a@mine", "t.py::test_b@mine"], "loadgroup")
    assert type(scheduling._inner).__name__ == "LoadGroupScheduling"


def test_the_test_in_which_a_worker_crashed_is_told_plainly_and_not_sent_again() -> None:
    scheduling, nodes = schedule([f"t.py::test_gate[dl{n}]@speedbench-0" for n in range(3)])
    busy = next(node for node in nodes if node.sent)
    scheduling.mark_test_complete(busy, 0)
    assert scheduling.remove_node(busy) == "t.py::test_gate[dl1]"
    late = Node("gw2")
    scheduling.add_node(late)
    scheduling.add_node_collection(late, scheduling.collection)
    scheduling.schedule()
    assert late.sent == [2]


def test_a_worker_that_replaces_another_gets_its_place() -> None:
    dealer = Assigner(SimpleNamespace(), "no", lambda told: None, lambda: None)
    dealer.pytest_xdist_setupnodes([SimpleNamespace(popen=popen) for popen in (True, True, None)])
    first, second, third = Node("gw0"), Node("gw1"), Node("gw2")
    for node in (first, second):
        dealer.pytest_configure_node(node)
    dealer.pytest_testnodedown(first)
    dealer.pytest_configure_node(third)
    places = [node.workerinput["speedbench"]["slot"] for node in (first, second, third)]
    assert places == [0, 1, 0]
    assert {node.workerinput["speedbench"]["workers"] for node in (first, second, third)} == {2}


def test_a_worker_on_another_machine_owns_all_of_it() -> None:
    far = Node("gw0", popen=False)
    Assigner(SimpleNamespace(), "no", lambda told: None, lambda: None).pytest_configure_node(far)
    assert far.workerinput == {}
