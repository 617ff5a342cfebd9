"""Results of ``vllm bench serve``: totals of a run, by the counters of its server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.errors import ForeignFileError
from pytest_speedbench.interop.foreign import Given
from tests.interop.files import (
    DATA,
    totals_in,
    written,
)


def test_vllm_bench_serve_is_converted_by_the_tokens_of_the_same_requests() -> None:
    """339 tokens of 12 requests by 175 steps; vLLM's own figure counts what was cut off too."""
    (threshold,) = totals_in(DATA / "vllm_bench.json", Given("eagle3")).thresholds
    assert threshold.acceptance_length == pytest.approx((339 - 12) / 175)
    assert threshold.stated == pytest.approx(1 + 167 / 175)
    assert threshold.n == 12


def test_positions_must_be_those_of_the_draft_length_that_is_stated() -> None:
    with pytest.raises(ForeignFileError, match="acceptance at 3 positions, and --dl says 5"):
        totals_in(DATA / "vllm_bench.json", Given(draft_length=5))


def test_steps_without_a_draft_widen_what_is_known() -> None:
    assert totals_in(DATA / "vllm_bench.json", Given("eagle3")).notes == ()
    (note,) = totals_in(DATA / "vllm_bench.json", Given("ngram")).notes
    assert "too high" in note


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"total_output_tokens": 12}, "do not fit its requests"),
        ({"spec_decode_accepted_tokens": 600}, "600 accepted of 525 drafted"),
        ({"spec_decode_num_drafts": 0}, "nothing was drafted"),
        ({"completed": 0}, "no request completed in this run"),
        ({"spec_decode_num_drafts": "175"}, r"spec_decode_num_drafts: .*another version"),
    ],
)
def test_counters_that_do_not_fit_are_refused(
    changes: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    data = json.loads((DATA / "vllm_bench.json").read_text()) | changes
    with pytest.raises(ForeignFileError, match=problem):
        totals_in(written(tmp_path / "r.json", data), Given("eagle3"))


def test_a_run_without_speculation_has_no_al(tmp_path: Path) -> None:
    data = json.loads((DATA / "vllm_bench.json").read_text())
    plain = {name: value for name, value in data.items() if not name.startswith("spec_")}
    with pytest.raises(ForeignFileError, match="without speculative decoding"):
        totals_in(written(tmp_path / "r.json", plain))
