"""Engine arguments that an engine does not have are refused before anything is started."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_speedbench.engines import EngineConfig, EngineError, engine_type, simulated
from pytest_speedbench.engines.registry import check_arguments


def test_every_argument_of_the_simulated_engine_is_described() -> None:
    described = set(re.findall(r"^``([\w.]+)``", simulated.__doc__ or "", re.M))
    assert {name.replace("X", "*") for name in described} == set(simulated.ARGUMENTS)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a module with a class of arguments where an engine has it."""

    def install(path: str, text: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        package = path.partition("/")[0]
        (tmp_path / package / "__init__.py").touch()
        file.write_text(text)
        monkeypatch.delitem(sys.modules, package, raising=False)

    monkeypatch.syspath_prepend(tmp_path)
    return install


VLLM = "class EngineArgs:\n    model: str = ''\n    max_model_len: int = 0\n"


def test_arguments_that_vllm_does_not_have(installed: Callable[[str, str], None]) -> None:
    installed("vllm/engine/arg_utils.py", VLLM)
    known = EngineConfig("vllm", "m", args=(("max_model_len", 9), ("speculative.rejection", 1)))
    check_arguments(engine_type("vllm"), known)
    with pytest.raises(EngineError, match=r"no argument 'max_model_length'.*'max_model_len'"):
        check_arguments(engine_type("vllm"), replace(known, args=(("max_model_length", 9),)))


def test_a_vllm_server_has_those_of_its_command_too(installed: Callable[[str, str], None]) -> None:
    installed("vllm/engine/arg_utils.py", VLLM)
    module = "vllm/entrypoints/launchers/cli_args.py"
    installed(module, "class FrontendArgs:\n    chat_template: str = ''\n")
    config = EngineConfig("vllm-server", "m", args=(("chat_templat", "x"),))
    adapter = engine_type("vllm-server")
    with pytest.raises(EngineError, match=r"no argument 'chat_templat'.*'chat_template'"):
        check_arguments(adapter, config)
    good = (("chat_template", "x"), ("port", 8), ("max_model_len", 9), ("speculative.x", 1))
    check_arguments(adapter, replace(config, args=good))
    check_arguments(adapter, replace(config, url="http://localhost"))


def test_arguments_that_sglang_does_not_have(installed: Callable[[str, str], None]) -> None:
    text = "class ServerArgs:\n    model_path: str = ''\n    tp_size: int = 1\n"
    installed("sglang/srt/server_args.py", text)
    config = EngineConfig("sglang", "m", args=(("tp_siz", 2),))
    with pytest.raises(EngineError, match=r"no argument 'tp_siz'.*'tp_size'"):
        check_arguments(engine_type("sglang"), config)
    check_arguments(engine_type("sglang"), replace(config, args=(("tp_siz", 2), ("serve", True))))


def test_an_engine_that_does_not_list_its_arguments_takes_them_all() -> None:
    config = EngineConfig("openai", "m", url="http://localhost", args=(("anything", 1),))
    check_arguments(engine_type("openai"), config)
