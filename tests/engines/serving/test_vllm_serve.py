"""The command that starts ``vllm serve``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_speedbench.engines import (
    NO_SPECULATION,
    EngineConfig,
    EngineError,
    EngineUnavailable,
    Speculation,
    open_engine,
)
from pytest_speedbench.engines.registry import check
from pytest_speedbench.engines.vllm import server as vllm_server
from pytest_speedbench.engines.vllm.server import launch


def flags(*args: tuple[str, object], speculation: Speculation = NO_SPECULATION) -> dict[str, str]:
    """Flag → its value; an empty one where none follows."""
    config = EngineConfig("vllm-server", "org/model", speculation, 32, args=args)
    command = list(launch(config, 8123).command)
    found: dict[str, str] = {}
    for word in command[command.index("--host") :]:
        if word.startswith("--"):
            name = word
            found[name] = ""
        else:
            found[name] = f"{found[name]} {word}".strip()
    return found


def test_default_arguments() -> None:
    found = flags()
    assert found["--port"] == "8123"
    assert found["--host"] == "127.0.0.1"
    assert found["--max-num-seqs"] == "32"
    assert "--no-enable-prefix-caching" in found
    assert not any("disable-log-stats" in name for name in found)
    assert "--speculative-config" not in found
    assert "--skip-tokenizer-init" not in found


@pytest.mark.parametrize(
    ("cpu", "module"), [(True, "openai.api_server --model"), (False, "cli.main serve")]
)
def test_the_build_for_cpus_has_no_command_line(
    cpu: bool, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_server, "cpu_build", lambda: cpu)
    command = launch(EngineConfig("vllm-server", "org/model"), 8123).command
    assert f"-m vllm.entrypoints.{module} org/model --host" in " ".join(command)


@pytest.mark.parametrize("known", [True, False])
def test_a_server_does_without_the_settings_of_the_checkpoint(
    known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_server, "has_argument", lambda name: known)
    assert flags().get("--generation-config") == ("vllm" if known else None)
    assert flags(("generation_config", "auto"))["--generation-config"] == "auto"


def test_every_argument_of_vllm_can_be_given() -> None:
    found = flags(
        ("tensor_parallel_size", 2),
        ("quantization", "fp8"),
        ("enable_prefix_caching", True),
        ("served_model_name", ["a", "b"]),
        ("compilation_config", {"level": 3}),
        ("max_num_seqs", 8),
        ("revision", None),
    )
    assert found["--tensor-parallel-size"] == "2"
    assert found["--quantization"] == "fp8"
    assert "--enable-prefix-caching" in found
    assert found["--served-model-name"] == "a b"
    assert json.loads(found["--compilation-config"]) == {"level": 3}
    assert found["--max-num-seqs"] == "8"
    assert "--revision" not in found


def test_speculation_is_vllms_own_configuration() -> None:
    found = flags(("speculative.prompt_lookup_max", 7), speculation=Speculation("ngram", 3))
    assert json.loads(found["--speculative-config"]) == {
        "method": "ngram",
        "num_speculative_tokens": 3,
        "prompt_lookup_max": 7,
        "prompt_lookup_min": 2,
    }


@pytest.mark.parametrize("known", [True, False])
def test_metrics_of_each_request_where_the_version_has_them(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "vllm" / "engine" / "arg_utils.py"
    source.parent.mkdir(parents=True)
    (tmp_path / "vllm" / "__init__.py").touch()
    source.write_text("per_request_spec_decode_metrics: str" if known else "", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = flags(speculation=Speculation("ngram", 3))
    assert found.get("--per-request-spec-decode-metrics") == ("detailed" if known else None)


def test_our_own_arguments_are_not_passed_to_the_server() -> None:
    found = flags(("api_key", "sk-secret"), ("reference_url", "http://x"), ("port", 1))
    assert "sk-secret" not in str(found)
    assert "--reference-url" not in found
    assert found["--port"] == "8123"


def test_configurations_that_cannot_work_are_refused_before_a_server_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vllm.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    config = EngineConfig("vllm-server", "org/model", Speculation("eagle3", 3))
    with pytest.raises(EngineError, match="method eagle3 needs a drafter"):
        check(config)


def test_a_running_server_needs_no_vllm_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vllm_server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match=r"\[server,vllm\]'; or join a running one"):
        vllm_server.ENGINE.refuse(EngineConfig("vllm-server", "org/model"))
    vllm_server.ENGINE.refuse(EngineConfig("vllm-server", "org/model", url="http://x"))


def test_a_method_of_other_engines_is_refused() -> None:
    with pytest.raises(EngineError, match=r"engine 'vllm-server' has no method 'early_exit'"):
        open_engine(EngineConfig("vllm-server", "m", Speculation("early_exit", 3, "4")), 1)


def test_a_method_outside_the_table_reaches_vllm_under_its_name() -> None:
    found = flags(speculation=Speculation("dspark", 3, "org/drafter"))
    assert json.loads(found["--speculative-config"]) == {
        "method": "dspark",
        "model": "org/drafter",
        "num_speculative_tokens": 3,
    }
