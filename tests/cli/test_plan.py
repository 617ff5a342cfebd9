"""``speedbench plan``: samples and tokens from a baseline's own spread."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Speedbench


@pytest.fixture(autouse=True)
def _here(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in the project, with fewer simulated sessions than users get."""
    monkeypatch.setattr("pytest_speedbench.stats.power.SESSIONS", 200)


def _row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.split()[:1] == [name])
    return line.replace(" %", "%").split()


def test_samples_and_tokens(speedbench: Speedbench) -> None:
    result = speedbench("plan", "--margin", "5%", "--baseline", "1")
    assert (result.code, result.err) == (0, "")
    assert "from the spread of 0001 of " in result.out
    assert (
        "margin 5%, α = 0.01 for a false pass, 0.0033 for a false fail of each of 3, power 90%"
        in result.words
    )
    assert "with which a loss of 10% fails" in result.words
    row = _row(result.out, "alpha")
    assert row[1] == "40"
    samples, tokens = int(row[2].replace(",", "")), int(row[3].replace(",", ""))
    assert tokens == samples * 48
    assert int(_row(result.out, "all")[1]) == 80


def test_latest_run_by_default(speedbench: Speedbench) -> None:
    assert "from the spread of 0004 of " in speedbench("plan").out


def test_a_wider_margin_needs_fewer_samples(speedbench: Speedbench) -> None:
    def needed(margin: str) -> int:
        out = speedbench("plan", "--margin", margin, "--baseline", "1").out
        return int(_row(out, "alpha")[2].replace(",", ""))

    assert needed("2%") >= needed("10%") >= needed("30%")


def test_more_cases_need_more_samples(speedbench: Speedbench) -> None:
    def needed(cases: str) -> int:
        out = speedbench("plan", "--margin", "5%", "--baseline", "1", "--cases", cases).out
        return int(_row(out, "alpha")[4].replace(",", ""))

    assert needed("1") < needed("1000")


def test_rarer_losses_need_more_samples(speedbench: Speedbench) -> None:
    def needed(reach: str) -> int:
        out = speedbench("plan", "--margin", "5%", "--baseline", "1", "--reach", reach).out
        return int(_row(out, "alpha")[2].replace(",", ""))

    assert needed("20%") < needed("5%") < needed("0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--margin", "0"), "--margin: cannot read '0'"),
        (("--power", "0.2"), "--power 0.2: expected at least 0.5 and less than 1, such as 0.9"),
        (("--power", "1"), "--power 1: expected at least 0.5 and less than 1"),
        (("--reach", "2"), "expected a share of at least 0 and below 100%"),
        (("--loss", "1%"), "--loss 1%: expected a loss above the margin of 2%"),
        (("--baseline", "nope"), "speedbench: nope: no file, no run number or name"),
        (("--storage", "nowhere"), "no saved runs in nowhere"),
        (("--cases", "-1"), "--cases"),
    ],
)
def test_wrong_usage(speedbench: Speedbench, arguments: tuple[str, ...], message: str) -> None:
    result = speedbench("plan", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_runs_without_sd_have_nothing_to_plan(
    speedbench: Speedbench, edited: object, saved: Path
) -> None:
    edited("0009_none", lambda record: record["spec"].update(method="none"))  # type: ignore[operator]  # a record is JSON
    result = speedbench("plan", "--baseline", "9")
    assert result.code == 2
    assert "holds only runs without SD, which have no AL to plan for" in result.err


def test_fits_eighty_columns(speedbench: Speedbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert max(map(len, speedbench("plan").out.splitlines())) <= 80


def test_a_retrained_drafter_needs_more_samples_than_a_rebuild(speedbench: Speedbench) -> None:
    def needed(*options: str) -> str:
        return speedbench("plan", "--margin", "5%", "--baseline", "1", *options).out

    assumed = needed("--for", "drafter")
    assert "by 10% from prompt to prompt (assumed" in " ".join(assumed.split())
    measured = needed("--for", "drafter", "--against", "3")
    assert "from prompt to prompt (measured against 0003 of" in " ".join(measured.split())


def test_another_checkpoint_is_for_a_drafter(speedbench: Speedbench) -> None:
    result = speedbench("plan", "--against", "3")
    assert result.code == 2
    assert "add --for drafter" in result.err
    missing = speedbench("plan", "--for", "drafter", "--baseline", "1", "--against", "4")
    assert (missing.code, missing.err) == (
        2,
        "speedbench: run 0001: no slice can be planned; see the reasons above\n",
    )
    assert "no plan for" in missing.out
    assert "dl 5 (here 3)" in missing.words


def test_what_a_later_run_is_taken_to_be(speedbench: Speedbench) -> None:
    replayed = speedbench("plan", "--margin", "10%", "--baseline", "1")
    assert "with replay along the baseline's text; 1% of the outputs diverge" in replayed.words
    free = speedbench("plan", "--margin", "10%", "--baseline", "1", "--no-replay")
    assert "without replay (--no-replay): a pass rests on whole outputs" in free.words
    other = speedbench(
        "plan", "--margin", "10%", "--baseline", "1", "--no-replay", "--diverging", "90%"
    )
    needed = [int(_row(found.out, "all")[2]) for found in (free, other)]
    assert needed[0] < needed[1]


def test_a_second_run_is_measured(speedbench: Speedbench) -> None:
    result = speedbench("plan", "--margin", "10%", "--baseline", "1", "--rebuild", "2")
    assert "from the spread of 0001 of" in result.words
    assert "paired with 0002 of" in result.words
    assert int(_row(result.out, "alpha")[2]) >= 8
    assert "no plan for beta: run 0002 has no record to pair it with" in result.words
    refused = speedbench("plan", "--for", "drafter", "--rebuild", "2")
    assert "with --for drafter, --against" in refused.err
