"""An option that is declared in one place works by flag, ini file, TOML and marker."""

from __future__ import annotations

import pytest

from pytest_speedbench import plugin
from pytest_speedbench.plan.settings import Settings

PLUGIN = """
from pytest_speedbench import plugin
from pytest_speedbench.plan import values
from pytest_speedbench.plan.compiled import compiled
from pytest_speedbench.plan.settings import RUNS, Settings
from pytest_speedbench.plan.table import option

Settings.add("shade", option(
    default=(7,), read=values.integer(1), form="list", group=RUNS, metavar="N", marker=True,
    text="shades of [grey](grey.md), `1` or more",
))
plugin._declared = compiled  # the table as it is now, not its file
"""
TEST = """
import pytest
from pytest_speedbench.plan.precedence import load_settings, with_marker

def shades(request, marker=None):
    return with_marker(load_settings(request.config), marker or {}).shade

@pytest.mark.speed(shade=[3, 4])
def test_marker(request, speed_config):
    print("marker:", shades(request, request.node.get_closest_marker("speed").kwargs))

def test_option(request):
    print("option:", shades(request))
"""
NATIVE = pytest.version_tuple >= (9,)
INI_TOML = "[tool.pytest.ini_options]\n"


@pytest.fixture(autouse=True)
def _shade(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option is there for one test, in this process."""
    monkeypatch.setattr(Settings, "options", dict(Settings.options))
    monkeypatch.setattr(Settings, "shade", None, raising=False)
    monkeypatch.setattr(plugin, "_declared", plugin._declared)
    exec(PLUGIN, {})


def run(pytester: pytest.Pytester, *arguments: str, **files: str) -> pytest.RunResult:
    pytester.makepyfile(test_it=TEST)
    for name, text in files.items():
        pytester.path.joinpath(name.replace("_", ".")).write_text(text)
    options = ("--speed-engine=simulated", "--speed-category=all", "-s")
    return pytester.runpytest_inprocess(*options, *arguments)


def test_one_entry_in_a_plugin_is_enough(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(new_option=PLUGIN, test_it=TEST)
    done = pytester.runpytest_subprocess(
        "-p", "new_option", "--speed-engine=simulated", "--speed-shade=1,2", "--speed-category=all"
    )
    done.assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("arguments", "files", "value"),
    [
        ((), {}, "(7,)"),
        (("--speed-shade=1,2",), {}, "(1, 2)"),
        ((), {"pytest_ini": "[pytest]\nspeed_shade = 1, 2\n"}, "(1, 2)"),
        ((), {"pytest_ini": "[pytest]\nspeed_shade =\n  1\n  2\n"}, "(1, 2)"),
        (("-o", "speed_shade=5"), {"pytest_ini": "[pytest]\nspeed_shade = 1\n"}, "(5,)"),
        ((), {"pyproject_toml": INI_TOML + "speed_shade = [1, 2]\n"}, "(1, 2)"),
        ((), {"pyproject_toml": INI_TOML + "speed_shade = '1,2'\n"}, "(1, 2)"),
        ((), {"pyproject_toml": INI_TOML + "speed_shade = 2\n"}, "(2,)"),
    ],
)
def test_by_flag_and_ini_file(
    pytester: pytest.Pytester, arguments: tuple[str, ...], files: dict[str, str], value: str
) -> None:
    result = run(pytester, "-W", "error", *arguments, **files)
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"*option: {value}*"])


@pytest.mark.skipif(not NATIVE, reason="native types came with pytest 9")
@pytest.mark.parametrize("value", ["[1, 2]", "['1', '2']", "'1,2'"])
@pytest.mark.parametrize(
    ("file", "table"), [("pyproject_toml", "[tool.pytest]"), ("pytest_toml", "[pytest]")]
)
def test_by_native_toml(pytester: pytest.Pytester, file: str, table: str, value: str) -> None:
    result = run(pytester, "-W", "error", **{file: f"{table}\nspeed_shade = {value}\n"})
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*option: (1, 2)*"])


@pytest.mark.skipif(not NATIVE, reason="native types came with pytest 9")
def test_the_command_line_wins_over_native_toml(pytester: pytest.Pytester) -> None:
    toml = "[tool.pytest]\nspeed_shade = [1, 2]\n"
    result = run(pytester, "-o", "speed_shade=6", pyproject_toml=toml)
    result.stdout.fnmatch_lines(["*option: (6,)*"])
    result = run(pytester, "--speed-shade=8", pyproject_toml=toml)
    result.stdout.fnmatch_lines(["*option: (8,)*"])


def test_by_marker_over_everything(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--speed-shade=1")
    result.stdout.fnmatch_lines(["*marker: (3, 4)*"])


def test_help_and_the_list_of_markers_name_it(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--help")
    result.stdout.fnmatch_lines(["*--speed-shade=N*shades of grey, 1 or more*"])
    result.stdout.fnmatch_lines(["*speed_shade (linelist):*"])
    result = run(pytester, "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.speed(*shade*): measure*"])


@pytest.mark.parametrize(
    "files",
    [
        {"pytest_ini": "[pytest]\nspeed_shade = many\n"},
        {"pytest_ini": "[pytest]\nspeed_shade =\n"},
        {"pyproject_toml": INI_TOML + "speed_shade = [[1], [2]]\n"},
        {"pyproject_toml": INI_TOML + "speed_shade = [true]\n"},
        {"pyproject_toml": INI_TOML + "speed_shade = 1.5\n"},
        {"pyproject_toml": INI_TOML + "speed_shade = []\n"},
        *(
            {file: f"{table}\nspeed_shade = {value}\n"}
            for file, table in (("pyproject_toml", "[tool.pytest]"), ("pytest_toml", "[pytest]"))
            for value in ("true", "[true]", "1.5", "[]", "[[1]]", "{ a = 1 }", "1979-05-27")
            if NATIVE
        ),
    ],
    ids=lambda files: next(iter(files.items()))[1].splitlines()[-1],
)
def test_a_value_of_a_wrong_type_is_one_usage_error(
    pytester: pytest.Pytester, files: dict[str, str]
) -> None:
    result = run(pytester, **files)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    error = result.stderr.str()
    assert "ini option speed_shade: cannot read" in error
    assert "Traceback" not in error + result.stdout.str()
