"""The table of methods, and names that it does not hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_speedbench.engines import engine_type, registry
from pytest_speedbench.engines.installed import enum_members, literal_values, source_of
from pytest_speedbench.engines.methods import METHODS, methods_of, traits, unknown_method_note
from pytest_speedbench.engines.protocol import EngineConfig, Speculation
from pytest_speedbench.engines.registry import check_method
from pytest_speedbench.errors import EngineError

VLLM = """
MTPModelTypes = Literal["deepseek_mtp", "mtp"]
EagleModelTypes = Literal["eagle", "eagle3", MTPModelTypes]
SpeculativeMethod = Literal["ngram", "dflash2", "mlp_speculator", EagleModelTypes]
Other = Literal["standard"]
"""
SGLANG = """
class SpeculativeAlgorithm(Enum):
    '''Builtin algorithms.'''

    DFLASH = auto()
    DFLASH2 = auto()
    NONE = auto()

    def is_none(self):
        X = 1
"""


def install(folder: Path, package: str, module: str, text: str) -> None:
    """An engine of which only the source that is read is there."""
    path = folder / package / module
    path.parent.mkdir(parents=True)
    (folder / package / "__init__.py").write_text("raise ImportError('read, not imported')\n")
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "vllm", "config/speculative.py", VLLM)
    install(tmp_path, "sglang", "srt/speculative/spec_info.py", SGLANG)
    source = '    decoding_type: Literal["DFlash2"] = "DFlash2"\n'
    install(tmp_path, "tensorrt_llm", "llmapi/llm_args.py", source)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_traits_agree_with_one_another() -> None:
    for name in METHODS:
        method = traits(name)
        assert method.in_table
        assert not (method.lookup and (method.every_step or method.takes_drafter))
        assert method.every_step == (name not in ("none", "ngram", "suffix"))
        assert unknown_method_note(name) == ""


def test_a_method_outside_the_table_gets_careful_traits() -> None:
    method = traits("dspark")
    assert not method.in_table
    assert not method.every_step
    assert not method.needs_drafter
    assert method.takes_drafter
    assert method.shape == "tree"
    assert "'dspark' is not in the table of methods" in unknown_method_note("dspark")


def test_every_engine_has_none_first_and_only_methods_of_the_table() -> None:
    for engine in registry._BUILTIN:
        methods = engine_type(engine).methods
        assert methods[0] == "none"
        assert set(methods) <= set(METHODS)
    assert methods_of("transformers") == ("none", "ngram", "draft_model", "early_exit")


OPEN = ("vllm", "vllm-server", "openai", "sglang", "tensorrt-llm")


@pytest.mark.parametrize("engine", OPEN)
@pytest.mark.parametrize("method", ["dspark", "lookahead", "ngram_gpu", "custom_class", "P2.5"])
def test_engines_with_an_open_list_take_other_names(engine: str, method: str) -> None:
    assert check_method(engine, method).name == engine


@pytest.mark.parametrize("engine", ["transformers", "simulated", "llama-cpp"])
def test_engines_with_a_closed_list_refuse_them(engine: str) -> None:
    with pytest.raises(EngineError, match=f"unknown method 'dspark'; engine '{engine}' has:"):
        check_method(engine, "dspark")


@pytest.mark.parametrize(
    ("method", "meant"),
    [
        ("eagle-3", "eagle3"),
        ("EAGLE3", "eagle3"),
        ("eagel", "eagle"),
        ("draft-model", "draft_model"),
        ("n-gram", "ngram"),
        ("sufix", "suffix"),
        ("dflash2", "dflash"),
        ("earlyexit", "early_exit"),
    ],
)
def test_a_misspelling_is_an_error_with_a_suggestion(method: str, meant: str) -> None:
    for engine in ("vllm-server", "openai"):
        with pytest.raises(EngineError, match=f"{method}' .did you mean .*'{meant}'"):
            check_method(engine, method)


def test_a_closed_list_suggests_only_what_it_has() -> None:
    with pytest.raises(EngineError, match="did you mean 'ngram'"):
        check_method("transformers", "ngrams")
    with pytest.raises(EngineError, match="unknown method 'eagle-3'; engine"):
        check_method("transformers", "eagle-3")


@pytest.mark.parametrize("engine", ["vllm", "vllm-server", "sglang", "tensorrt-llm"])
def test_a_name_that_the_installed_engine_lists_is_not_a_misspelling(
    engine: str, installed: None
) -> None:
    check_method(engine, "dflash2")
    with pytest.raises(EngineError, match="did you mean 'dflash'"):
        check_method(engine, "dflash3")


def test_a_method_of_the_table_that_only_the_installed_engine_lists(installed: None) -> None:
    check_method("vllm", "mlp_speculator")
    with pytest.raises(EngineError, match="engine 'sglang' has no method 'medusa'; it has: none"):
        check_method("sglang", "medusa")


@pytest.mark.parametrize(
    ("engine", "method", "ours"),
    [
        ("sglang", "standalone", "draft_model"),
        ("sglang", "NEXTN", "mtp"),
        ("tensorrt-llm", "Draft_Target", "draft_model"),
        ("transformers", "assistant_model", "draft_model"),
    ],
)
def test_an_engines_own_name_for_a_method_of_the_table(engine: str, method: str, ours: str) -> None:
    with pytest.raises(EngineError, match=f"'{method}' is called '{ours}' here"):
        check_method(engine, method)


@pytest.mark.parametrize("method", ["", " ", "a b", "x,y", "-x", "näme", "a/b"])
def test_what_is_not_a_name_is_refused(method: str) -> None:
    with pytest.raises(EngineError, match="unknown method"):
        check_method("vllm", method)


def test_an_adapter_of_a_third_party_is_closed_unless_it_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = replace(engine_type("simulated"), methods=("none", "tailored"))
    for adapter, refused in [(closed, True), (replace(closed, own_methods=list), False)]:
        monkeypatch.setattr(registry, "engine_type", lambda name, found=adapter: found)
        assert check_method("theirs", "tailored") is adapter
        if refused:
            with pytest.raises(EngineError, match="unknown method 'dspark'"):
                check_method("theirs", "dspark")
        else:
            assert check_method("theirs", "dspark") is adapter


@pytest.mark.parametrize(
    ("method", "url", "meant"),
    [
        ("dspark", "", None),
        ("lookahead", "", None),
        ("LOOKAHEAD", "", None),
        ("swift", "", None),
        ("dsprk", "", "dspark"),
        ("DSpark", "", "dspark"),
        ("look-ahead", "", "LOOKAHEAD"),
        ("dsprk", "http://gpu-box:8000", None),
    ],
)
def test_a_misspelling_of_what_only_the_installed_engine_lists(
    monkeypatch: pytest.MonkeyPatch, method: str, url: str, meant: str | None
) -> None:
    own = replace(
        engine_type("simulated"), own_methods=lambda: ["dspark", "LOOKAHEAD"], server=True
    )
    monkeypatch.setattr(registry, "engine_type", lambda name: own)
    config = EngineConfig("theirs", "m", Speculation(method, 3), url=url)
    if meant is None:
        assert registry.check(config) is own
    else:
        with pytest.raises(EngineError, match=rf"'{method}' \(did you mean '{meant}'\?\)$"):
            registry.check(config)


def test_lists_are_read_from_source(installed: None) -> None:
    assert literal_values(VLLM, "SpeculativeMethod") == {
        "ngram",
        "dflash2",
        "mlp_speculator",
        "eagle",
        "eagle3",
        "deepseek_mtp",
        "mtp",
    }
    assert enum_members(SGLANG, "SpeculativeAlgorithm") == {"DFLASH", "DFLASH2", "NONE"}
    assert literal_values("x = 1", "SpeculativeMethod") == frozenset()
    assert literal_values("A = Literal[A]", "A") == frozenset()
    assert enum_members("", "SpeculativeAlgorithm") == frozenset()
    assert source_of("vllm", "no/such/module.py") == ""
    assert source_of("no_such_package", "module.py") == ""
