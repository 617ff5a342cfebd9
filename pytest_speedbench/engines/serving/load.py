"""The closed-loop load on the event loop: keeps a fixed number of requests in flight."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from pydantic import ValidationError
from pydantic_core import from_json

from pytest_speedbench.engines.protocol import Request, Trace
from pytest_speedbench.engines.serving.answer import Answer
from pytest_speedbench.engines.serving.dialect import Dialect
from pytest_speedbench.engines.serving.event_stream import DONE, whole_characters
from pytest_speedbench.engines.serving.failures import AnswerFailed
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.models import PATH as MODELS
from pytest_speedbench.engines.serving.pieces import Piece
from pytest_speedbench.errors import EngineError

# Share of the time limit by which a stream without progress may outlive it.
_SLACK = 0.02

Report = Callable[[Trace | BaseException], None]


@dataclass(slots=True)
class Received:
    """What has arrived of all answers: ``tokens`` of output, when one of them last ``progressed``
    and when one ``ended``, by the clock of the event loop, and how many ``stalled`` since then."""

    tokens: int = 0
    progressed: float = -math.inf
    ended: float = -math.inf
    stalled: int = 0

    def end(self, now: float) -> None:
        """An answer came to its end at ``now``."""
        self.ended, self.stalled = now, 0


class Load:
    """Keeps requests in flight. All methods run on the event loop's thread.

    When a request finishes, the next one is sent at once, without the caller's thread. An answer
    that the server breaks off is a trace like others as long as the server goes on; it does if it
    is healthy, has either answered before or failed in fewer answers than are in flight, and not
    as many answers stall as are in flight. Any other failure ends the load: it is reported once,
    after the traces finished before it.
    """

    def __init__(self, http: Http, dialect: Dialect, report: Report) -> None:
        self.http = http
        self.dialect = dialect
        self.report = report
        self.batch_size = 1
        self.waiting: deque[Request] = deque()
        self.live: dict[str, asyncio.Task[Trace]] = {}
        self.failed = False
        self.answered = dialect.probes
        """Whether the server has ever brought an answer to its end."""
        self.broken = 0
        """Answers that it broke off."""
        self.received = Received()
        self.cancelled = 0
        self.asked = 0
        """Output tokens of the dialect's own requests so far."""
        self.cut = False
        """Whether the client closed a stream that the server may have continued."""

    def submit(self, requests: Sequence[Request], first: bool) -> None:
        if first:
            self.waiting.extendleft(reversed(requests))
        else:
            self.waiting.extend(requests)
        self._admit()

    def hold(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._admit()

    def cancel(self, request_ids: Collection[str]) -> None:
        """Closes the streams, which makes servers abort the requests."""
        wanted = set(request_ids)
        dropped = [request for request in self.waiting if request.id in wanted]
        self.waiting = deque(request for request in self.waiting if request.id not in wanted)
        for request in dropped:
            self.report(Answer(request, time.perf_counter()).trace("abort"))
        for request_id in wanted & self.live.keys():
            self.cancelled += 1
            self.live[request_id].cancel()

    def _admit(self) -> None:
        while self.waiting and len(self.live) < self.batch_size and not self.failed:
            request = self.waiting.popleft()
            answer = Answer(request, time.perf_counter())
            task = asyncio.create_task(self._trace(answer))
            self.live[request.id] = task
            # Not inside the task: one that is cancelled before it starts runs no code of its own.
            task.add_done_callback(partial(self._ended, answer))

    async def _trace(self, answer: Answer) -> Trace:
        try:
            await read_stream(self.http, self.dialect, answer, self.received)
            self.cut |= answer.cut
            answer.check_end()
            if not answer.failure:
                self.asked += await self.dialect.complete(self.http, answer)
        except AnswerFailed as failed:
            self.broken += 1
            if not await self._goes_on():
                raise
            answer.failure = failed.reason
        if answer.failure:  # its counts may be missing, and no number needs them
            return answer.trace("abort")
        answer.check_counts()
        self.answered = True
        self.received.end(asyncio.get_running_loop().time())
        return self.dialect.trace(answer)

    async def _goes_on(self) -> bool:
        """Whether the server works, but for the answers that it broke off."""
        if not self.answered and self.broken >= self.batch_size:
            return False
        if self.received.stalled >= self.batch_size:
            return False
        status = await self.http.ask_status(self.dialect.health or MODELS)
        return status == 200 if self.dialect.health else status is not None

    def _ended(self, answer: Answer, task: asyncio.Task[Trace]) -> None:
        # Any exception would be lost with its task.
        result = answer.trace("abort") if task.cancelled() else task.exception() or task.result()
        self.live.pop(answer.request.id, None)
        if self.failed:
            return
        if not isinstance(result, Trace):
            self._fail()
        self.report(result)
        self._admit()

    async def recover(self) -> None:
        """Accepts requests again after a failure, once the cancelled ones have ended."""
        await asyncio.gather(*self.live.values(), return_exceptions=True)
        self.live.clear()
        self.failed = False

    def _fail(self) -> None:
        self.failed = True
        self.waiting.clear()
        for task in self.live.values():
            task.cancel()


async def read_stream(
    http: Http, dialect: Dialect, answer: Answer, received: Received | None = None
) -> None:
    """Reads the stream of one answer to its end, and adds to what is ``received`` of all.

    Raises:
        EngineError: the data is not an event of a stream, or reports an error.
        EngineDied: no new token within the time limit; AnswerFailed: though others had some, or
            came to their end since this request was sent.
    """
    loop = asyncio.get_running_loop()
    received = received or Received()
    began = progressed = loop.time()
    try:
        async with (
            asyncio.timeout(http.timeout) as limit,
            aclosing(
                http.stream(dialect.path, dialect.body(answer.request), answer.on_sent)
            ) as stream,
        ):
            async for arrived in stream:
                now = http.arrivals.arrived
                before = answer.progress
                if _add_events(http, dialect, answer, arrived, now, received):
                    return
                if answer.progress != before:
                    progressed = received.progressed = loop.time()
                    _postpone(limit, progressed, http.timeout)
    except TimeoutError:
        received.stalled += 1
        raise http.errors.stalled(
            dialect.path,
            len(answer.chunks),
            http.timeout,
            finished=answer.finish_reason is not None,
            alone=received.progressed > progressed or received.ended > began,
        ) from None


def _postpone(limit: asyncio.Timeout, now: float, timeout: float) -> None:
    """Moves the deadline to ``timeout`` seconds from ``now``, or little more: a timer costs as much
    as a token, so it is not set for each."""
    when = limit.when()
    if when is None or when < now + timeout:
        limit.reschedule(now + (1 + _SLACK) * timeout)


def _add_events(
    http: Http,
    dialect: Dialect,
    answer: Answer,
    arrived: Sequence[bytes],
    now: float,
    received: Received,
) -> bool:
    """Adds the events that arrived together; whether the stream is over."""
    before = answer.tokens
    try:
        for data in arrived:
            if data == DONE:
                return True
            piece = _piece(http, dialect, data)
            if dialect.cuts and piece.token_ids and answer.at_stop:
                answer.end_at_stop()
                return True
            answer.add(piece, now)
    finally:
        received.tokens += answer.tokens - before
    return False


def _piece(http: Http, dialect: Dialect, data: bytes) -> Piece:
    if b'"error"' in data:
        _check_error(http, dialect.path, data)
    try:
        return dialect.parse(data)
    except ValidationError as error:
        if (whole := whole_characters(data)) != data:
            return _piece(http, dialect, whole)
        raise http.errors.invalid(dialect.path, data, error) from None
    except ValueError as error:
        raise http.errors.another_form(dialect.path, data, error) from None


def _check_error(http: Http, path: str, data: bytes) -> None:
    try:
        event = from_json(data)
    except ValueError:
        raise http.errors.not_json(path, data) from None
    if not isinstance(event, dict):
        return
    if event.get("error"):
        raise http.errors.of_event(path, event["error"])
    if event.get("object") == "error":  # older servers do not wrap it
        raise http.errors.of_event(path, event)


def as_engine_error(error: BaseException) -> EngineError:
    """Returns engine errors unchanged; anything else is reported as a defect of the adapter."""
    if isinstance(error, EngineError):
        return error
    made = EngineError(f"the adapter cannot read the server's answer: {error!r}")
    made.__cause__ = error
    return made
