"""``--speed-url``: whole runs against small HTTP servers that speak as vLLM and others do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import aiohttp  # noqa: F401 - a run inside a run would import it anew each time
import prometheus_client.parser  # noqa: F401
import pytest
from engines.serving.fake import Script, serving
from engines.serving.test_openai import stream
from engines.serving.vllm_fake import Vllm

from pytest_speedbench.engines import openai
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.engines.vllm import server as vllm_server

from .conftest import Project, text_of

TIMED = {"speed_rounds": "2", "speed_engine": "vllm-server", "speed_dl": "3"}


@pytest.fixture(autouse=True)
def _without_a_model(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The engines as they are, but words for tokens: no model's tokenizer is needed."""
    for module in (vllm_server, openai):
        monkeypatch.setattr(module, "ENGINE", replace(module.ENGINE, tokenizer="words"))
    engine_type.cache_clear()
    yield
    engine_type.cache_clear()


@pytest.fixture
def vllm() -> Iterator[Vllm]:
    fake = Vllm()
    with serving(fake.script) as fake.url:
        yield fake


def test_a_joined_server_is_measured_checked_and_recorded(project: Project, vllm: Vllm) -> None:
    project.gate(body="assert speed.acceptance_length >= 1.5; assert speed.output_tps > 0")
    key = ("--speed-engine-arg", "api_key=sk-very-secret")
    result = project.run(f"--speed-url={vllm.url}", "--benchmark-autosave", *key, **TIMED)
    result.assert_outcomes(passed=1)
    record = project.records()[0]
    assert record.prompt_form == "token_ids"
    assert record.engine.name == "vllm-server"
    assert record.metrics["acceptance_length"].value == 2.0  # four tokens in two steps
    assert "sk-very-secret" not in project.saved[-1].read_text(encoding="utf-8")
    assert "sk-very-secret" not in result.stdout.str()
    assert vllm.script.headers[-1]["Authorization"] == "Bearer sk-very-secret"


def test_a_method_outside_the_table_runs_and_is_reported(project: Project, vllm: Vllm) -> None:
    project.gate("method='dspark'", body="assert speed.acceptance_length >= 1.5")
    result = project.run(f"--speed-url={vllm.url}", "--benchmark-autosave", **TIMED)
    result.assert_outcomes(passed=1)
    record = project.records()[0]
    assert record.case.method == "dspark"
    note = "method 'dspark' is not in the table of methods"
    assert any(note in found for found in record.notes)
    assert note in text_of(result)


def test_there_is_no_speedup_without_a_second_address(project: Project, vllm: Vllm) -> None:
    project.gate(body="speed.speedup")
    result = project.run(f"--speed-url={vllm.url}", **TIMED)
    result.assert_outcomes(failed=1)
    assert "NoData: the arm without SD was not measured" in text_of(result)
    assert "--speed-engine-arg reference_url=URL" in text_of(result)


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ("never_worse(than='none')", "is already running, so the arm without SD needs a second"),
        ("lossless()", "assert_lossless needs the arm without SD, and a server at --speed-url"),
    ],
)
def test_a_server_is_not_compared_with_itself(project: Project, check: str, why: str) -> None:
    with serving(Script(stream())) as url:  # reports nothing of speculation
        project.gate(body=f"speed.assert_{check}")
        result = project.run(f"--speed-url={url}", **{**TIMED, "speed_engine": "openai"})
    result.assert_outcomes(failed=1)
    assert why in text_of(result)
    assert "reference_url=URL" in text_of(result)


def test_the_second_address_is_the_arm_without_speculation(project: Project, vllm: Vllm) -> None:
    plain = Vllm(chunks=[1] * 5, accepted=None)
    with serving(plain.script) as url:
        project.gate(body="assert speed.speedup.value > 0")
        reference = ("--speed-engine-arg", f"reference_url={url}")
        result = project.run(f"--speed-url={vllm.url}", *reference, **TIMED)
    result.assert_outcomes(passed=1)
    assert len(plain.script.asked) == len(vllm.script.asked)


def test_somebody_else_on_the_server_without_speculation_is_noted(
    project: Project, vllm: Vllm
) -> None:
    plain = Vllm(chunks=[1] * 5, accepted=None)
    own = plain.count

    def count() -> None:
        own()
        plain.generated += 1

    plain.count = count  # type: ignore[method-assign]
    with serving(plain.script) as url:
        project.gate(body="assert speed.speedup.value > 0")
        reference = ("--speed-engine-arg", f"reference_url={url}")
        result = project.run(f"--speed-url={vllm.url}", *reference, **TIMED)
    result.assert_outcomes(passed=1)
    text = text_of(result)
    assert f"note: without SD, the server's counters are not usable: {url} counts 30 output" in text
    assert "but 25 were received; other clients use the server" in text


def test_an_unknown_server_gives_timing_and_no_acceptance(project: Project) -> None:
    with serving(Script(stream())) as url:
        project.gate(
            body="assert speed.output_tps > 0\n"
            "    with pytest.raises(Exception) as caught: speed.acceptance_length\n"
            "    assert 'NoData' in type(caught.value).__name__"
        )
        ini = {**TIMED, "speed_engine": "openai"}
        result = project.run(f"--speed-url={url}", "--benchmark-autosave", **ini)
    result.assert_outcomes(passed=1)
    record = project.records()[0]
    assert record.prompt_form == "chat"
    assert "timing only" in text_of(result)


@pytest.mark.parametrize(
    ("status", "fix"), [(429, "lower --speed-bs"), (401, "OPENAI_API_KEY"), (500, "its own log")]
)
def test_a_server_that_refuses_ends_the_test_with_the_fix(
    project: Project, vllm: Vllm, status: int, fix: str
) -> None:
    vllm.script.status = status
    project.gate()
    result = project.run(f"--speed-url={vllm.url}", **TIMED)
    assert result.ret == 1
    assert f"HTTP {status} from {vllm.url}/v1/completions" in text_of(result)
    assert fix in text_of(result)


@pytest.mark.parametrize(("slots", "told"), [(2, True), (8, False)])
def test_a_server_with_fewer_slots_than_the_batch_is_noticed(
    project: Project, vllm: Vllm, slots: int, told: bool
) -> None:
    own = vllm.script.events
    vllm.script.slots = threading.Semaphore(slots)
    vllm.script.events = lambda body: [e for event in own(body) for e in (event, 0.05)]
    project.gate("bs=8, samples=16")
    result = project.run(f"--speed-url={vllm.url}", **TIMED)
    result.assert_outcomes(passed=1)
    note = "note: at most 2 requests were decoded at once, not 8"
    assert (note in text_of(result)) is told


def test_somebody_else_on_the_server_is_noticed(project: Project, vllm: Vllm) -> None:
    own = vllm.count

    def count() -> None:
        own()
        vllm.generated += 1

    vllm.count = count  # type: ignore[method-assign]
    project.gate()
    result = project.run(f"--speed-url={vllm.url}", **TIMED)
    assert result.ret == 1
    assert "is another client using this engine?" in text_of(result)


def test_an_address_that_nobody_listens_at(project: Project) -> None:
    project.gate()
    result = project.run("--speed-url=http://127.0.0.1:9", **TIMED)
    assert result.ret == 1
    assert "no server answers at http://127.0.0.1:9 (" in text_of(result)
