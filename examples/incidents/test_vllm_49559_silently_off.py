"""vLLM #49559: speculation was silently off, and the output was right.

Speculative decoding is lossless, so a test that compares the output with and without it passes all
the better when nothing is drafted at all. The gate looks at the steps and at the engine's counters:
*speculation off* is a verdict of its own and fails, with or without a baseline.
"""

from __future__ import annotations

from conftest import AddRow, Measure, acceptance_length, compare
from pytest_speedbench import Outcome, Record

PROMPTS = {"chat": 16}


def outputs(record: Record) -> dict[str, str]:
    """Every sample's token ids."""
    return {request.sample: request.ids for request in record.requests}


def test_speculation_off_is_found(measure: Measure, add_row: AddRow) -> None:
    before, after = measure(PROMPTS), measure(PROMPTS, speculation_off=1)
    old, new = before["chat"], after["chat"]

    outputs_equal = outputs(old) == outputs(new)
    ours = compare(before, after, 0.02)["chat"]

    assert outputs_equal
    assert acceptance_length(new) == 1.0
    assert ours.outcome is Outcome.SPECULATION_OFF
    assert ours.fails("warn", require_baseline=False)
    add_row(
        "vLLM #49559: speculation silently off",
        f"AL {acceptance_length(old):.2f} → 1.00, every output equal",
        "pass: the output is right",
        f"{ours.outcome}: {ours.reason}",
    )
