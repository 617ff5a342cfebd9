"""The rules of the contract, and the failure message of a broken one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import pytest

PAGE = "docs/writing-an-engine.md"

RULES = {
    "self-description": "an adapter describes itself, and the description is true",
    "methods": "a declared method runs and drafts; others are refused before the engine starts",
    "scores": "score() returns the natural log-probabilities of the target",
    "every-request-comes-back": "every request comes back once, in time",
    "tokens-add-up": "the tokens of a trace add up",
    "steps": "every decoding step emits 1 to DL + 1 tokens",
    "counters": "the engine's counters agree with its traces",
    "the-same-output": "greedy output is that of the target, with SD and at any batch size",
    "requests-in-flight": "as many requests are in flight as the batch size, never more",
    "time": "times are monotone and on this machine's clock",
    "stop-and-length": "stop tokens, max_tokens, min_tokens and ignore_eos are obeyed",
    "a-request-that-cannot-run": "one clear EngineError, and the engine goes on",
    "cancelling": "cancelling one request does not change the others",
    "the-end": "close ends the engine and frees its memory, and it can be started again",
}
"""Anchor of a heading of the page → the property in one sentence."""


def broken(rule: str, expected: str, got: str) -> NoReturn:
    """Fails the test with the property, what was expected and got, and where to read about it."""
    __tracebackhide__ = True
    pytest.fail(
        f"broken: {RULES[rule]}\n  expected: {expected}\n  got: {got}\n"
        f"  the contract: {PAGE}#{rule}",
        pytrace=False,
    )


def most_at_once(intervals: Sequence[tuple[float, float]]) -> int:
    """The largest number of intervals that overlap at one moment; touching ends do not count."""
    edges = [(start, 1) for start, _ in intervals] + [(end, -1) for _, end in intervals]
    now = most = 0
    for _, change in sorted(edges):
        now += change
        most = max(most, now)
    return most
