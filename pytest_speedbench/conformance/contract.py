"""The rules of the contract, and how a broken one is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import pytest

PAGE = "docs/writing-an-engine.md"

RULES = {
    "what-it-says-of-itself": "an adapter says what it is, and what it says is true",
    "methods": "a declared method runs and drafts, any other is refused before the engine starts",
    "scores": "score() tells the target's own natural log-probabilities",
    "every-request-comes-back": "every request comes back once, in time",
    "tokens-add-up": "the tokens of a trace add up",
    "steps": "every decoding step emits 1 to DL + 1 tokens",
    "counters": "the engine's counters grow by what its traces tell",
    "the-same-output": "greedy output is the target's own, with SD and at any batch size",
    "requests-in-flight": "as many requests are in flight as were asked for, never more",
    "time": "times are monotone and on this machine's clock",
    "stop-and-length": "stop tokens, max_tokens, min_tokens and ignore_eos are obeyed",
    "a-request-that-cannot-run": "one clear EngineError, and the engine goes on",
    "cancelling": "cancelling one request leaves the others right",
    "the-end": "close ends the engine and gives its memory back, and it can be started again",
}
"""Heading of the page, as its anchor → the property in one sentence."""


def broken(rule: str, expected: str, got: str) -> NoReturn:
    """Fails the test: which property, what was expected and got, and where the contract says so."""
    __tracebackhide__ = True
    pytest.fail(
        f"broken: {RULES[rule]}\n  expected: {expected}\n  got: {got}\n"
        f"  the contract: {PAGE}#{rule}",
        pytrace=False,
    )


def most_at_once(intervals: Sequence[tuple[float, float]]) -> int:
    """The largest number of intervals that hold one moment; touching ends do not count."""
    edges = [(start, 1) for start, _ in intervals] + [(end, -1) for _, end in intervals]
    now = most = 0
    for _, change in sorted(edges):
        now += change
        most = max(most, now)
    return most
