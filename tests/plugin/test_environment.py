"""A measurement belongs to the environment that its engine was started in."""

from __future__ import annotations

from .conftest import EngineLog, Project

MEASURED = """
import os
import pytest

{fixture}

{decorator}
@pytest.mark.speed()
def test_gate({arguments}speed):
    assert speed.acceptance_length > 1
"""
SETS = """
@pytest.fixture{parameters}
def backend(request, monkeypatch):
    monkeypatch.setenv("ENGINE_BACKEND", request.param)
"""
INDIRECT = "@pytest.mark.parametrize('backend', ['one', 'two'], indirect=True)"


def write(project: Project, fixture: str, decorator: str, arguments: str) -> None:
    text = MEASURED.format(fixture=fixture, decorator=decorator, arguments=arguments)
    project.file("test_it.py", text)


def test_parametrised_fixtures_do_not_share_a_run(project: Project, engines: EngineLog) -> None:
    write(project, SETS.format(parameters=""), INDIRECT, "backend, ")
    project.run("--benchmark-save=a").assert_outcomes(passed=2)
    starts = [event for event in engines.events if event.startswith("start")]
    assert len(starts) == 2
    keys = [record.case.environment for record in project.records()]
    assert keys == ["backend=one", "backend=two"]
    result = project.run("--speed-compare", "--speed-require-baseline")
    result.assert_outcomes(passed=2)


def test_a_parameter_of_the_test_alone_shares_it(project: Project, engines: EngineLog) -> None:
    write(project, "", "@pytest.mark.parametrize('least', [1, 2])", "least, ")
    project.run().assert_outcomes(passed=2)
    assert engines.events.count("start simulated eagle3 dl3") == 1


def test_a_watched_variable_that_a_test_sets_is_measured_apart(
    project: Project, engines: EngineLog
) -> None:
    project.file(
        "test_it.py",
        """
import pytest

@pytest.fixture
def other(monkeypatch):
    monkeypatch.setenv("VLLM_ATTENTION_BACKEND", "other")

@pytest.mark.speed()
def test_as_it_is(speed): ...

@pytest.mark.speed()
def test_other(other, speed): ...

@pytest.mark.speed()
def test_as_it_was(speed): ...
""",
    )
    project.run().assert_outcomes(passed=3)
    assert engines.events == [
        "start simulated eagle3 dl3",
        "close simulated eagle3 dl3",
        "start simulated eagle3 dl3",
        "close simulated eagle3 dl3",
    ]


def test_engine_env_reaches_the_engine_and_no_secret_the_record(project: Project) -> None:
    project.gate("engine_env={'VLLM_X': '1', 'HF_TOKEN': 'zq9-secret'}")
    project.run("--benchmark-save=a").assert_outcomes(passed=1)
    (record,) = project.records()
    assert record.engine.details["environment"] == {"VLLM_X": "1", "HF_TOKEN": "[hidden]"}
    assert not any("zq9-secret" in path.read_text() for path in project.saved)


def test_a_joined_server_has_its_own_environment(project: Project) -> None:
    project.gate()
    result = project.run(
        "--speed-engine-env=A=1", "--speed-engine=openai", "--speed-url=http://127.0.0.1:9"
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*has its own environment variables: leave --speed-engine-env*"])
