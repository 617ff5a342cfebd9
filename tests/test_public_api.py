"""The public names: complete, documented, lazy, and enough for what is written with them."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import pytest_speedbench

ROOT = Path(__file__).parents[1]
PACKAGE = "pytest_speedbench"


def public(name: str) -> Any:
    """What has the name; skips what needs a package that is not installed."""
    try:
        return getattr(pytest_speedbench, name)
    except pytest_speedbench.errors.EngineUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", pytest_speedbench.__all__)
def test_a_public_name_is_there_and_has_a_docstring(name: str) -> None:
    value = public(name)
    if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
        assert value.__doc__
        assert not value.__doc__.startswith(f"{name}(")  # what a dataclass writes by itself
    assert name in dir(pytest_speedbench)


@pytest.mark.parametrize("name", pytest_speedbench.__all__)
def test_a_public_type_describes_each_of_its_fields(name: str) -> None:
    value = public(name)
    if dataclasses.is_dataclass(value):
        fields = {field.name for field in dataclasses.fields(value)}
    else:
        fields = set(getattr(value, "model_fields", ()))
    if isinstance(value, type):
        texts = "\n".join(base.__doc__ or "" for base in value.__mro__)
        assert fields <= set(re.findall(r"^ +(\w+): ", texts, re.MULTILINE))


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import pytest_speedbench; "
        "new = set(sys.modules) - before; "
        "print(*(m for m in new if m.partition('.')[0] not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pytest_speedbench"]


def test_a_plain_pytest_run_imports_the_plugin_alone(tmp_path: Path) -> None:
    tmp_path.joinpath("test_plain.py").write_text("def test_plain(): pass\n")
    code = (
        "import sys, pytest; status = pytest.main(['-q']); "
        "sys.exit(status or ' '.join(m for m in sys.modules if m.startswith('pytest_speedbench')))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr.split() == [PACKAGE, f"{PACKAGE}.plugin"]


def test_static_and_lazy_names_are_the_same() -> None:
    """What type checkers and editors see under TYPE_CHECKING, and what `__getattr__` finds."""
    tree = ast.parse(Path(pytest_speedbench.__file__).read_text(encoding="utf-8"))
    seen = {
        (alias.name, node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(PACKAGE)
        for alias in node.names
        if alias.name != "errors"
    }
    lazy = {
        (name, f"{PACKAGE}.{module}")
        for module, names in pytest_speedbench._MODULES.items()
        for name in names.split()
    }
    assert seen == lazy
    assert {name for name, _ in lazy} | {"errors"} == set(pytest_speedbench.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'acceptence'"):
        _ = pytest_speedbench.acceptence


def imported(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports from, as written."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


WRITTEN_WITH_THEM = [
    path.relative_to(ROOT)
    for folder in ("examples", "pytest_speedbench/suites")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


@pytest.mark.parametrize("path", WRITTEN_WITH_THEM, ids=str)
def test_examples_and_suites_need_public_names_only(path: Path) -> None:
    ours = {name for name in imported(ROOT / path) if name.partition(".")[0] == PACKAGE}
    assert ours <= {PACKAGE, f"{PACKAGE}.errors"}


def test_the_reference_describes_every_public_name() -> None:
    pages = "\n".join(path.read_text() for path in (ROOT / "docs" / "api").glob("*.md"))
    described = {name for name in pytest_speedbench.__all__ if f".{name}\n" in pages}
    missing = set(pytest_speedbench.__all__) - described
    # The errors page describes the module, and with it these two.
    assert missing == {"__version__", "SpeedWarning", "SpeedbenchError"}


def test_compare_is_a_function_and_the_package_behind_it() -> None:
    """Whatever was imported first."""
    code = (
        "{first}; from inspect import signature; from pytest_speedbench import compare; "
        "import pytest_speedbench.compare.gate as gate; import pytest_speedbench as p; "
        "same = p.compare is compare; names = signature(compare).parameters; "
        "print(callable(compare), same, gate.__name__, *names)"
    )
    for first in ("import pytest_speedbench.compare.verdict", "import pytest_speedbench"):
        command = [sys.executable, "-c", code.format(first=first)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.startswith("True True pytest_speedbench.compare.gate old new margins")
