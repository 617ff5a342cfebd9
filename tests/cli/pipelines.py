"""Pipelines of CI checked as their services check them, and their shell steps run here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import site
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from inner_runs import WITHOUT_OTHER_PLUGINS
from typer.testing import CliRunner as TyperRunner

from pytest_speedbench.cli import app

ACTIONLINT = shutil.which("actionlint")
# One quick measurement by the simulated engine, whatever the pipeline's own options say.
QUICK = (
    "-p no:cacheprovider -p no:xdist --speed-engine simulated --speed-method eagle3 "
    "--speed-samples 2 --speed-max-tokens 8 --speed-rounds 0 --speed-inconclusive pass"
)


def check_schema(*paths: Path, schema: str) -> None:
    """Fails where the published schema of a service refuses a file."""
    checker = pytest.importorskip("check_jsonschema")
    done = CliRunner().invoke(checker.main, ["--builtin-schema", schema, *map(str, paths)])
    assert done.exit_code == 0, done.output


def check_syntax(script: str) -> None:
    """Fails where bash cannot parse a step, or shellcheck, where there is one, warns of it."""
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stderr}\n{script}"
    if shutil.which("shellcheck"):
        # SC1091: an environment's activate script is not there yet.
        checker = ["shellcheck", "--shell=bash", "--exclude=SC1091", "-"]
        done = subprocess.run(checker, input=script, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def load(path: Path) -> dict[Any, Any]:
    data = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(data, dict)
    return data


def scripts(path: Path) -> Iterator[str]:
    """Every shell step of a pipeline."""
    data = load(path)
    if "jobs" in data:
        for job in data["jobs"].values():
            yield from (without_expressions(step["run"]) for step in job["steps"] if "run" in step)
    elif "steps" in data:
        yield from (as_uploaded(step["command"], {}) for step in data["steps"] if "command" in step)
    else:
        for job in data.values():
            if isinstance(job, dict) and ("script" in job or "before_script" in job):
                yield "\n".join(job.get("before_script", []) + job.get("script", []))


def without_expressions(script: str) -> str:
    """A step of GitHub Actions, each expression replaced by a word."""
    while "${{" in script:
        head, _, tail = script.partition("${{")
        script = head + "EXPRESSION" + tail.partition("}}")[2]
    return script


def as_uploaded(text: str, environment: Mapping[str, str]) -> str:
    """What Buildkite makes of a command: ``${NAME}`` is replaced, ``$$`` becomes ``$``."""
    for name, value in environment.items():
        text = text.replace(f"${{{name}}}", value)
    return text.replace("$$", "$")


def run_session(folder: Path, *arguments: str) -> int:
    """A session of pytest in this process, which has most of its modules loaded; its exit code."""
    here = (f"--rootdir={folder}", "--import-mode=importlib", "-p", "no:hypothesispytest")
    # Its last act would be to collect the garbage of the whole run around it, in 0.3 s.
    quiet = ("-p", "no:xdist", "-p", "no:cacheprovider", "-p", "no:unraisableexception")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code = pytest.main([*here, *quiet, *arguments])
    # The next project has test files of the same names.
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(f"{folder}{os.sep}"):
            del sys.modules[name]
    return code


class Runner:
    """A machine of CI: an environment of its own that sees the packages installed here.

    pip installs without a network: what is here already counts as installed, and the project under
    test is built by the setuptools of this environment.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self._bin = home / "bin"
        self._bin.mkdir(parents=True)
        self._script("pytest", 'exec python -P -m pytest "$@"')
        main = "from pytest_speedbench.cli import main; main()"
        self._script("speedbench", f'exec python -P -c "{main}" "$@"')
        environment = home / "environment"
        self._make_environments_without_pip(environment)
        packages = [os.environ.get("PYTHONPATH", ""), *site.getsitepackages()]
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "PATH": os.pathsep.join([str(self._bin), str(environment / "bin"), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join(filter(None, packages)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTEST_ADDOPTS": f"{QUICK} {WITHOUT_OTHER_PLUGINS}",
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads the negation: this switches isolation off
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def _make_environments_without_pip(self, environment: Path) -> None:
        """Its own and those that steps make: pip is found by ``PYTHONPATH``, and seconds saved."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
        for name in ("python", "python3"):
            self._script(
                name,
                f'if [ "$1 $2" = "-m venv" ]; then set -- -m venv --without-pip "$3"; fi\n'
                f'exec {environment / "bin" / "python"} "$@"',
            )

    def _script(self, name: str, text: str) -> None:
        path = self._bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def stand_in(self, name: str, text: str) -> None:
        """A program of the service that is not here."""
        self._script(name, text)

    def run(self, script: str, folder: Path, **environment: str) -> str:
        """Runs a step as CI does; its output.

        Fails where the step does.
        """
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=folder,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"exit code {done.returncode}\n{script}\n{done.stdout}"
        return done.stdout

    def run_lines(self, script: str, folder: Path) -> str:
        """Runs commands one by one: ours in this process, which has them loaded; their output.

        Fails at the first that fails.
        """
        values: dict[str, str] = {}
        output = ""
        for line in script.splitlines():
            if assigned := re.fullmatch(r"(\w+)=(.*)", line):
                values[assigned[1]] = shlex.split(assigned[2])[0]
                continue
            command = re.sub(r"\$(\w+)", lambda name: values[name[1]], line)
            if re.match(r"(speedbench|pytest) [^$*?|&;<]*$", command):
                output += self._run_here(command, folder)
            elif command:
                output += self.run(command, folder)
        return output

    def _run_here(self, line: str, folder: Path) -> str:
        command, _, target = line.partition(" > ")
        program, *arguments = shlex.split(command, comments=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("HOME", str(self.home))
            patch.setenv("PYTEST_ADDOPTS", self.environment["PYTEST_ADDOPTS"])
            if program == "pytest":
                with redirect_stdout(StringIO()) as shown:
                    code = run_session(folder, "--capture=sys", "-W", "default", *arguments)
                output = printed = shown.getvalue()
            else:
                done = TyperRunner().invoke(app, arguments)
                code, output, printed = done.exit_code, done.output, done.stdout
        assert code == 0, f"exit code {code}\n{line}\n{output}"
        if target:
            (folder / target.strip()).write_text(printed)
        return output
