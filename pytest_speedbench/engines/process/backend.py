"""What a library engine implements: a :class:`Backend`, driven step by step in the child process.

A backend wraps a Python library (vLLM, transformers, …). :class:`~.child.RequestLoop` holds the
batch size, builds the traces and talks to the parent, so a backend only adds requests and steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pytest_speedbench.engines.protocol import (
    Counters,
    EngineInfo,
    Request,
    RequestTotals,
    TokenScore,
)


@dataclass(frozen=True, slots=True)
class StepOutput:
    """The output of one decoding step for one request.

    ``drafted``, ``accepted`` and ``totals`` are given once, with the finish, for the whole request.

    Attributes:
        request_id: id of the request.
        token_ids: shape (tokens,), what the step emitted.
        finish_reason: set with the last output, by the engine's own name for it (see
            ``pytest_speedbench.engines.finish.read_finish``).
        time: when, on the clock of ``Backend.now``, in seconds; None for now.
        drafted: draft tokens of each step that had a draft.
        accepted: shape of ``drafted``, how many of these were accepted.
        totals: instead of both, where outputs are not decoding steps.
        steps_proven: with the finish, whether the engine's own count shows that they are.
        cached_tokens: prompt tokens from the prefix cache, with the finish.
    """

    request_id: str
    token_ids: Sequence[int]
    finish_reason: str | None = None
    time: float | None = None
    drafted: list[int] | None = None
    accepted: list[int] | None = None
    totals: RequestTotals | None = None
    steps_proven: bool = False
    cached_tokens: int | None = None


class Backend(Protocol):
    """A library engine in its own process. The constructor loads the model.

    It may have an attribute ``slots``: the number of requests that the engine runs at once, while
    others wait in its own queue in order of arrival. Without it the engine runs all it is given.
    """

    info: EngineInfo

    def now(self) -> float:
        """The engine's clock in seconds: ``time.perf_counter``, unless time is simulated."""

    def prefill_tokens(self, request: Request) -> int:
        """1 if the prefill emits a token of its own for ``request``, otherwise 0."""

    def add(self, request: Request) -> None:
        """Starts a request."""

    def step(self) -> list[StepOutput]:
        """Runs one step of all added requests. An empty list is not a heartbeat."""

    def abort(self, request_id: str) -> None:
        """Drops a started request."""

    def counters(self) -> Counters | None:
        """Lifetime totals, or None where the engine keeps none."""

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        """The target's scores of ``candidates`` at ``position``, given the tokens before it."""

    def close(self) -> None:
        """Ends the engine and frees its memory."""
