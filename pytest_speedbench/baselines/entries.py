"""A case as pytest-benchmark keeps it: its name, its group, statistics of its requests' times."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from pytest_speedbench.baselines.schema import EXTRA_KEY, Record


def benchmark_entry(name: str, nodeid: str, record: Record) -> Any | None:
    """The entry of one case (a ``pytest_benchmark.stats.Metadata``).

    ``stats.data`` are seconds per output token of each request. None without a timed request.
    """
    from pytest_benchmark.stats import Metadata

    seconds = list(seconds_per_token(record))
    if not seconds:
        return None
    fixture = SimpleNamespace(
        name=name,
        fullname=nodeid,
        group=_group(record),
        param=name.partition("[")[2].rstrip("]") or None,
        params=record.case.model_dump(),
        extra_info={EXTRA_KEY: record.model_dump(mode="json", by_alias=True)},
        cprofile_stats=None,
        has_error=False,
    )
    entry = Metadata(fixture, iterations=1, options={"unit": "seconds per output token"})
    for value in seconds:
        entry.stats.update(value)
    return entry


def run_head(commit_info: Mapping[str, Any]) -> dict[str, Any]:
    """What a run that is saved now has in common: machine, commit, time, pytest-benchmark."""
    from pytest_benchmark import __version__

    return {
        "machine_info": {"node": platform.node(), "machine": platform.machine()},
        "commit_info": commit_info,
        "datetime": datetime.now(UTC).isoformat(),
        "version": __version__,
    }


def run_document(head: Mapping[str, Any], entries: Sequence[Any]) -> bytes:
    """A saved run as pytest-benchmark writes it: ``head`` says when, where and of which commit."""
    content = {
        "machine_info": head.get("machine_info", {}),
        "commit_info": head.get("commit_info", {}),
        "benchmarks": [entry.as_dict() for entry in entries],
        "datetime": head.get("datetime") or datetime.now(UTC).isoformat(),
        "version": head.get("version", ""),
    }
    return json.dumps(content, indent=4).encode()


def _group(record: Record) -> str:
    case = record.case
    method = case.method if case.method == "none" else f"{case.method} dl{case.dl}"
    return f"speedbench {case.engine} {method} bs{case.bs}"


def seconds_per_token(record: Record) -> Iterable[float]:
    """Seconds per output token of each request: what pytest-benchmark's statistics are about."""
    for request in record.requests:
        if request.tokens and request.last > request.sent:
            yield (request.last - request.sent) / request.tokens
