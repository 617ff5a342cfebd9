"""The child-process side of a library engine: one `Backend`, driven step by step.

A backend wraps a Python library (vLLM, transformers, …). The worker holds the batch size, builds
the traces and talks to the parent, so that a backend only adds requests and steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_speedbench.engines.protocol import (
    Counters,
    EngineInfo,
    FinishReason,
    Request,
    RequestTotals,
    TokenScore,
)


@dataclass(frozen=True, slots=True)
class StepOutput:
    """What one decoding step gave one request; ``time`` (of ``now``) is None for "now".

    ``drafted`` and ``accepted``, or ``totals`` where outputs are no decoding steps, are given once,
    with the finish, for the whole request.
    """

    request_id: str
    token_ids: Sequence[int]
    finish_reason: FinishReason | None = None
    time: float | None = None
    drafted: list[int] | None = None
    accepted: list[int] | None = None
    totals: RequestTotals | None = None


class Backend(Protocol):
    """A library engine in its own process. The constructor loads the model.

    It may have an attribute ``slots``: how many requests the engine runs at once, while others wait
    inside it in the order in which they came. Without it the engine runs all that it is given.
    """

    info: EngineInfo

    def now(self) -> float:
        """The engine's clock in seconds: ``time.perf_counter`` but for simulated time."""

    def prefill_tokens(self, request: Request) -> int:
        """1 where the prefill emits a token of its own for ``request``, otherwise 0."""

    def add(self, request: Request) -> None:
        """Starts a request."""

    def step(self) -> list[StepOutput]:
        """Runs one step of everything that was added; what brings nothing is no sign of life."""

    def abort(self, request_id: str) -> None:
        """Forgets a started request."""

    def counters(self) -> Counters | None: ...

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore: ...

    def close(self) -> None: ...
