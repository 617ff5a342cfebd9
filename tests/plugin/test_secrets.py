"""No token, key or password reaches a record or a report."""

from __future__ import annotations

import pytest

from pytest_speedbench.engines import simulated
from pytest_speedbench.plan.values import argument

from .conftest import Project

SECRETS = {
    "hf_token": "hf_abcdefghijklmnop",
    "api_key": "plain-looking-9",
    "password": "hunter2-hunter2",
    "nested": '{"auth": "inner-secret-1", "list": ["sk-abcdefghijklmnop"]}',
    "url": "https://user:pass-word-5@host/x?token=query-secret-7",
    "header": "Authorization: Bearer bearer-secret-3",
    "tokenizer_auth_token": "deep-secret-4",
    "secret-key": "dashed-secret-6",
    "AWS_SECRET_ACCESS_KEY": "aws-secret-8",
}
HIDDEN = (
    "hf_abcdefghijklmnop",
    "plain-looking-9",
    "hunter2",
    "inner-secret",
    "sk-abcdef",
    "pass-word-5",
    "query-secret-7",
    "bearer-secret",
    "deep-secret",
    "dashed-secret",
    "aws-secret",
)


@pytest.fixture(autouse=True)
def _any_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an engine that alone knows its arguments."""
    monkeypatch.setattr(simulated, "ARGUMENTS", None)


@pytest.fixture
def texts(project: Project) -> str:
    """Everything that a run writes."""
    project.gate()
    arguments = [f"--speed-engine-arg={name}={value}" for name, value in SECRETS.items()]
    result = project.run(
        *arguments, "--benchmark-autosave", "--speed-summary=o.md", "--speed-report=o.html"
    )
    result.assert_outcomes(passed=1)
    files = [project.saved[-1], project.path / "o.md", project.path / "o.html"]
    return "".join(path.read_text() for path in files) + result.stdout.str()


def test_secrets_in_engine_arguments(texts: str) -> None:
    assert [secret for secret in HIDDEN if secret in texts] == []


def test_ordinary_arguments_are_kept(project: Project) -> None:
    project.gate()
    project.run(
        "--benchmark-autosave",
        "--speed-engine-arg=max_num_batched_tokens=64",
        "--speed-engine-arg=tokenizer_mode=auto",
        "--speed-engine-arg=num_speculative_tokens=3",
    )
    args = project.records()[0].engine.args
    assert args["max_num_batched_tokens"] == 64
    assert args["tokenizer_mode"] == "auto"
    assert args["num_speculative_tokens"] == 3


def test_secrets_in_the_environment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_environmentsecret")
    monkeypatch.setenv("OPENAI_API_KEY", "openai-environment-secret")
    project.gate()
    project.run("--benchmark-autosave")
    text = project.saved[-1].read_text()
    assert "environmentsecret" not in text
    assert "openai-environment" not in text


def test_an_engine_argument_is_json_where_it_is_json() -> None:
    assert argument('a={"b": 1}', True) == ("a", {"b": 1})
    assert argument("a=text", True) == ("a", "text")
    assert argument("a=b=c", True) == ("a", "b=c")
