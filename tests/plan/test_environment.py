"""Environment variables of the engine, as option and marker give them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.plan.environment import (
    Environment,
    read_environments,
    watched_variables,
)
from pytest_speedbench.plan.grid import build_grid
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.session.keys import key_of

NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,5}", fullmatch=True)


@given(st.dictionaries(NAMES, st.text("ab=:, 1", max_size=6), min_size=1, max_size=4))
def test_texts_and_a_dict_say_the_same(variables: dict[str, str]) -> None:
    texts = [f"{name}={value}" for name, value in variables.items()]
    stripped = {name: value.rstrip() for name, value in variables.items()}
    assert read_environments(texts, True) == read_environments(stripped, False)
    assert read_environments(stripped, False) == (Environment("", tuple(stripped.items())),)


def test_labelled_texts_are_several_environments_over_a_common_one() -> None:
    found = read_environments(["A=0", "fast:B=1", "fast:A=2", "plain:"], True)
    assert found == (
        Environment("fast", (("A", "2"), ("B", "1"))),
        Environment("plain", (("A", "0"),)),
    )


def test_a_dict_of_dicts_has_labels() -> None:
    found = read_environments({"fast": {"A": 1}, "plain": {}}, False)
    assert [str(one) for one in found] == ["fast", "plain"]
    assert found[0].variables == (("A", "1"),)


def test_several_without_labels_are_called_by_their_variables() -> None:
    found = read_environments([{"A": "0"}, {"A": "1", "B": "2"}, {}], False)
    assert [one.label for one in found] == ["A=0", "A=1, B=2", "unchanged"]


def test_a_secret_is_neither_in_a_label_nor_in_the_representation() -> None:
    found = read_environments([{"HF_TOKEN": "zq9"}, {"A": "1"}], False)
    assert "zq9" not in repr(found)
    with pytest.raises(ValueError, match="two environments have one label"):
        read_environments([{"HF_TOKEN": "zq8"}, {"HF_TOKEN": "zq9"}], False)


@pytest.mark.parametrize(
    ("value", "text", "message"),
    [
        ("VLLM_X", True, "expected NAME=VALUE"),
        ("1A=2", True, "expected NAME=VALUE"),
        ({"A B": "1"}, False, "'A B' is not the name of an environment variable"),
        ({"A": None}, False, "A: expected text or a number"),
        ("A=1", False, "expected a dict of variables, or a list of such dicts"),
    ],
)
def test_what_cannot_be_read(value: object, text: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_environments(value, text)


def test_environments_span_the_grid_under_their_labels() -> None:
    marker = {"engine_env": {"one": {"A": "1"}, "two": {"A": "2"}}, "category": "math"}
    cases, ids = build_grid(marker, Settings())
    assert ids == ["math-bs1-dl3-one", "math-bs1-dl3-two"]
    assert [key_of(case).environment for case in cases] == ["one", "two"]
    (case,), (name,) = build_grid({"engine_env": {"A": "1"}, "category": "math"}, Settings())
    assert (name, key_of(case).environment) == ("math-bs1-dl3", "")


def test_watched_variables_match_a_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_SOMETHING", "1")
    assert ("VLLM_SOMETHING", "1") in watched_variables(["VLLM_*"])
    assert watched_variables(["NOBODY_*"]) == ()
