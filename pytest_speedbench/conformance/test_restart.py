"""An engine can be closed and started again."""

from __future__ import annotations

from pytest_speedbench.conformance.contract import broken
from pytest_speedbench.conformance.same_output import same_output
from pytest_speedbench.conformance.subject import Subject
from pytest_speedbench.engines.protocol import Engine, Speculation
from pytest_speedbench.errors import EngineError

EACH = "first"


def test_it_can_be_started_again(subject: Subject, speculation: Speculation) -> None:
    expected = subject.reference(speculation).traces[:2]
    first = subject.engine(speculation)
    subject.close()
    _stays_closed(subject, speculation, first)
    requests = subject.requests(2, speculation)
    traces = subject.send(speculation, requests)
    what = "the second engine against the first"
    same_output(subject, speculation, requests, traces, expected, what, "the-end")


def _stays_closed(subject: Subject, speculation: Speculation, engine: Engine) -> None:
    try:
        engine.close()
    except EngineError as error:
        broken("the-end", "closing twice is allowed", str(error))
    try:
        subject.attempt(engine, [subject.request(0, speculation)])
    except EngineError:
        return
    broken("the-end", "an EngineError from an engine that was closed", "an answer")
