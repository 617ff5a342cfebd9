"""``speedbench plan --simulate``: the fit beside what was observed, error rates and power."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import Speedbench

QUICK = ("plan", "--simulate", "--sessions", "20")
ONE = (*QUICK[:-1], "1")  # where the rates are not looked at


@pytest.fixture(autouse=True)
def _here(project: Path) -> None:
    """Every test runs in the project."""


def _rows(text: str, name: str) -> list[list[str]]:
    lines = [line.replace(" %", "%").split() for line in text.splitlines()]
    return [words for words in lines if words[:1] == [name]]


def test_the_fit_is_shown_beside_what_was_observed(speedbench: Speedbench) -> None:
    result = speedbench(*ONE, "--baseline", "1")
    assert (result.code, result.err) == (0, "")
    assert "fitted to 0001 of " in result.out
    for name in ("alpha", "beta"):
        fit, _ = _rows(result.out, name)
        observed, simulated = float(fit[2]), float(fit[3])
        assert simulated == pytest.approx(observed, abs=0.1)
        assert float(fit[5]) == pytest.approx(float(fit[4]), abs=0.15)
        shares = [int(word) for word in fit[6:]]
        assert shares[:4] == pytest.approx(shares[4:], abs=4)


def test_every_case_has_its_rates(speedbench: Speedbench) -> None:
    asked = ("--baseline", "1", "--samples", "150", "--margin", "20%", "--loss", "60%")
    out = speedbench(*QUICK, *asked).out
    for name, samples in (("alpha", "150"), ("beta", "150"), ("all", "300")):
        row = _rows(out, name)[-1]
        assert row[1] == samples
        healthy_pass, healthy_fail, _, _, found = (float(cell.rstrip("%")) for cell in row[2:])
        assert healthy_pass > 50
        assert healthy_fail == 0
        assert found > 50
    assert re.search(r"healthy: 0 of 20 sessions have a false fail \(at most 14%, with", out)


def test_more_samples_find_more(speedbench: Speedbench) -> None:
    def found(samples: int) -> float:
        out = speedbench(*QUICK, "--baseline", "1", "--margin", "10%", "--samples", samples).out
        row = _rows(out, "all")[-1]
        assert row[1] == str(2 * samples)
        return float(row[-1].rstrip("%"))

    assert found(10) < found(120)


def test_alpha_is_divided_over_the_cases(speedbench: Speedbench) -> None:
    assert "0.0033 for a false fail of each of 3" in speedbench(*ONE, "--baseline", "1").words
    assert "0.0001 for a false fail of each of 100" in speedbench(*ONE, "--cases", "100").words


def test_without_a_saved_run_the_engines_own_defaults(
    speedbench: Speedbench, tmp_path: Path
) -> None:
    result = speedbench(*ONE, "--storage", tmp_path / "none", "--samples", "4")
    assert result.code == 0
    assert "no saved run to fit: 11 categories of 4 samples" in result.words
    assert len(_rows(result.out, "math")) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sessions", "0"), "--sessions"),
        (("--diverging", "2"), "--diverging: cannot read '2'"),
        (("--margin", "60%"), "--margin 60%: give the loss to detect with --loss"),
        (("--loss", "1%"), "--loss 1%: expected a loss above the margin of 2%"),
        (("--baseline", "nope"), "speedbench: nope: no file, no run number or name"),
    ],
)
def test_wrong_usage(speedbench: Speedbench, arguments: tuple[str, ...], message: str) -> None:
    result = speedbench("plan", "--simulate", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_fits_eighty_columns(speedbench: Speedbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    out = speedbench(*ONE, "--baseline", "longer").out
    assert max(map(len, out.splitlines())) <= 80
    assert "…  " not in out.replace("1, 2, …", "")
