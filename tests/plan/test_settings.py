"""One table declares every option: its field, flag, ini key, marker argument and help."""

from __future__ import annotations

from contextlib import suppress
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.plan.settings import GROUPS, Settings
from pytest_speedbench.plan.table import Option
from pytest_speedbench.plan.values import ALL_SAMPLES

OPTIONS = list(Settings.options.values())


def test_settings_have_their_defaults_and_are_frozen() -> None:
    settings = Settings(bs=(2,))
    assert (settings.bs, settings.dl, settings.compare) == ((2,), (3,), None)
    assert settings.replace(dl=(1,)) == Settings(bs=(2,), dl=(1,))
    assert settings != Settings()
    assert "bs=(2,)" in repr(settings)
    with pytest.raises(AttributeError, match="frozen"):
        settings.bs = (3,)  # type: ignore[misc]
    with pytest.raises(TypeError, match="batch"):
        Settings(batch=3)  # type: ignore[call-arg]


def test_every_annotated_field_is_an_option_of_a_known_group() -> None:
    hints = {name for name in get_type_hints(Settings) if name != "options"}
    assert hints == set(Settings.options)
    assert {option.group for option in OPTIONS} == set(GROUPS)


@given(
    st.sampled_from(OPTIONS),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=6,
    ),
)
def test_any_value_is_read_or_refused(option: Option, raw: object) -> None:
    """No value of any type ends in another error than the one that names what is expected."""
    for parse in (option.parse, option.parse_argument):
        with suppress(ValueError):
            parse(raw)


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("bs", "1, 32", (1, 32)),
        ("bs", ["1,2", "4"], (1, 2, 4)),
        ("bs", [1, 32, 1], (1, 32)),
        ("bs", 4, (4,)),
        ("temperature", [0, "0.7"], (0.0, 0.7)),
        ("samples", "all", (ALL_SAMPLES,)),
        ("samples", ["all", 4], (ALL_SAMPLES, 4)),
        ("isl", [1024, "2k"], ("1024", "2k")),
        ("category", ["math", "qa"], ("math", "qa")),
        ("ignore_eos", True, True),
        ("ignore_eos", ["True"], True),
        ("ignore_eos", "off", False),
        ("rounds", ["0"], 0),
        ("alpha", "5%", 0.05),
        ("alpha", 0.05, 0.05),
        ("reach", 0, 0.0),
        ("reach", "0%", 0.0),
        ("timeout", 30, 30.0),
        ("compare", [], ""),
        ("compare", 3, "3"),
        ("summary", "/proc/self/fd/1", "/proc/self/fd/1"),
        ("engine_arg", ["a=1", "b=x,y"], (("a", 1), ("b", "x,y"))),
        ("engine_arg", {"a": [1], "b": "2"}, (("a", [1]), ("b", "2"))),
        ("columns", "prompt=body,id=a=b", (("prompt", "body"), ("id", "a=b"))),
        ("columns", {"prompt": "body"}, (("prompt", "body"),)),
        ("compare_fail", "speedup:5%\nacceptance_length/math:0.02", None),
        ("compare_fail", {"speedup": 0.05, "acceptance_length/math": "2%"}, None),
    ],
)
def test_text_and_native_values_mean_the_same(name: str, raw: object, value: object) -> None:
    if name == "compare_fail":
        value = {"speedup": 0.05, "acceptance_length/math": 0.02}
    assert Settings.options[name].parse(raw) == value


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("dl", [True], "an integer >= 1"),
        ("dl", 1.0, "an integer >= 1"),
        ("dl", [[1]], "an integer >= 1"),
        ("dl", [], "at least one value"),
        ("dl", {"a": 1}, "an integer >= 1"),
        ("engine", 3, "expected text"),
        ("engine", ["vllm", 3], "expected text"),
        ("report", ["a.html", "b.html"], "expected one value, got 2"),
        ("report", [""], "it is empty"),
        ("report", "x.pdf", "a path that ends in .html"),
        ("summary", "x.html", "a path that ends in .md"),
        ("summary", "x.PDF", "a path that ends in .md"),
        ("rounds", True, "an integer >= 0"),
        ("rounds", 10**13, "an integer <= 1000000$"),
        ("bs", "99999999999", "an integer <= 2147483647$"),
        ("seed", 2**63, f"an integer <= {2**63 - 1}$"),
        ("samples", 10**400, "an integer <= 2147483647$"),
        ("budget", 10**400, "expected a time such as"),
        ("temperature", "nan", "a number >= 0"),
        ("temperature", "inf", "a number >= 0"),
        ("temperature", "0.001", "expected 0, which is greedy, or a number >= 0.01"),
        ("top_k", "-1", "expected an integer >= 0; 0 keeps all tokens"),
        ("top_k", "all", "expected an integer >= 0; 0 keeps all tokens"),
        ("top_p", "0", "a probability: above 0, at most 1"),
        ("top_p", "nan", "a probability: above 0, at most 1"),
        ("min_p", "1.01", "a share from 0 to 100%"),
        ("min_p", "nan", "a share from 0 to 100%"),
        ("seed", "-1", "an integer >= 0"),
        ("timeout", "1e999", "a number > 0"),
        ("disable", 2, "on or off"),
        ("disable", "perhaps", "on or off, or their like: on/off, true/false, yes/no, 1/0"),
        ("alpha", "0", "above 0 and below 100%"),
        ("alpha", "nan%", "a share"),
        ("compare", True, "expected text"),
        ("engine_arg", {"": 1}, "KEY=VALUE"),
        ("engine_arg", 3, "KEY=VALUE"),
        ("columns", {"prompt": 3}, "FIELD=COLUMN"),
        ("compare_fail", {"speedup": "much"}, "a share"),
        ("compare_fail", "speedup:5%,speedup:2%", "speedup is given twice"),
        ("engine_arg", ["a=1", "a=2"], "a is given twice, as 1 and 2"),
    ],
)
def test_values_of_a_wrong_type_say_what_is_expected(name: str, raw: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.options[name].parse(raw)


def test_a_set_in_a_marker_has_one_order() -> None:
    assert Settings.options["category"].parse_argument({"qa", "math", "rag"}) == (
        "math",
        "qa",
        "rag",
    )
