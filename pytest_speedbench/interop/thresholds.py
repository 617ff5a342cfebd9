"""Averages of other tools as a table of thresholds, in the form of our golden table."""

from __future__ import annotations

import json

from pytest_speedbench.interop.foreign import ForeignTotals, Threshold


def threshold_file(found: ForeignTotals) -> bytes:
    """YAML: name → acceptance length, n where known, and its interval or that it is unknown."""
    lines = [
        "# Acceptance length (tokens per decoding step), converted.",
        f"# {found.tool} {found.counting}.",
    ]
    if not found.certain:
        lines.append("# Without the requests behind it nobody knows how far it may be off.")
    for threshold in found.thresholds:
        lines += [
            f"{json.dumps(threshold.name)}:",
            f"  acceptance_length: {threshold.acceptance_length:.4f}",
            *([f"  least: {threshold.least:.4f}"] if threshold.least is not None else []),
            *([f"  n: {threshold.n}"] if threshold.n is not None else []),
            *_uncertainty(threshold),
        ]
    return ("\n".join(lines) + "\n").encode()


def _uncertainty(threshold: Threshold) -> list[str]:
    if threshold.interval is None:
        return ["  uncertainty: unknown"]
    low, high = threshold.interval
    return [f"  low: {low:.4f}", f"  high: {high:.4f}"]
