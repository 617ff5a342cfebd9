"""A misspelt value of any option of pytest names the value that was meant."""

from __future__ import annotations

import pytest

from pytest_speedbench.errors import SpeedbenchError
from pytest_speedbench.plan.grid import build_grid, check_names
from pytest_speedbench.plan.precedence import settings_of_texts
from pytest_speedbench.plan.settings import Settings

MISSPELT = [
    ({"engine": "simulatd"}, "simulated"),
    ({"method": "eagl3"}, "eagle3"),
    ({"split": "Qualitativ"}, "qualitative"),
    ({"split": "qualitative:mth"}, "math"),
    ({"category": "mth"}, "math"),
    ({"isl": "2k", "entropy": "mixd"}, "mixed"),
    ({"isl": "2K"}, "2k"),
    ({"prompt_form": "chta"}, "chat"),
    ({"draft_sampling": "Greedi"}, "greedy"),
    ({"columns": "promt=x"}, "prompt"),
    ({"compare_fail": "acceptence_length:2%"}, "acceptance_length"),
    ({"compare_fail": "acceptance_length/mth:2%"}, "math"),
    ({"inconclusive": "wran"}, "warn"),
]
ENGINE = {"engine": "simulated", "method": "eagle3", "model": "m"}


@pytest.mark.parametrize(("given", "meant"), MISSPELT)
def test_a_misspelt_value_names_the_one_that_was_meant(given: dict[str, str], meant: str) -> None:
    texts = {name: [text] for name, text in {**ENGINE, **given}.items()}
    with pytest.raises(SpeedbenchError, match=f"did you mean '{meant}'"):
        _read(texts)


def _read(texts: dict[str, list[str]]) -> None:
    """Everything that a session reads before its first test."""
    settings = settings_of_texts(texts)
    check_names(settings, build_grid({}, settings)[0], {})


def test_every_option_with_a_list_of_values_is_in_the_table() -> None:
    choices = [o.name for o in Settings.options.values() if "choice" in o.read.__qualname__]
    assert choices
    assert set(choices) <= {name for given, _ in MISSPELT for name in given}
