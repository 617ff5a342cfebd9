"""Comparison of outputs, in which numerical ties may be decided differently."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_speedbench.compare.lossless import default_tolerance, find_divergences, judge
from pytest_speedbench.conformance.contract import broken
from pytest_speedbench.conformance.subject import Subject
from pytest_speedbench.engines.protocol import Request, Speculation, TokenScore, Trace
from pytest_speedbench.measure.results import Turn


def same_output(
    subject: Subject,
    speculation: Speculation,
    requests: Sequence[Request],
    traces: Sequence[Trace],
    expected: Sequence[Trace],
    what: str,
    rule: str = "the-same-output",
) -> None:
    """Fails if an output differs by more than a numerical tie; ``what`` describes the comparison.

    Without log-probabilities a tie cannot be distinguished from a defect: then the test is skipped.
    """
    __tracebackhide__ = True
    if any(trace.text is not None for trace in (*traces, *expected)):
        _same_text(traces, expected, what)
        return
    pairs = [
        (_turn(request, trace), _turn(request, other))
        for request, trace, other in zip(requests, traces, expected, strict=True)
    ]
    divergences = find_divergences(pairs)
    if not divergences:
        return
    if not subject.adapter.scores:
        pytest.skip(
            f"{len(divergences)} of {len(pairs)} outputs differ ({what}), and {subject.name} has "
            "no log-probabilities to distinguish ties from defects"
        )
    engine = subject.engine(speculation)
    allowed = default_tolerance(engine.info.dtype)

    def score(text: Sequence[int], candidates: Sequence[int]) -> TokenScore:
        return engine.score(text, len(text), candidates)

    for divergence in divergences:
        judged = judge(divergence, score, allowed)
        if not judged.tie:
            broken(
                rule,
                f"{what}: the same tokens, or a tie of at most "
                f"{allowed.describe(judged.magnitude)}",
                f"prompt {divergence.sample}, output token {divergence.position}: "
                f"{divergence.speculative} instead of {divergence.plain} (None: the output ended), "
                f"{judged.gap:.3g} nats apart",
            )


def _same_text(traces: Sequence[Trace], expected: Sequence[Trace], what: str) -> None:
    """Without token ids: equal texts pass, others are a skip."""
    differ = sum(ours.text != theirs.text for ours, theirs in zip(traces, expected, strict=True))
    if differ:
        pytest.skip(
            f"{differ} of {len(traces)} outputs differ ({what}), and the engine has no token "
            "ids to distinguish ties from defects"
        )


def _turn(request: Request, trace: Trace) -> Turn:
    return Turn(request.id, "", 0, trace, request.prompt_ids)
