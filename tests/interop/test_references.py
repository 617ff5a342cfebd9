"""Reference values of speculators, TensorRT-LLM and golden tables: thresholds without requests."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pytest_speedbench.errors import ForeignFileError
from pytest_speedbench.interop.foreign import Given
from pytest_speedbench.interop.golden import threshold_file
from tests.interop.files import (
    ACCEPTANCE_CSV,
    DATA,
    GOLDEN,
    TRTLLM,
    totals_in,
    written,
)


def test_speculators_counts_are_those_of_steps_with_a_draft(tmp_path: Path) -> None:
    path = written(tmp_path / "acceptance.csv", ACCEPTANCE_CSV)
    (threshold,) = totals_in(path).thresholds
    assert (threshold.name, threshold.acceptance_length) == ("HumanEval", 2.5)
    assert totals_in(tmp_path).thresholds == [threshold]
    with pytest.raises(ForeignFileError, match="ngram has steps without"):
        totals_in(path, Given("ngram"))


def test_the_file_that_speculators_wrote_of_a_real_server() -> None:
    found = totals_in(DATA / "speculators")
    lengths = {t.name.rpartition("/")[2]: t.acceptance_length for t in found.thresholds}
    assert lengths == pytest.approx({"coding": 3.5556, "math": 2.2778, "qa": 2.5}, abs=1e-4)
    with pytest.raises(ForeignFileError, match="ngram has steps without"):
        totals_in(DATA / "speculators", Given("ngram"))


def test_runs_that_speculators_appended_to_one_file_are_added(tmp_path: Path) -> None:
    again = "HumanEval,100.0,300.0,50.0,1.5,0.5,0.0\n"
    found = totals_in(written(tmp_path / "acceptance.csv", ACCEPTANCE_CSV + again))
    assert [(t.name, t.acceptance_length) for t in found.thresholds] == [("HumanEval", 2.0)]
    assert found.notes == ("HumanEval: 2 runs in one file, whose counts are added",)


def test_tensorrt_llms_limit_is_kept_beside_its_value(tmp_path: Path) -> None:
    path = written(tmp_path / "acceptance_length.yaml", yaml.safe_dump(TRTLLM))
    (threshold,) = totals_in(path).thresholds
    assert (threshold.acceptance_length, threshold.least) == (2.028, 1.927)


def test_the_comment_at_the_head_of_a_table_is_kept(tmp_path: Path) -> None:
    comment = "# Measured on H100,\n#   2026-08-01.\n"
    path = written(tmp_path / "al.yaml", comment + yaml.safe_dump(TRTLLM) + "# the end\n")
    found = totals_in(path)
    assert found.notes == ("al.yaml says: Measured on H100, 2026-08-01.",)
    assert f"# {found.notes[0]}\n" in threshold_file(found).decode()


def test_a_golden_curve_that_falls_is_remarked(tmp_path: Path) -> None:
    found = totals_in(written(tmp_path / "m3.yaml", GOLDEN))
    assert [t.name for t in found.thresholds] == [f"m3 thinking_on dl{k}" for k in (1, 2, 3)]
    assert "AL falls at dl3" in found.notes[-1]


def test_thresholds_are_written_with_what_is_not_known(tmp_path: Path) -> None:
    found = totals_in(written(tmp_path / "m3.yaml", GOLDEN))
    table = yaml.safe_load(threshold_file(found))
    entry = {"acceptance_length": 2.38, "uncertainty": "unknown", "source": "InferenceX"}
    assert table["m3 thinking_on dl2"] == entry
