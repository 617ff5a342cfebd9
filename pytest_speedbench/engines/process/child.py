"""The child process of a library engine: receives requests, steps the backend, sends traces.

Started by :mod:`pytest_speedbench.engines.process.parent` as
``python -m pytest_speedbench.engines.process.child FD LIFELINE BACKEND``, or by the interpreter of
another environment (:mod:`~.interpreter`). So this module, and what it imports of the package,
needs the standard library alone, and a backend besides it its engine.
"""

from __future__ import annotations

import faulthandler
import importlib
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

from pytest_speedbench.engines.finish import read_finish
from pytest_speedbench.engines.packages import commit_of, installed_packages
from pytest_speedbench.engines.process.backend import Backend, StepOutput
from pytest_speedbench.engines.process.lifetime import end_with_lifeline
from pytest_speedbench.engines.process.wire import PROTOCOL, Channel, read_config, read_requests
from pytest_speedbench.engines.protocol import EngineConfig, Request, Trace
from pytest_speedbench.errors import EngineError

# Sent while tokens flow, so that the parent's time limit only ends an engine that really hangs.
_HEARTBEAT_SECONDS = 1.0


class RequestLoop:
    """Keeps ``batch_size`` requests in flight in ``backend`` and reports finished traces.

    A backend whose ``slots`` equal the batch size gets as many requests again ahead of time: they
    wait in the engine's own queue, which refills a free slot without waiting for this loop. Such a
    request counts as submitted when a slot becomes free.
    """

    def __init__(self, backend: Backend, connection: Channel) -> None:
        self.backend = backend
        self.connection = connection
        self.slots: int | None = getattr(backend, "slots", None)
        self.batch_size = 1
        self.waiting: deque[Request] = deque()
        self.live: dict[str, Trace] = {}
        self.ahead: dict[str, Trace] = {}
        self.most: dict[str, int] = {}
        """``max_tokens`` of each started request."""
        self.closed = False
        self.last_message = time.monotonic()

    def run(self) -> None:
        while not self.closed:
            busy = bool(self.live or self.waiting)
            if self.connection.poll(0 if busy else None):
                self.handle(*self.connection.recv())
                continue
            try:
                self.admit()
                self.report(self.backend.step())
            except EngineError as error:
                self.refuse(error)

    def handle(self, command: str, *arguments: Any) -> None:
        reply: Callable[..., object] | None = getattr(self, f"on_{command}")
        assert reply is not None
        if command == "submit":
            arguments = (read_requests(arguments[0]), *arguments[1:])
        reply(*arguments)

    def on_submit(self, requests: Sequence[Request], first: bool) -> None:
        if first:
            self.waiting.extendleft(reversed(requests))
        else:
            self.waiting.extend(requests)

    def on_hold(self, batch_size: int) -> None:
        self.batch_size = batch_size

    def on_cancel(self, request_ids: Sequence[str]) -> None:
        cancelled = set(request_ids)
        dropped = [_new_trace(self.backend, r) for r in self.waiting if r.id in cancelled]
        self.waiting = deque(r for r in self.waiting if r.id not in cancelled)
        for held in (self.live, self.ahead):
            for request_id in cancelled & held.keys():
                self.backend.abort(request_id)
                dropped.append(held.pop(request_id))
                del self.most[request_id]
        self.promote()
        for trace in dropped:
            trace.finish_reason = "abort"
        self.connection.send(("traces", dropped))

    def on_counters(self) -> None:
        self.connection.send(("reply", self.backend.counters()))

    def on_score(self, token_ids: Sequence[int], position: int, candidates: Sequence[int]) -> None:
        self.connection.send(("reply", self.backend.score(token_ids, position, candidates)))

    def on_close(self) -> None:
        self.closed = True
        self.backend.close()

    def admit(self) -> None:
        self.promote()
        while self.waiting and len(self.live) < self.batch_size:
            self.add(self.live)
        if self.slots == self.batch_size:
            while self.waiting and len(self.ahead) < self.batch_size:
                self.add(self.ahead)

    def add(self, held: dict[str, Trace]) -> None:
        request = self.waiting.popleft()
        trace = _new_trace(self.backend, request)
        self.backend.add(request)
        held[request.id] = trace
        self.most[request.id] = request.sampling.max_tokens

    def promote(self) -> None:
        """Gives free slots to the requests that were queued ahead, oldest first."""
        while self.ahead and len(self.live) < self.batch_size:
            first = next(iter(self.ahead))
            self.live[first] = self.ahead.pop(first)
            self.live[first].submitted = self.backend.now()

    def refuse(self, error: EngineError) -> None:
        """A request that cannot run ends its load; the engine stays up."""
        for request_id in (*self.live, *self.ahead):
            self.backend.abort(request_id)
        self.live.clear()
        self.ahead.clear()
        self.most.clear()
        self.waiting.clear()
        self.connection.send(("refused", str(error)))

    def report(self, outputs: Sequence[StepOutput]) -> None:
        now = self.backend.now()
        finished = [trace for output in outputs if (trace := self.record(output, now))]
        self.promote()
        if finished:
            self.connection.send(("traces", finished))
            self.last_message = time.monotonic()
        elif _progress(outputs) and time.monotonic() - self.last_message > _HEARTBEAT_SECONDS:
            self.connection.send(("heartbeat",))
            self.last_message = time.monotonic()

    def record(self, output: StepOutput, now: float) -> Trace | None:
        """Adds one step to its trace; returns the trace when it is complete."""
        trace = self.live[output.request_id]
        if output.token_ids:
            trace.token_ids.extend(output.token_ids)
            trace.chunks.append(len(output.token_ids))
            trace.times.append(now if output.time is None else output.time)
        self.check_length(trace)
        finish = read_finish(output.finish_reason)
        if finish is None:
            return None
        trace.finish_reason, trace.failure = finish.reason, finish.failure
        trace.drafted, trace.accepted = output.drafted, output.accepted
        trace.totals, trace.steps_proven = output.totals, output.steps_proven
        trace.cached_tokens = output.cached_tokens
        del self.most[output.request_id]
        return self.live.pop(output.request_id)

    def check_length(self, trace: Trace) -> None:
        """An engine that goes on past ``max_tokens`` would never come to an end."""
        most = self.most[trace.request_id]
        if len(trace.token_ids) > most:
            raise EngineError(
                f"request {trace.request_id}: the engine emitted {len(trace.token_ids)} tokens, "
                f"more than max_tokens={most}, and was stopped: use another version of it"
            )


def _progress(outputs: Sequence[StepOutput]) -> bool:
    """Whether any request came forward: a step without tokens is no sign of life."""
    return any(output.token_ids or output.finish_reason for output in outputs)


def _new_trace(backend: Backend, request: Request) -> Trace:
    return Trace(
        request.id,
        len(request.prompt_ids),
        backend.now(),
        prefill_tokens=backend.prefill_tokens(request),
    )


def _load(name: str) -> Callable[[EngineConfig], Backend]:
    module, _, attribute = name.partition(":")
    loaded: Callable[[EngineConfig], Backend] = getattr(importlib.import_module(module), attribute)
    return loaded


def main(arguments: Sequence[str]) -> None:
    descriptor, lifeline, backend_name = int(arguments[0]), int(arguments[1]), arguments[2]
    faulthandler.enable()  # a segmentation fault leaves a stack trace
    # The parent handles Ctrl-C and shuts this process down.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_lifeline(lifeline, descriptor)
    connection = Channel(Connection(descriptor))
    try:
        _, protocol, data = connection.recv()
        if protocol != PROTOCOL:
            raise EngineError(
                f"the process of the engine has version {PROTOCOL} of the protocol, this session "
                f"version {protocol}: was pytest-speedbench upgraded while it runs? Start it again"
            )
        config = read_config(data)
        backend = _load(backend_name)(config)
        commit = commit_of(config.engine)
        info = replace(backend.info, packages=installed_packages(), commit=commit)
        connection.send(("ready", info))
        RequestLoop(backend, connection).run()
    except EOFError:
        return
    except EngineError as error:
        connection.send(("error", str(error)))
        sys.exit(1)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
