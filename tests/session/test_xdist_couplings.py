"""What we use of pytest-xdist without its documentation: says plainly when it changes.

Everything else goes through its hooks, ``config.workerinput``, ``config.workeroutput`` and the
environment variables that it documents.
"""

from __future__ import annotations

import inspect

import pytest

xdist = pytest.importorskip("xdist")

CHANGED = (
    "pytest-xdist {version} has changed what session/xdist_schedule.py relies on: {what}. Adapt "
    "that module, or lower the bound of pytest-xdist in pyproject.toml."
)


def require(holds: bool, what: str) -> None:
    assert holds, CHANGED.format(version=xdist.__version__, what=what)


def test_a_worker_sends_its_collection_by_sendevent() -> None:
    """``labelled`` wraps it to add the share of each test."""
    from xdist import remote

    worker = getattr(remote, "WorkerInteractor", None)
    require(worker is not None, "no class xdist.remote.WorkerInteractor")
    send = getattr(worker, "sendevent", None)
    require(send is not None, "WorkerInteractor has no method sendevent")
    parameters = list(inspect.signature(send).parameters.values())[1:]
    kinds = [parameter.kind for parameter in parameters]
    positional, keywords = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.VAR_KEYWORD
    require(kinds == [positional, keywords], "sendevent is not called as (name, **values)")


def test_the_collection_is_an_event_with_ids(pytester: pytest.Pytester) -> None:
    """In a real worker: the event that ``labelled`` looks for, with the ids of the tests."""
    pytester.makeconftest(
        """
        import pytest
        from pytest_speedbench.session.xdist_schedule import worker_of

        @pytest.hookimpl(wrapper=True)
        def pytest_collection_finish(session):
            worker = worker_of(session.config)
            if worker is None:
                return (yield)
            send, seen = worker.sendevent, []

            def log(name, **values):
                seen.append((name, values))
                send(name, **values)

            worker.sendevent = log
            yield
            del worker.sendevent
            session.config.workeroutput["seen"] = [
                (name, sorted(values), values.get("ids")) for name, values in seen
            ]

        @pytest.hookimpl(optionalhook=True)
        def pytest_testnodedown(node):
            print("seen:", node.workeroutput["seen"])
        """
    )
    pytester.makepyfile("def test_a(): pass\ndef test_b(): pass")
    result = pytester.runpytest_subprocess("-n1", "-s", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=2)
    lines = [line for line in result.outlines if "seen:" in line]
    ids = [f"test_the_collection_is_an_event_with_ids.py::test_{name}" for name in "ab"]
    require(
        len(lines) == 1 and "collectionfinish" in lines[0] and str(ids) in lines[0],
        f"a worker's collection is not an event 'collectionfinish' with ids ({lines})",
    )


def test_a_worker_on_this_machine_has_a_process() -> None:
    """``ControllerHooks.end_workers`` sends it a signal."""
    import execnet

    gateway = execnet.makegateway("popen")
    try:
        process = getattr(getattr(gateway, "_io", None), "popen", None)
        require(isinstance(getattr(process, "pid", None), int), "a gateway has no _io.popen.pid")
    finally:
        execnet.default_group.terminate(timeout=5)


def test_the_scheduler_by_group_keeps_its_work_by_node() -> None:
    """``EngineScheduling.remove_node`` reads from it in which test a worker has crashed."""
    from types import SimpleNamespace

    from xdist.remote import Producer
    from xdist.scheduler import LoadGroupScheduling

    from .test_xdist_schedule import Node

    values = {"tx": ["popen"], "maxschedchunk": None}
    option = SimpleNamespace(loadscopereorder=True, dist="loadgroup")
    config = SimpleNamespace(getvalue=values.get, getoption=values.get, option=option)
    scheduling = LoadGroupScheduling(config, Producer("test", enabled=False))
    node = Node("gw0")
    scheduling.add_node(node)
    scheduling.add_node_collection(node, ["t.py::test_a@0", "t.py::test_b@0"])
    scheduling.schedule()
    scheduling.mark_test_complete(node, 0)
    work = getattr(scheduling, "assigned_work", {}).get(node)
    expected = {"0": {"t.py::test_a@0": True, "t.py::test_b@0": False}}
    require(work == expected, f"assigned_work of a node is {work}, not {expected}")
