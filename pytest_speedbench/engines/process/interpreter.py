"""Another interpreter, which runs this package's code with the engine of its own environment.

Nothing is installed there. A temporary folder with a link to this package, and nothing else of this
environment, is the first entry of its import path; what the child imports of the package needs the
standard library alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pytest_speedbench.engines.process.wire import PROTOCOL, encode
from pytest_speedbench.engines.protocol import EngineConfig
from pytest_speedbench.errors import EngineError

Environment = Callable[[EngineConfig], Mapping[str, str]]
OLDEST = (3, 11)
OPTION = "--speed-against-python"
_SURVEY = "pytest_speedbench.engines.survey"
_PACKAGE = Path(__file__).parents[2]
_SECONDS = 60.0
# What would lead it to modules of this environment.
_DROPPED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
# Run by a folder's name, an interpreter puts that folder, and not the working folder, on its path.
_MAIN = """\
import runpy
import sys

runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, slots=True)
class Survey:
    """What another interpreter reports of itself: ``environment`` are the variables that the
    process of the engine needs there."""

    environment: dict[str, str] = field(default_factory=dict)


def find_interpreter(path: str) -> str:
    """The interpreter that ``path`` names, without following links: a virtual environment is known
    by them.

    Raises:
        EngineError: there is none, or it is older than Python 3.11.
    """
    found = shutil.which(os.path.expanduser(path))
    if found is None:
        raise EngineError(f"{OPTION}={path}: {_nothing_there(path)}")
    found = os.path.abspath(found)
    version = _version(found)
    if version < OLDEST:
        raise EngineError(
            f"{OPTION}={path}: Python {'.'.join(map(str, version))} cannot run the engine's "
            f"process; expected {'.'.join(map(str, OLDEST))} or later"
        )
    return found


def _nothing_there(path: str) -> str:
    folder = Path(path).expanduser()
    if (folder / "bin" / "python").exists():
        return f"a folder; name its interpreter: {folder / 'bin' / 'python'}"
    if folder.exists():
        return "not a program that can be run; expected the interpreter of an environment"
    return "no such interpreter; expected a path such as ENVIRONMENT/bin/python"


@cache
def _version(path: str) -> tuple[int, ...]:
    program = "import sys; print('version', *sys.version_info[:2])"
    done = _run([path, "-c", program], "")
    words = done.stdout.split()
    if done.returncode or words[:1] != ["version"]:
        raise EngineError(f"{OPTION}={path}: not a Python interpreter")
    return tuple(map(int, words[1:]))


@cache
def _code_folder() -> tempfile.TemporaryDirectory[str]:
    """Holds the package alone; removed at the end of this process."""
    folder = tempfile.TemporaryDirectory(prefix="speedbench-child-")
    (Path(folder.name) / _PACKAGE.name).symlink_to(_PACKAGE)
    (Path(folder.name) / "__main__.py").write_text(_MAIN, encoding="utf-8")
    return folder


def command(python: str, module: str) -> list[str]:
    """Runs ``module`` of this package by the interpreter ``python``."""
    return [python, _code_folder().name, module]


def variables(python: str) -> dict[str, str]:
    """The environment variables of a process of ``python``, as if its environment was active."""
    kept = {name: value for name, value in os.environ.items() if name not in _DROPPED}
    return {**kept, "PATH": f"{os.path.dirname(python)}{os.pathsep}{kept.get('PATH', os.defpath)}"}


@cache
def survey(config: EngineConfig, environment: Environment | None = None) -> Survey:
    """Asks the interpreter of ``config`` whether it can run the engine.

    Args:
        config: names the interpreter.
        environment: called there, with the configuration.

    Raises:
        EngineError: it lacks the engine, or the configuration cannot work there.
    """
    python = find_interpreter(config.python)
    function = f"{environment.__module__}:{environment.__qualname__}" if environment else ""
    question = encode(["survey", PROTOCOL, config, function]).decode()
    done = _run(command(python, _SURVEY), question)
    answer = _last_line(done.stdout)
    if done.returncode or answer is None:
        raise EngineError(f"{OPTION}={config.python}: it fails:\n{done.stderr.strip()[-2000:]}")
    if missing := answer.get("missing"):
        raise EngineError(
            f"{OPTION}={config.python}: engine {config.engine} is not installed there: no package "
            f"{missing!r} (install it: {python} -m pip install {missing.replace('_', '-')})"
        )
    if error := answer.get("error"):
        raise EngineError(f"{OPTION}={config.python}: {error}")
    return Survey(answer["environment"])


def _run(arguments: list[str], question: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            arguments,
            input=question,
            env=variables(arguments[0]),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{OPTION}={arguments[0]}: cannot be run: {error}") from error


def _last_line(output: str) -> dict[str, Any] | None:
    """The answer; what an environment prints at its start comes before it."""
    try:
        answer = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None
