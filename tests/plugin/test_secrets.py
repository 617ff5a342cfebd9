"""No token, key or password reaches a record or a report."""

from __future__ import annotations

from dataclasses import replace

import pytest
from engines.serving.fake import Script, serving

from pytest_speedbench.engines import openai, simulated
from pytest_speedbench.engines.protocol import EngineConfig
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.engines.serving.process import refuse_visible_secrets
from pytest_speedbench.errors import EngineError
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


BODY = """
import pytest

def ask(api_key, header, setting):
    raise RuntimeError(f"401: {header} is refused")

@pytest.mark.speed()
def test_gate(speed):
    assert speed.acceptance_length > 0
    journal = next(__import__("pathlib").Path().glob(".benchmarks/.speedbench-journal/*"))
    __import__("pathlib").Path("journal.txt").write_text(journal.read_text())

@pytest.mark.speed(bs=2)
def test_broken(speed):
    import os
    key = os.environ["OPENAI_API_KEY"]
    try:
        ask(key, f"\x1b[31mX-Api-Key: {key}", speed.run.setting)
    except RuntimeError as error:
        raise ValueError("no answer to bearer-secret-3") from error
"""
OF_ENVIRONMENT = {
    "OPENAI_API_KEY": "openai-environment-secret",
    "HF_TOKEN": "hf_environmentsecret",
    "DB_PASSWD": "environment-password",
}


@pytest.fixture
def texts(project: Project, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Everything that a run writes, by where."""
    for name, value in OF_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / "step.md"))
    project.file("test_it.py", BODY)
    arguments = [f"--speed-engine-arg={name}={value}" for name, value in SECRETS.items()]
    result = project.run(
        *(*arguments, "--benchmark-autosave", "--benchmark-json=o.json", "--junitxml=o.xml"),
        *("--speed-summary=o.md", "--speed-report=o.html", "--showlocals", "-v", "--color=no"),
    )
    result.assert_outcomes(passed=1, failed=1)
    names = ("o.md", "o.html", "o.json", "o.xml", "step.md", "journal.txt")
    files = [project.saved[-1], *(project.path / name for name in names)]
    return {path.name: path.read_text() for path in files} | {"terminal": result.stdout.str()}


def test_no_secret_is_written_anywhere(texts: dict[str, str]) -> None:
    found = [
        (where, secret)
        for where, text in texts.items()
        for secret in (*HIDDEN, *OF_ENVIRONMENT.values())
        if secret in text
    ]
    assert found == []
    assert "\x1b" not in texts["terminal"]
    assert r"\x1b[31mX-Api-Key: [hidden] is refused" in texts["terminal"]


def test_a_server_that_repeats_its_key_is_not_quoted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai, "ENGINE", replace(openai.ENGINE, tokenizer="words"))
    engine_type.cache_clear()
    key = "plain-looking-key"
    script = Script(status=401, refusal=f"Incorrect key {key[:-1]}y, \x1b[31m{key.upper()}")
    script.pages["/v1/models"] = {"data": [{"id": "org/model"}]}
    project.gate()
    with serving(script) as url:
        result = project.run(
            f"--speed-url={url}/v1", f"--speed-engine-arg=api_key={key}", speed_engine="openai"
        )
    engine_type.cache_clear()
    result.assert_outcomes(errors=1)
    assert key not in result.stdout.str()
    assert "\x1b[31m" not in result.stdout.str()


def test_the_command_of_a_server_holds_no_secret() -> None:
    """Any user of a machine can read the commands of its processes."""
    command = ("vllm", "serve", "--hf-token=plain-secret")
    config = EngineConfig("vllm", "org/model", args=(("hf_token", "plain-secret"),))
    with pytest.raises(EngineError, match="set the environment variable") as error:
        refuse_visible_secrets(config, command)
    assert "plain-secret" not in str(error.value)
    refuse_visible_secrets(replace(config, args=(("max_tokens", 8),)), ("serve", "8"))


def test_code_of_a_model_is_trusted_only_where_asked_for_and_that_is_recorded(
    project: Project,
) -> None:
    project.gate()
    project.run("--benchmark-autosave")
    assert "trust_remote_code" not in project.saved[-1].read_text()
    project.run("--benchmark-autosave", "--speed-engine-arg=trust_remote_code=true")
    assert project.records()[0].engine.args["trust_remote_code"] is True


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


def test_an_engine_argument_is_json_where_it_is_json() -> None:
    assert argument('a={"b": 1}', True) == ("a", {"b": 1})
    assert argument("a=text", True) == ("a", "text")
    assert argument("a=b=c", True) == ("a", "b=c")
