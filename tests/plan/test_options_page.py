"""docs/options.md and options.json have the options of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_speedbench.engines.methods import METHODS
from pytest_speedbench.plan.compiled import COMPILED, compiled_text
from pytest_speedbench.plan.page import with_options
from pytest_speedbench.plan.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "options.md"


def test_the_page_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_options(page), "run: python -m pytest_speedbench.plan.page docs/options.md"


def test_the_compiled_table_is_up_to_date() -> None:
    text = COMPILED.read_text(encoding="utf-8")
    assert text == compiled_text(), "run: python -m pytest_speedbench.plan.page docs/options.md"


def test_every_option_has_a_heading_and_says_what_it_does() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for option in Settings.options.values():
        assert option.text
        if option.on_command_line:
            entry = (
                rf"^### `{option.flag}\b[^`]*` {{ #{option.flag[2:]} }}\n\n.+\n\nini `{option.ini}`"
            )
            assert re.search(entry, page, re.M), option.name


def test_a_page_without_the_heading_of_a_group_is_an_error() -> None:
    with pytest.raises(ValueError, match="What runs"):
        with_options("# Options\n")


def test_methods_are_those_of_the_code() -> None:
    text = Settings.options["method"].text
    assert tuple(re.findall(r"`(\w+)`", text)) == METHODS


def test_help_is_plain_text() -> None:
    for option in Settings.options.values():
        assert not re.search(r"`|\]\(|\.md", option.help), option.name
