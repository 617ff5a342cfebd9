"""The numbers of a test as properties, which pytest writes into JUnit XML."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_speedbench.baselines.measured import MetricRecord
from pytest_speedbench.compare.results import CaseResult
from pytest_speedbench.escapes import printable

_PREFIX = "speedbench"


def properties_of(case: CaseResult) -> Iterator[tuple[str, str]]:
    """Names and values: every verdict with its reason, then metrics and changes as plain numbers.

    ``speedbench_METRIC`` is the value, with ``_low`` and ``_high`` its limits, and
    ``speedbench_METRIC_ratio`` new / old, with limits too. ``speedbench_changed`` is what
    differs from the baseline's run.
    """
    for verdict in case.verdicts:
        yield _PREFIX, f"{verdict.metric}: {verdict.outcome}"
        if said := ", ".join(filter(None, (verdict.certainty, verdict.reason))):
            yield f"{_PREFIX}_reason", printable(f"{verdict.metric}: {said}")
    for name, metric in case.record.metrics.items():
        if isinstance(metric, MetricRecord):
            yield from _numbers(name, metric.value, metric.low, metric.high)
    for verdict in case.verdicts:
        if verdict.ratio is not None:
            yield from _numbers(f"{verdict.metric}_ratio", verdict.ratio, verdict.low, verdict.high)
    yield from ((f"{_PREFIX}_changed", printable(str(change))) for change in case.changes)
    baselines = dict.fromkeys(v.baseline for v in case.verdicts if v.baseline)
    yield from ((f"{_PREFIX}_baseline", printable(name)) for name in baselines)


def _numbers(
    name: str, value: float, low: float | None, high: float | None
) -> Iterator[tuple[str, str]]:
    for suffix, number in (("", value), ("_low", low), ("_high", high)):
        if number is not None:
            yield f"{_PREFIX}_{name}{suffix}", f"{number:.6g}"
