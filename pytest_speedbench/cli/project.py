"""What ``speedbench init`` finds in a project: how it is installed, its tests, its main branch."""

from __future__ import annotations

import shlex
import subprocess
import tomllib
from configparser import ConfigParser
from configparser import Error as IniError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_speedbench.errors import CliError

PLUGIN = "pytest-speedbench[demo,report]"
PYTHONS = ("3.12", "3.13", "3.11")
_TEST_EXTRAS = ("test", "tests", "testing", "dev")
_TEST_REQUIREMENTS = (
    "requirements-test.txt",
    "requirements-dev.txt",
    "test-requirements.txt",
    "dev-requirements.txt",
)
_TEST_FOLDERS = ("tests", "test")


@dataclass(frozen=True, slots=True)
class Project:
    """The project in ``folder``.

    ``extra`` is the optional dependency of its tests, ``requirements`` the files of requirements
    to install, ``pip_cache`` the file whose digest is the key of pip's cache; "" for none.
    """

    folder: Path
    installable: bool
    extra: str
    requirements: tuple[str, ...]
    pip_cache: str
    tests: Path
    python: str
    branch: str

    @property
    def installs(self) -> bool:
        """Whether there is anything of the project to install."""
        return self.installable or bool(self.requirements)

    @property
    def pip_arguments(self) -> str:
        """What ``pip install`` gets, in the words of a shell."""
        own = f".[{self.extra}]" if self.extra else "."
        words = [PLUGIN, *([own] if self.installable else [])]
        for file in self.requirements:
            words += ["-r", file]
        return shlex.join(words)

    @property
    def pytest(self) -> str:
        """The command that runs tests: those of an installed project import the installed one."""
        return "pytest" if self.installable else "python -m pytest"


def inspect_project(folder: Path) -> Project:
    """Reads the files of a project; a folder without any is a project too.

    Raises:
        CliError: ``pyproject.toml`` cannot be read.
    """
    settings = _pyproject(folder / "pyproject.toml")
    installable = _installable(folder, settings)
    requirements = _requirements(folder, installable)
    return Project(
        folder,
        installable,
        _test_extra(settings) if installable else "",
        requirements,
        _pip_cache(folder, installable, requirements),
        folder / _test_folder(folder, settings, installable),
        _python(settings),
        _main_branch(folder),
    )


def _pyproject(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CliError(f"cannot read {path}: {error}") from error


def _installable(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether pip can install the folder: a pyproject.toml may hold settings of tools alone."""
    if _table(settings, "tool", "uv").get("package") is False:
        return False
    declared = "project" in settings or "build-system" in settings
    return declared or any((folder / name).exists() for name in ("setup.py", "setup.cfg"))


def _test_extra(settings: dict[str, Any]) -> str:
    extras = {
        *_table(settings, "project", "optional-dependencies"),
        *_table(settings, "tool", "poetry", "extras"),
    }
    return next((name for name in _TEST_EXTRAS if name in extras), "")


def _requirements(folder: Path, installable: bool) -> tuple[str, ...]:
    """The project's own file, unless its metadata say the same, and the first one for tests."""
    own = [] if installable else ["requirements.txt"]
    found = [name for name in own if (folder / name).is_file()]
    tests = (name for name in _TEST_REQUIREMENTS if (folder / name).is_file())
    return (*found, *list(tests)[:1])


def _pip_cache(folder: Path, installable: bool, requirements: tuple[str, ...]) -> str:
    names = ("pyproject.toml", "setup.cfg", "setup.py") if installable else ()
    return next((name for name in (*names, *requirements) if (folder / name).is_file()), "")


def _test_folder(folder: Path, settings: dict[str, Any], installable: bool) -> str:
    """Where the project keeps its tests.

    An installable project gets a folder: setuptools takes modules beside ``pyproject.toml`` for
    parts of the package.
    """
    for name in (*_test_paths(folder, settings), *_TEST_FOLDERS):
        if (folder / name).is_dir() and (folder / name).resolve() != folder.resolve():
            return name
    return "tests" if installable else ""


def _test_paths(folder: Path, settings: dict[str, Any]) -> list[str]:
    """``testpaths`` of pytest's settings."""
    for table in (
        _table(settings, "tool", "pytest"),
        _table(settings, "tool", "pytest", "ini_options"),
    ):
        value = table.get("testpaths")
        if value:
            return value.split() if isinstance(value, str) else [str(item) for item in value]
    for name, section in (
        ("pytest.ini", "pytest"),
        (".pytest.ini", "pytest"),
        ("tox.ini", "pytest"),
        ("setup.cfg", "tool:pytest"),
    ):
        parser = ConfigParser(interpolation=None, strict=False)
        try:
            parser.read(folder / name, encoding="utf-8")
        except (IniError, UnicodeDecodeError):
            continue
        value = parser.get(section, "testpaths", fallback="")
        if value:
            return value.split()
    return []


def _python(settings: dict[str, Any]) -> str:
    """A version of Python that both the project and this plugin support.

    Raises:
        CliError: there is none.
    """
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # slow to import

    wanted = _table(settings, "project").get("requires-python", "")
    try:
        allowed = SpecifierSet(wanted if isinstance(wanted, str) else "")
    except InvalidSpecifier as error:
        raise CliError(f"pyproject.toml: requires-python: {error}") from error
    found = next((version for version in PYTHONS if allowed.contains(f"{version}.99")), None)
    if found is None:
        raise CliError(
            f"pyproject.toml: requires-python is {wanted!r}; pytest-speedbench runs on Python 3.11 "
            "to 3.13"
        )
    return found


def _table(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    """A nested table, empty where there is none."""
    found: Any = settings
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def repository_root(folder: Path) -> Path | None:
    """The working tree of the git repository that ``folder`` belongs to."""
    there = folder.resolve()
    return next((path for path in (there, *there.parents) if (path / ".git").exists()), None)


def _main_branch(folder: Path) -> str:
    """The remote's default branch; else ``master`` where that is checked out, else ``main``."""
    remote = git(folder, "symbolic-ref", "--short", "refs/remotes/origin/HEAD")
    if remote:
        return remote.removeprefix("origin/")
    current = git(folder, "symbolic-ref", "--short", "HEAD")
    return current if current in ("master", "trunk") else "main"


def git(folder: Path, *arguments: str) -> str:
    """The answer of git; empty where there is no git, no repository or no answer."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
