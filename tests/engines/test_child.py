"""The loop holds the batch size, whether the engine keeps a queue of its own or not."""

from __future__ import annotations

from itertools import islice

import pytest

from pytest_speedbench.engines import EngineConfig, EngineError, Request, Sampling, Speculation
from pytest_speedbench.engines.process.backend import StepOutput
from pytest_speedbench.engines.process.child import RequestLoop
from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.engines.simulated import SimulatedBackend

BS = 4


class Queueing(SimulatedBackend):
    """Runs ``slots`` of its requests at once, the first that came, and keeps the others waiting."""

    slots = BS

    def __init__(self) -> None:
        arguments = {"min_tokens": 3, "max_tokens": 40}
        config = EngineConfig(
            "simulated", "org/m", Speculation(), BS, args=tuple(arguments.items())
        )
        super().__init__(config)
        self.most = 0
        self.refused = ""

    def add(self, request: Request) -> None:
        if request.id == self.refused:
            raise EngineError(f"request {request.id}: the prompt is empty")
        now = self.clock
        super().add(request)
        self.clock = now  # so that every moment of a slot's change is the end of a step

    def step(self) -> list[StepOutput]:
        self.most = max(self.most, len(self.running))
        held, first = self.running, dict(islice(self.running.items(), self.slots))
        self.running = dict(first)
        outputs = super().step()
        for request_id in first.keys() - self.running.keys():
            del held[request_id]
        self.running = held
        return outputs


class Pipe:
    """The connection of the loop, which keeps what is sent."""

    def __init__(self) -> None:
        self.traces: list[Trace] = []
        self.refusals: list[str] = []

    def send(self, message: tuple[object, ...]) -> None:
        if message[0] == "traces":
            self.traces += message[1]  # type: ignore[arg-type]
        if message[0] == "refused":
            self.refusals.append(str(message[1]))


def started(backend: Queueing, count: int, bs: int) -> tuple[RequestLoop, Pipe]:
    pipe = Pipe()
    loop = RequestLoop(backend, pipe)  # type: ignore[arg-type]
    loop.on_hold(bs)
    loop.on_submit(
        [Request(f"r{n}", (1, 20 + n, 1), Sampling(40), (2,), Speculation()) for n in range(count)],
        False,
    )
    return loop, pipe


def finish(loop: RequestLoop, pipe: Pipe, count: int) -> None:
    while len(pipe.traces) < count:
        loop.admit()
        loop.report(loop.backend.step())


@pytest.mark.parametrize(("bs", "handed_over"), [(BS, 2 * BS), (2, 2), (1, 1)])
def test_an_engine_that_holds_the_batch_size_itself_gets_requests_ahead(
    bs: int, handed_over: int
) -> None:
    backend = Queueing()
    loop, pipe = started(backend, 30, bs)
    finish(loop, pipe, 30)
    assert backend.most == handed_over
    spans = [(trace.submitted, trace.times[-1]) for trace in pipe.traces]
    ends = sorted(end for _, end in spans)
    starts = sorted(start for start, _ in spans)
    assert starts[:bs] == [starts[0]] * bs
    # Each later request is sent when one before it ends: neither sooner nor later.
    assert starts[bs:] == ends[: 30 - bs]


def test_a_request_handed_over_ahead_can_be_cancelled() -> None:
    backend = Queueing()
    loop, pipe = started(backend, 20, BS)
    loop.admit()
    loop.report(backend.step())
    loop.on_cancel(["r0", "r6", "r15"])
    assert {t.request_id for t in pipe.traces if t.finish_reason == "abort"} == {"r0", "r6", "r15"}
    finish(loop, pipe, 20)
    assert sorted(t.request_id for t in pipe.traces) == sorted(f"r{n}" for n in range(20))
    assert all(t.times for t in pipe.traces if t.finish_reason != "abort")


def test_cancelling_all_that_run_leaves_those_handed_over_ahead_running() -> None:
    loop, pipe = started(Queueing(), 6, BS)
    loop.admit()
    loop.on_cancel(["r0", "r1", "r2", "r3"])
    assert list(loop.live) == ["r4", "r5"]  # otherwise the loop would wait for a message
    finish(loop, pipe, 6)


def test_a_refused_load_leaves_nothing_behind() -> None:
    backend = Queueing()
    backend.refused = "r6"
    loop, pipe = started(backend, 20, BS)
    with pytest.raises(EngineError, match="r6") as refusal:
        loop.admit()
    loop.refuse(refusal.value)
    assert pipe.refusals == ["request r6: the prompt is empty"]
    assert not backend.running
    backend.refused = ""
    loop.on_submit([Request("again", (1, 2, 1), Sampling(8), (2,), Speculation())], False)
    finish(loop, pipe, 1)
    assert pipe.traces[0].request_id == "again"
