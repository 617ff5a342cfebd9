"""The engine of another environment, driven by this package's own code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_speedbench.engines import EngineConfig, EngineError, Speculation, open_engine
from pytest_speedbench.engines.packages import commit_of
from pytest_speedbench.engines.process import interpreter, parent
from pytest_speedbench.engines.process.interpreter import find_interpreter
from pytest_speedbench.engines.process.parent import ChildEngine

from .test_parent import collect_all, requests

SD = Speculation("eagle3", 3)
BACKENDS = ("simulated", "transformers", "vllm.backend", "sglang.backend", "tensorrt_llm.backend")


def config(python: str, engine: str = "simulated", **args: object) -> EngineConfig:
    return EngineConfig(engine, "org/m", SD, 4, args=tuple(args.items()), python=python)


def test_an_engine_runs_in_an_environment_without_this_package(bare_python: str) -> None:
    engine = open_engine(config(bare_python), 20)
    try:
        assert isinstance(engine, ChildEngine)
        running = Path(f"/proc/{engine.pid}/cmdline").read_text().split("\0")[0]
        assert running == bare_python
        engine.hold(2)
        engine.submit(requests(3))
        assert sorted(collect_all(engine, 3)) == ["r0", "r1", "r2"]
        assert engine.info.commit == "unknown"
    finally:
        engine.close()


@pytest.mark.parametrize("module", BACKENDS)
def test_a_backend_needs_its_engine_alone(module: str, bare_python: str) -> None:
    """Imported without the engine: what it imports of this package is in the standard library."""
    name = f"pytest_speedbench.engines.{module}"
    folder = interpreter.command(bare_python, "")[1]
    program = f"import sys; sys.path.insert(0, {folder!r}); import {name}"
    done = subprocess.run(
        [bare_python, "-I", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_modules_of_this_environment_are_not_found_there(
    bare_python: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither by PYTHONPATH nor in the working folder."""
    (tmp_path / "vllm.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError, match=r"engine vllm is not installed there.*-m pip install"):
        open_engine(config(bare_python, "vllm"), 20)


def test_an_argument_that_the_engine_does_not_have_there(bare_python: str) -> None:
    with pytest.raises(EngineError, match=r"--speed-against-python=.*no argument 'speling'"):
        open_engine(config(bare_python, speling=1), 20)


def test_a_server_is_not_started_by_another_interpreter(bare_python: str) -> None:
    with pytest.raises(EngineError, match="--speed-against-url"):
        open_engine(config(bare_python, "llama-cpp"), 20)


def _script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: str(folder / "none"), "no such interpreter"),
        (lambda folder: str(Path(sys.prefix)), "a folder; name its interpreter: .*bin/python"),
        (lambda folder: str(folder), "not a program that can be run"),
        (lambda folder: _script(folder / "ls", "exit 2"), "not a Python interpreter"),
        (
            lambda folder: _script(folder / "old", "echo version 3 9"),
            r"Python 3\.9 cannot run .* expected 3\.11 or later",
        ),
    ],
)
def test_what_is_no_interpreter(make: Callable[[Path], str], message: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=rf"--speed-against-python=.*{message}"):
        find_interpreter(make(tmp_path))


def test_a_child_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parent, "PROTOCOL", 99)
    with pytest.raises(EngineError, match=r"version 1 of the protocol, this session version 99"):
        open_engine(config(""), 20)


def test_an_engine_whose_messages_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = open_engine(config(""), 20)
    monkeypatch.setattr(engine, "_connection", Babble())
    try:
        with pytest.raises(EngineError, match="sent a message that cannot be read"):
            engine.counters()
    finally:
        engine.close()


class Babble:
    """A connection on which something else than our messages arrives."""

    def poll(self, timeout: float | None) -> bool:
        return True

    def recv(self) -> list[object]:
        return ["reply", {"drafts": 1, "unheard": 2}]

    def send(self, message: object) -> None:
        """Nobody listens."""

    def close(self) -> None:
        """Nothing to close."""


def test_the_commit_of_an_installed_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, version, origin in (
        ("by-version", "1.2.dev3+g0a1b2c3d4", ""),
        ("by-version-cpu-only", "1.2.dev3+g0a1b2c3d4.cpu", ""),
        ("from-repository", "1.0", '{"url": "u", "vcs_info": {"commit_id": "abc123"}}'),
        ("from-folder", "1.0", '{"url": "file:///nowhere", "dir_info": {}}'),
        ("damaged", "1.0", "{"),
    ):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
        if origin:
            (folder / "direct_url.json").write_text(origin)
    names = ("by-version", "by-version-cpu-only", "from-repository", "from-folder", "damaged", "no")
    unknown = ["unknown"] * 3
    assert [commit_of(n) for n in names] == ["0a1b2c3d4", "0a1b2c3d4", "abc123", *unknown]
