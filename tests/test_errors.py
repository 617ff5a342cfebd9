"""One base class for errors and one for warnings; warnings point at the user's line."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import pytest_speedbench
from pytest_speedbench import errors
from pytest_speedbench.errors import NoData, SpeedbenchError, SpeedWarning


def modules() -> Iterator[ModuleType]:
    """Every module of the package that can be imported here."""
    for found in pkgutil.walk_packages(pytest_speedbench.__path__, "pytest_speedbench."):
        if ".test_" in found.name or found.name.endswith(("conftest", "__main__")):
            continue
        try:
            yield importlib.import_module(found.name)
        except ModuleNotFoundError as error:  # an engine that is not installed here
            if (error.name or "").startswith("pytest_speedbench"):
                raise


def test_every_exception_has_the_base_class() -> None:
    strangers = {
        f"{module.__name__}.{name}"
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and issubclass(value, Exception)
        and not issubclass(value, SpeedbenchError | SpeedWarning)
    }
    assert not strangers


def test_every_error_has_a_docstring() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert all(
        value.__doc__ and value.__doc__ != (value.__base__ or object).__doc__
        for value in classes
        if issubclass(value, Exception) and value.__module__ == errors.__name__
    )


def test_importing_the_errors_imports_hardly_anything() -> None:
    code = (
        "import sys; import pytest_speedbench.errors; "
        "print(sorted(m for m in sys.modules if m.startswith('pytest_speedbench')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = ("", ".errors", ".escapes", ".secrets")
    assert done.stdout.strip() == str([f"pytest_speedbench{name}" for name in names])


def test_no_data_keeps_its_reason() -> None:
    error = NoData("the run has no arm without SD")
    assert error.reason == str(error) == "the run has no arm without SD"
    assert isinstance(error, ValueError)


def test_a_warning_points_at_the_first_frame_outside_of_the_package() -> None:
    inside = str(Path(errors.__file__).with_name("stats") / "deep.py")
    scope: dict[str, object] = {"warn": errors.warn}
    exec(compile("def first():\n    warn('careful')\n", inside, "exec"), scope)
    exec(compile("def second():\n    first()\n", inside, "exec"), scope)
    second = scope["second"]
    assert callable(second)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        second()
    (warning,) = caught
    assert warning.filename == __file__
    assert warning.category is SpeedWarning


def test_a_suite_of_the_package_is_the_users_code() -> None:
    suite = str(Path(errors.__file__).parent / "suites" / "test_gate.py")
    scope: dict[str, object] = {"warn": errors.warn}
    code = compile("\n\nwarn('careful')", suite, "exec")
    with pytest.warns(SpeedWarning, match="careful") as caught:
        exec(code, scope)
    assert (caught[0].filename, caught[0].lineno) == (suite, 3)
