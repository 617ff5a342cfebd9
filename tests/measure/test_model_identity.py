"""What tells two models of one name apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_speedbench.engines.demo import DEMO_INSTALL, DEMO_MODEL, demo_available
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.measure.model_identity import model_identity


def identity(model: Path, engine: str = "llama-cpp") -> dict[str, str]:
    return model_identity(str(model), engine_type(engine).weights(str(model)))


def test_a_file_of_other_weights_is_another_model_of_the_same_name(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF" + bytes(4_000_000))
    before = identity(file)
    assert before["name"] == "model.gguf"
    assert identity(file) == before
    file.write_bytes(b"GGUF" + bytes(3_999_999) + b"1")
    after = identity(file)
    assert after["name"] == before["name"]
    assert after["weights"] != before["weights"]


def test_a_folder_is_known_by_what_the_engine_loads_from_it(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"dense")
    (tmp_path / "model.gguf").write_bytes(b"GGUF small")
    dense, small = identity(tmp_path, "vllm"), identity(tmp_path)
    assert dense["weights"] != small["weights"]
    assert dense["name"] == small["name"] == tmp_path.name


def test_a_model_in_the_hubs_cache_keeps_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "models--org--my-model" / "snapshots" / "0f3a9c"
    folder.mkdir(parents=True)
    assert identity(folder, "vllm")["name"] == "org/my-model"
    link = tmp_path / "link"
    link.symlink_to(folder)
    assert identity(link, "vllm")["name"] == "org/my-model"
    assert identity(folder.parent, "vllm")["name"] == "snapshots"


def test_a_name_that_only_a_server_knows_has_no_weights() -> None:
    name = "org/on-a-server"
    assert identity(Path(name)) == {"name": name, "weights": "", "revision": ""}


@pytest.mark.skipif(not demo_available(), reason=f"needs {DEMO_INSTALL}")
def test_llama_cpps_demo_model_is_the_quantized_file() -> None:
    assert engine_type("llama-cpp").weights(DEMO_MODEL).endswith(".gguf")
    assert engine_type("transformers").weights(DEMO_MODEL) == ""
