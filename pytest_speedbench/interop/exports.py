"""Records in the formats of other tools. Every writer returns the bytes of one file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from pytest_speedbench.baselines.measured import MetricRecord
from pytest_speedbench.baselines.rows import Row, rows
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.errors import EngineUnavailable, UsageError
from pytest_speedbench.interop.foreign import Threshold
from pytest_speedbench.interop.golden import golden_table
from pytest_speedbench.interop.naming import entry_labels, entry_names, yaml_key
from pytest_speedbench.interop.reference_marks import reference_mark
from pytest_speedbench.measure.metrics import METRICS

_LABEL = re.compile(r'[\\"\n]')
_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n"}


def csv_file(found: Sequence[Row]) -> bytes:
    """Comma-separated values with a header; an empty cell has no value."""
    out = io.StringIO()
    writer = csv.DictWriter(out, _columns(found), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return out.getvalue().encode()


def json_file(found: Sequence[Row]) -> bytes:
    """A JSON array of objects."""
    return json.dumps(list(found), indent=1, allow_nan=False).encode() + b"\n"


def jsonl_file(found: Sequence[Row]) -> bytes:
    """One JSON object a line."""
    lines = (json.dumps(row, allow_nan=False) + "\n" for row in found)
    return "".join(lines).encode()


def parquet_file(found: Sequence[Row]) -> bytes:
    """Apache Parquet.

    Raises:
        EngineUnavailable: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise EngineUnavailable(
            "parquet needs pyarrow: pip install 'pytest-speedbench[data]'"
        ) from error
    columns = {name: [row.get(name) for row in found] for name in _columns(found)}
    out = io.BytesIO()
    pq.write_table(pa.table(columns), out)
    return out.getvalue()


def _columns(found: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in found for name in row))


def openmetrics_file(records: Sequence[Record]) -> bytes:
    """OpenMetrics text, for a textfile collector: one gauge a metric, one sample a case."""
    lines = []
    labelled = [
        (_label_text(found), r) for r, found in zip(records, entry_labels(records), strict=True)
    ]
    for name in _metric_names(records):
        gauge = f"speedbench_{name}"
        metric = METRICS.get(name)
        lines.append(f"# TYPE {gauge} gauge")
        if metric is not None:
            lines.append(f"# HELP {gauge} {metric.title}: {metric.formula}")
        for labels, record in labelled:
            found = record.metric(name)
            if found is None:
                continue
            lines.append(f"{gauge}{{{labels}}} {found.value!r}")
            bounds = (("low", found.low), ("high", found.high))
            lines += [
                f'{gauge}{{{labels},bound="{bound}"}} {value!r}'
                for bound, value in bounds
                if value is not None
            ]
    return ("\n".join([*lines, "# EOF"]) + "\n").encode()


def _label_text(labels: Mapping[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    return _LABEL.sub(lambda found: _ESCAPES[found[0]], value)


def bencher_file(records: Sequence[Record]) -> bytes:
    """Bencher Metric Format: benchmark → measure → value with its limits."""
    return _json(
        {
            case: {
                name: {
                    "value": found.value,
                    **({} if found.low is None else {"lower_value": found.low}),
                    **({} if found.high is None else {"upper_value": found.high}),
                }
                for name, found in _metrics(record)
            }
            for case, record in entry_names(records)
        }
    )


def github_benchmark_file(records: Sequence[Record]) -> bytes:
    """Custom JSON of github-action-benchmark where bigger is better."""
    entries = [
        {
            "name": f"{case} {name}",
            "unit": found.unit or "ratio",
            "value": found.value,
            **({} if found.low is None else {"range": f"{found.low:.4g} - {found.high:.4g}"}),
            "extra": f"n = {found.n}",
        }
        for case, record in entry_names(records)
        for name, found in _metrics(record)
        if name not in METRICS or METRICS[name].higher_is_better
    ]
    return _json(entries)


def golden_file(records: Sequence[Record]) -> bytes:
    """YAML of acceptance lengths to hold in a repository, each with n and 95% interval."""
    comment = "Acceptance length (tokens per decoding step) by case, with 95% interval."
    thresholds = [
        Threshold(case, found.value, found.n, interval=found.interval)
        for case, found in _acceptance_lengths(records)
    ]
    return golden_table(thresholds, [comment])


def trtllm_reference_file(records: Sequence[Record]) -> bytes:
    """TensorRT-LLM's ``acceptance_length.yaml``: test → ``ref_al`` and ``min_al``.

    ``min_al``, which its tests assert, is the lower limit of AL at 95%; the value itself where it
    has no interval. A comment says which, and how many samples there were; see
    :mod:`~pytest_speedbench.interop.reference_marks`.
    """
    lines = ["# Key each entry by the test that asserts it: TestClass::test_name."]
    for case, found in _acceptance_lengths(records):
        lines += [
            reference_mark(found),
            f"{yaml_key(case)}:",
            f"  ref_al: {found.value:.6f}",
            f"  min_al: {found.value if found.low is None else found.low:.6f}",
        ]
    return ("\n".join(lines) + "\n").encode()


def _acceptance_lengths(records: Sequence[Record]) -> list[tuple[str, MetricRecord]]:
    """Name and AL of the cases with speculative decoding.

    Raises:
        UsageError: there is none.
    """
    found = [
        (case, length)
        for case, record in entry_names(records)
        if (length := record.metric("acceptance_length")) and record.case.method != "none"
    ]
    if not found:
        raise UsageError("nothing to export: the run has no case with speculative decoding")
    return found


def _metric_names(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name, _ in _metrics(record)))


def _metrics(record: Record) -> list[tuple[str, MetricRecord]]:
    return [(name, m) for name, m in record.metrics.items() if isinstance(m, MetricRecord)]


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, allow_nan=False).encode() + b"\n"


ROW_FORMATS: Final[Mapping[str, Callable[[Sequence[Row]], bytes]]] = {
    "csv": csv_file,
    "parquet": parquet_file,
    "jsonl": jsonl_file,
    "json": json_file,
}
RECORD_FORMATS: Final[Mapping[str, Callable[[Sequence[Record]], bytes]]] = {
    "openmetrics": openmetrics_file,
    "bencher": bencher_file,
    "github-benchmark": github_benchmark_file,
    "golden": golden_file,
    "trtllm-reference": trtllm_reference_file,
}


def export_rows(
    runs: Iterable[tuple[Row, Sequence[Record]]], form: str, level: str = "request"
) -> bytes:
    """The file of some runs as rows.

    Args:
        runs: the first columns of a run's rows, its name as ``run`` among them, and its records.
        form: a key of ``ROW_FORMATS``.
        level: ``case``, ``request`` or ``step``.

    Raises:
        UsageError: an unknown level, or one at which a run has no rows.
        RecordError: a request of a record is damaged.
        EngineUnavailable: a package that the format needs is not installed.
    """
    found: list[Row] = []
    for columns, records in runs:
        own = rows(records, level)
        if not own:
            raise UsageError(
                f"{columns['run']}: it has no rows per {level}, since only totals were measured; "
                "--per case exports them"
            )
        found += ({**columns, **row} for row in own)
    return ROW_FORMATS[form](found)


def export_entries(records: Sequence[Record], form: str) -> bytes:
    """The file of one run as entries that are named by their case.

    Args:
        records: of one run.
        form: a key of ``RECORD_FORMATS``.

    Raises:
        UsageError: two records cannot have different names.
    """
    return RECORD_FORMATS[form](records)
