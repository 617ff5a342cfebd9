"""A :class:`~.backend.Backend` for libraries that stream their output on an event loop.

Each request is a task that reads its own stream; a step is the output that has arrived since the
last step. The event loop runs in the child's main thread, and only during a step.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pytest_speedbench.engines.process.backend import StepOutput
from pytest_speedbench.engines.protocol import (
    Counters,
    EngineInfo,
    Request,
    RequestTotals,
    TokenScore,
)
from pytest_speedbench.engines.reconcile import reconcile
from pytest_speedbench.errors import EngineError

_T = TypeVar("_T")
UNKNOWN = RequestTotals()
# A step without output ends after this many seconds, so that messages of the parent are read.
_PAUSE = 0.2


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a stream: new tokens, and in the last one the finish reason, in the engine's own
    word, its totals of the request, and the prompt tokens from its prefix cache."""

    token_ids: Sequence[int]
    finish_reason: str | None = None
    totals: RequestTotals = UNKNOWN
    cached_tokens: int | None = None


class StreamingBackend(ABC):
    """Runs the streams; a subclass loads the engine, sets ``info`` and opens each stream.

    Args:
        loop: the event loop that the engine uses.
        draft_length: 0 without speculation; then every token is one step.
    """

    info: EngineInfo

    def __init__(self, loop: asyncio.AbstractEventLoop, draft_length: int) -> None:
        self.loop = loop
        self.draft_length = draft_length
        self._outputs: deque[StepOutput] = deque()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._arrived = asyncio.Event()
        self._failure: BaseException | None = None

    # -- what a subclass adds -----------------------------------------------------------------

    @abstractmethod
    def stream(self, request: Request) -> AsyncIterator[Chunk]:
        """Starts ``request`` and yields its chunks; the last one has a finish reason, without which
        the answer counts as broken off."""

    @abstractmethod
    def end(self, request_id: str) -> None:
        """Aborts ``request_id`` in the engine."""

    @abstractmethod
    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        """Teacher forcing; nothing else is in flight."""

    @abstractmethod
    def close(self) -> None:
        """Ends the engine."""

    # -- the backend --------------------------------------------------------------------------

    def now(self) -> float:
        return time.perf_counter()

    def prefill_tokens(self, request: Request) -> int:
        return 1

    def counters(self) -> Counters | None:
        return None

    @property
    def idle(self) -> bool:
        """Whether no request is in flight."""
        return not self._tasks

    def wait(self, work: Awaitable[_T]) -> _T:
        """The result of ``work``; the streams continue meanwhile."""
        return self.loop.run_until_complete(work)

    def add(self, request: Request) -> None:
        self._tasks[request.id] = self.loop.create_task(self._read(request))

    def abort(self, request_id: str) -> None:
        if task := self._tasks.pop(request_id, None):
            task.cancel()
        self._outputs = deque(o for o in self._outputs if o.request_id != request_id)
        self.end(request_id)

    def step(self) -> list[StepOutput]:
        if not self._outputs and self._failure is None:
            self.wait(self._pause())
        # Outputs from before a failure are returned first.
        if self._failure is not None and not self._outputs:
            failure, self._failure = self._failure, None
            raise failure
        outputs = list(self._outputs)
        self._outputs.clear()
        return outputs

    async def _pause(self) -> None:
        self._arrived.clear()
        try:
            async with asyncio.timeout(_PAUSE):
                await self._arrived.wait()
        except TimeoutError:
            return

    async def _read(self, request: Request) -> None:
        chunks: list[int] = []
        finished = False
        try:
            if not request.prompt_ids:
                raise EngineError(f"request {request.id}: the prompt is empty")
            async for chunk in self.stream(request):
                self._record(request.id, chunk, chunks)
                finished = chunk.finish_reason is not None
            if not finished:
                self._record(request.id, Chunk((), "no finish reason"), chunks)
        except Exception as error:  # would be lost with its task
            self._failure = self._failure or _as_refusal(request, error)
            self._arrived.set()
        finally:
            self._tasks.pop(request.id, None)

    def _record(self, request_id: str, chunk: Chunk, chunks: list[int]) -> None:
        now = time.perf_counter()
        parts = [chunk.token_ids] if chunk.token_ids else []
        if not self.draft_length:  # without drafts a step emits one token: chunks may be merged
            parts = [[token] for token in chunk.token_ids]
        chunks.extend(map(len, parts))
        self._outputs.extend(StepOutput(request_id, part, time=now) for part in parts)
        if chunk.finish_reason is not None:
            self._outputs.append(self._finish(request_id, chunk, chunks))
        self._arrived.set()

    def _finish(self, request_id: str, chunk: Chunk, chunks: Sequence[int]) -> StepOutput:
        if not self.draft_length:
            return StepOutput(request_id, (), chunk.finish_reason)
        found = reconcile(chunks, chunk.totals, self.draft_length)
        return StepOutput(
            request_id,
            (),
            chunk.finish_reason,
            drafted=found.drafted,
            accepted=found.accepted,
            totals=found.totals,
            steps_proven=found.steps_proven,
            cached_tokens=chunk.cached_tokens,
        )


def _as_refusal(request: Request, error: Exception) -> BaseException:
    """A refusal of the engine as an :class:`EngineError`; a defect stays what it is."""
    if isinstance(error, EngineError) or not isinstance(error, ValueError | RuntimeError):
        return error
    made = EngineError(
        f"the engine refuses request {request.id} ({len(request.prompt_ids)} prompt tokens, "
        f"max_tokens={request.sampling.max_tokens}): {error}; lower --speed-max-tokens, choose a "
        "split with shorter prompts, or raise the engine's context length"
    )
    made.__cause__ = error
    return made
