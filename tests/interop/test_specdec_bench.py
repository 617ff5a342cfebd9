"""Output folders of specdec_bench, in each of the forms that it has had."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_speedbench.errors import ForeignFileError
from tests.interop.files import (
    DATA,
    records_of,
    responses,
    run_in,
    specdec,
    totals_in,
    written,
)


def test_specdec_bench_gives_steps_but_for_the_last(tmp_path: Path) -> None:
    record = records_of(specdec(tmp_path, responses()))["all"]
    assert record.imported is not None
    assert not record.imported.last_steps
    assert (record.case.method, record.case.dl, record.case.bs) == ("eagle3", 3, 4)
    assert record.sampling.max_tokens == 64
    assert [request.steps for request in record.requests] == ["3 2", "3 2"]


def test_chunks_longer_than_a_step_are_no_steps(tmp_path: Path) -> None:
    folder = specdec(tmp_path, responses(acceptance_lengths=[3, 5]))
    with pytest.raises(ForeignFileError, match=r"a chunk of 5 tokens.*at most 4 at DL 3"):
        run_in(folder)


def test_turns_without_bounds_are_left_out(tmp_path: Path) -> None:
    first, second = responses()
    second["turns"] *= 2
    found = run_in(specdec(tmp_path, [first, second]))
    assert len(found.requests) == 1
    assert "1 request left out" in found.notes[-1]


def test_the_earlier_form_gives_the_total_without_the_prefills(tmp_path: Path) -> None:
    """Chunks of 1, 3, 2, 2 twice: 4 of 8 tokens a step by its own count."""
    summary = {
        "Request_AL": {"a": 2.0, "b": 2.0},
        "Category_AL": {"coding": 2.0},
        "Average_AL": 2.0,
        "Acceptance_Length_Histogram": {"1": 2, "2": 4, "3": 2},
    }
    folder = specdec(tmp_path, responses(acceptance_lengths=None))
    written(folder / "acceptance_rate.json", [{"Acceptance_Length_Histogram": {}}, summary])
    found = totals_in(folder)
    assert found.thresholds[0].acceptance_length == pytest.approx(14 / 6)
    assert found.thresholds[0].stated == 2.0
    assert "means of means" in found.notes[0]
    alone = written(tmp_path / "alone/acceptance_rate.json", [summary])
    with pytest.raises(ForeignFileError, match="how many answers"):
        totals_in(alone)


def test_the_total_is_that_of_the_steps_behind_a_file_of_the_tools_own_code() -> None:
    """Written by specdec_bench's metric for six answers of 289 tokens by 114 decoding steps."""
    (threshold,) = totals_in(DATA / "specdec_bench_earlier").thresholds
    assert threshold.acceptance_length == pytest.approx(289 / 114)
    assert threshold.n == 6
    assert threshold.stated == pytest.approx(2.4511, abs=1e-4)


def test_the_first_form_has_left_the_prefill_out_itself(tmp_path: Path) -> None:
    summary = {"Average_AR": 2.5, "Acceptance_Length_Histogram": {"2": 2, "3": 2}}
    path = written(tmp_path / "acceptance_rate.json", [summary])
    assert totals_in(path).thresholds[0].acceptance_length == 2.5
