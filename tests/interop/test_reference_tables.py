"""What we write as reference values is read back as ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pytest_speedbench.baselines.measured import MetricRecord
from pytest_speedbench.cli import app
from pytest_speedbench.errors import ForeignFileError
from pytest_speedbench.interop.exports import export_entries
from pytest_speedbench.interop.foreign import ForeignTotals, Threshold
from pytest_speedbench.interop.golden import golden_table, threshold_file
from pytest_speedbench.interop.reference_marks import (
    ReferenceMark,
    reference_mark,
    reference_marks,
)
from tests.interop.files import DATA, records_of, totals_in, written

TRTLLM = {"TestQwen3_4B::test_eagle3": {"ref_al": 2.028, "min_al": 1.927}}
names = st.text(min_size=1, max_size=100)  # a key of YAML has at most 1,024 characters
intervals = st.none() | st.tuples(st.floats(1, 2), st.floats(2, 40))


def test_our_reference_for_tensorrt_llm_is_read_back_as_ours(tmp_path: Path) -> None:
    record = records_of(DATA / "aiperf")["all"]
    al = record.metric("acceptance_length")
    assert al is not None
    assert al.low is not None
    path = tmp_path / "acceptance_length.yaml"
    path.write_bytes(export_entries([record], "trtllm-reference"))
    found = totals_in(path)
    (threshold,) = found.thresholds
    assert (found.tool, threshold.n) == ("pytest-speedbench", al.n)
    assert "accepted / drafts" not in found.counting
    assert threshold.acceptance_length == pytest.approx(al.value, abs=1e-3)
    assert threshold.least == pytest.approx(al.low, abs=1e-3)
    assert threshold.interval == pytest.approx((al.low, al.high), abs=1e-3)
    (entry,) = yaml.safe_load(threshold_file(found)).values()
    assert entry["n"] == al.n
    assert "uncertainty" not in entry
    done = CliRunner().invoke(app, ["import", str(path)])
    assert "pytest-speedbench: averages\n" in done.output
    assert "1.52–2.37" in done.output


def test_our_entry_among_those_of_tensorrt_llm_is_named(tmp_path: Path) -> None:
    """As its first line asks, the entry is keyed by the test."""
    record = records_of(DATA / "aiperf")["all"]
    text = export_entries([record], "trtllm-reference").decode()
    text = text.replace(json.dumps(str(record.case)), "TestOurs::test_eagle3")
    found = totals_in(written(tmp_path / "al.yaml", text + yaml.safe_dump(TRTLLM)))
    assert found.tool == "TensorRT-LLM"
    assert [threshold.n is None for threshold in found.thresholds] == [False, True]
    assert found.notes[0].startswith("TestOurs::test_eagle3: from pytest-speedbench")


@given(
    st.text(min_size=1),
    st.integers(1, 10**9),
    st.none() | st.tuples(st.floats(1, 2), st.floats(2, 40)),
)
def test_the_mark_of_an_entry_is_read_back(
    name: str, n: int, interval: tuple[float, float] | None
) -> None:
    low, high = interval or (None, None)
    al = MetricRecord(value=2.0, low=low, high=high, n=n, level=0.95, unit="tokens/step")
    key = json.dumps(name)
    (mark,) = reference_marks(f"{reference_mark(al)}\n{key}:\n  ref_al: 2\n").items()
    assert mark == (key, ReferenceMark(n, interval and pytest.approx(interval, abs=1e-4)))


def test_our_golden_table_is_read_back_with_n_and_interval(tmp_path: Path) -> None:
    records = [records_of(DATA / "aiperf")["all"]]
    path = tmp_path / "golden.yaml"
    path.write_bytes(export_entries(records, "golden"))
    found = totals_in(path)
    assert found.tool == "pytest-speedbench"
    for record, threshold in zip(records, found.thresholds, strict=True):
        al = record.metric("acceptance_length")
        assert al is not None
        assert (threshold.name, threshold.n) == (str(record.case), al.n)
        assert threshold.acceptance_length == pytest.approx(al.value, abs=1e-4)
        assert threshold.interval == (al.interval and pytest.approx(al.interval, abs=1e-4))
    done = CliRunner().invoke(app, ["import", str(path)])
    assert done.exit_code == 0, done.output
    assert "uncertainty unknown" not in done.output
    assert "assert speed.acceptance_length >= 1.51" in done.output  # below the lower limit of `all`


def test_what_the_names_of_a_table_share_is_shown_once(tmp_path: Path) -> None:
    names = [f"vllm m eagle3 dl3 {case}" for case in ("bs1 math", "bs1 all", "bs32 all")]
    values = [Threshold(name, 2.0, interval=None if "32" in name else (1.9, 2.1)) for name in names]
    path = tmp_path / "golden.yaml"
    path.write_bytes(golden_table(values, ["AL."]))
    shown = CliRunner().invoke(app, ["import", str(path)]).output.splitlines()
    assert shown[0] == "pytest-speedbench: averages of vllm m eagle3 dl3, uncertainty of 1 unknown"
    assert [line.split("  ")[1] for line in shown[3:6]] == ["bs1 math", "bs1 all", "bs32 all"]


def test_a_table_of_another_tool_keeps_its_origin(tmp_path: Path) -> None:
    """Its values are not in our definition, which a second import must not forget."""
    theirs = totals_in(written(tmp_path / "acceptance_length.yaml", yaml.safe_dump(TRTLLM)))
    path = tmp_path / "thresholds.yaml"
    path.write_bytes(threshold_file(theirs))
    found = totals_in(path)
    assert found.thresholds == theirs.thresholds
    assert found.notes == ("TestQwen3_4B::test_eagle3: from TensorRT-LLM, as it counts",)


@given(st.dictionaries(names, st.tuples(st.none() | st.integers(1, 10**9), intervals), min_size=1))
def test_any_table_is_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    values: dict[str, tuple[int | None, tuple[float, float] | None]],
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    thresholds = [Threshold(name, 2.0, n, interval=ends) for name, (n, ends) in values.items()]
    path.write_bytes(golden_table(thresholds, ["Acceptance length."]))
    found = totals_in(path)
    assert isinstance(found, ForeignTotals)
    for wrote, read in zip(thresholds, found.thresholds, strict=True):
        assert (read.name, read.n) == (wrote.name, wrote.n)
        assert read.interval == (wrote.interval and pytest.approx(wrote.interval, abs=1e-4))


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"acceptance_length": 2.5, "low": 1.0, "high": 2.0}, "not between low and high"),
        ({"acceptance_length": 0.5}, "expected at least 1"),
        ({"acceptance_length": 2.5, "n": "many"}, "n: "),
    ],
)
def test_a_damaged_table_is_refused(entry: dict[str, object], problem: str, tmp_path: Path) -> None:
    path = written(tmp_path / "golden.yaml", yaml.safe_dump({"case": entry}))
    with pytest.raises(ForeignFileError, match=problem):
        totals_in(path)
