"""Engine arguments that an engine does not have are refused before anything is started."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_speedbench.engines import EngineConfig, EngineError, engine_type, simulated
from pytest_speedbench.engines.registry import check_arguments


def test_every_argument_of_the_simulated_engine_is_described() -> None:
    described = set(re.findall(r"^``([\w.]+)``", simulated.__doc__ or "", re.M))
    assert {name.replace("X", "*") for name in described} == set(simulated.ARGUMENTS)


def test_arguments_that_vllm_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "vllm"
    (package / "engine").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "engine" / "arg_utils.py").write_text(
        "class EngineArgs:\n    model: str = ''\n    max_model_len: int = 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "vllm", raising=False)
    known = EngineConfig("vllm", "m", args=(("max_model_len", 9), ("speculative.rejection", 1)))
    check_arguments(engine_type("vllm"), known)
    with pytest.raises(EngineError, match=r"no argument 'max_model_length'.*'max_model_len'"):
        check_arguments(engine_type("vllm"), replace(known, args=(("max_model_length", 9),)))


def test_an_engine_that_does_not_list_its_arguments_takes_them_all() -> None:
    config = EngineConfig("openai", "m", url="http://localhost", args=(("anything", 1),))
    check_arguments(engine_type("openai"), config)
