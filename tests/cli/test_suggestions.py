"""A misspelt value of an option names the value that was meant."""

from __future__ import annotations

import inspect
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import typer

from pytest_speedbench.cli import app
from pytest_speedbench.errors import closest

from .conftest import Speedbench

# In a folder with the saved run 0001 of the cases alpha and beta, promoted as release.
MISSPELT = [
    ("compare 1 1 --inconclusive fial", "fail"),
    ("compare 1 1 --fail acceptence_length:2%", "acceptance_length"),
    ("compare 1 1 --fail acceptance_length/alhpa:2%", "alpha"),
    ("compare 1 1 --map slise=alpha:beta", "slice"),
    ("compare relaese 1", "release"),
    ("show relaese", "release"),
    ("history --format tabel", "table"),
    ("history --metric speedpu", "speedup"),
    ("history --bisect all --metric acceptance_lenght", "acceptance_length"),
    ("history alhpa", "alpha"),
    ("plan --for drfter", "drafter"),
    ("export 1 --format CVS", "csv"),
    ("export 1 --per cas", "case"),
    ("init --ci gihub", "github"),
    ("tune --schedule vlm", "vllm"),
    ("tune --engine simulatd", "simulated"),
    ("tune --engine simulated --split qualitativ", "qualitative"),
    ("tune --engine simulated --model m --method eagle3 --engine-arg step_mss=1", "step_ms"),
    ("analyze categories --measure modl=x", "model"),
    ("baseline show relaese", "release"),
    ("baseline demote relaese", "release"),
    ("drafter coverage 1 --sizes 5 --frequencies 1 --category alhpa", "alpha"),
    ("drafter coverage qualitativ --sizes 5 --frequencies 1", "qualitative"),
    ("splits show Qualitativ", "qualitative"),
    ("splits show qualitative:mth", "math"),
    ("splits check qualitative --against qualitativ", "qualitative"),
    ("splits build 2K --model demo", "2k"),
]


@pytest.fixture(scope="module")
def promoted(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one saved run, promoted under a name of its own."""
    from pytest_speedbench.baselines.promoted import promote
    from pytest_speedbench.baselines.storage import Store

    folder = tmp_path_factory.mktemp("promoted")
    storage = folder / ".benchmarks" / "machine"
    storage.mkdir(parents=True)
    first = min(made.rglob("0001_*.json"))
    (storage / "0001_base.json").write_bytes(first.read_bytes())
    store = Store(folder / ".benchmarks", option="")
    promote(store, store.runs()[0], "release")
    return folder


@pytest.mark.parametrize(("line", "meant"), MISSPELT)
def test_a_misspelt_value_names_the_one_that_was_meant(
    line: str,
    meant: str,
    promoted: Path,
    speedbench: Speedbench,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(promoted)
    result = speedbench(*line.split())
    assert result.code == 2
    assert f"did you mean {meant!r}" in " ".join(result.err.replace("│", " ").split())


def _choices(group: typer.Typer, path: str = "") -> list[str]:
    """Every option of every command that takes one of several values: ``COMMAND --option``."""
    found = []
    for command in group.registered_commands:
        assert command.callback is not None
        name = f"{path}{command.name or command.callback.__name__}"
        hints = get_type_hints(command.callback, include_extras=True)
        for parameter in inspect.signature(command.callback).parameters.values():
            kind, *extra = get_args(hints[parameter.name]) or (None,)
            if any(map(_closed, (kind, *get_args(kind)))):
                # In an annotation typer takes the first name of the option for its default.
                names = [n for e in extra for n in (e.default, *(e.param_decls or ()))]
                flags = [n for n in names if str(n).startswith("--")]
                found.append(f"{name} {(flags or [f'--{parameter.name}'])[0]}")
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        found += _choices(inner.typer_instance, f"{path}{inner.name} ")
    return found


def _closed(kind: Any) -> bool:
    return get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, Enum))


def test_every_option_with_a_list_of_values_is_in_the_table() -> None:
    choices = _choices(app)
    assert len(choices) > 5
    for choice in choices:
        command, _, option = choice.rpartition(" ")
        assert any(
            line.startswith(f"{command} ") and f" {option} " in line for line, _ in MISSPELT
        ), choice


def test_no_suggestion_where_nothing_is_close() -> None:
    assert closest("zebra", ["csv", "json"]) is None
    assert closest(3, ["csv"]) is None
