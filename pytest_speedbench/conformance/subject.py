"""The engine under test: started on demand, one at a time, closed at the end."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NoReturn

import pytest

from pytest_speedbench.conformance.contract import broken
from pytest_speedbench.conformance.processes import Held
from pytest_speedbench.engines.protocol import (
    NO_SPECULATION,
    Counters,
    Engine,
    EngineConfig,
    EngineType,
    Request,
    Sampling,
    Speculation,
    Trace,
)
from pytest_speedbench.engines.registry import engine_type, open_engine
from pytest_speedbench.errors import EngineDied, EngineError, EngineUnavailable
from pytest_speedbench.measure.tokenizer import Tokenizer, load_tokenizer
from pytest_speedbench.plan.settings import Settings

TOKENS = 32
"""Output tokens of a request, unless a test is about their number."""
UNKNOWN_WINDOW = 1 << 30
_PATIENCE_SECONDS = 0.5
# Some are repetitive, so that n-gram lookup finds drafts; one has a short answer.
PROMPTS = (
    "Count from one to twenty in words, separated by commas.",
    "Repeat three times: the red boat sails past the green island.",
    "Write a Python function that returns the larger of two numbers.",
    "What is the capital of France?",
    "Say good morning, good evening and good night in German.",
    "List five animals that live in the sea and five that live on land.",
    "Go on: 1 2 3 4 1 2 3 4 1 2 3 4 1 2 3",
)


@dataclass(frozen=True, slots=True)
class Load:
    """Requests and their traces, in the order of ``requests``.

    ``began`` and ``ended`` are times of ``time.perf_counter``; ``grown`` is the growth of the
    engine's counters, None if it keeps none.
    """

    speculation: Speculation
    batch: int
    requests: tuple[Request, ...]
    traces: tuple[Trace, ...]
    began: float
    ended: float
    grown: Counters | None


@dataclass
class Subject:
    """One adapter with the arguments of the command line.

    ``batch`` is the largest BS tried. ``asked``: the methods were named on the command line;
    otherwise a method may be refused at the start for what only the engine can know.
    """

    settings: Settings
    batch: int
    asked: bool = True
    fixed_length: bool = True
    """Whether the engine accepts ignore_eos; known after the first load."""
    before: Held = field(default_factory=Held)
    """Processes and memory before the engine was started."""
    _open: tuple[EngineConfig, Engine] | None = None
    _failed: dict[EngineConfig, EngineError] = field(default_factory=dict)
    _loads: dict[tuple[Speculation, int], Load] = field(default_factory=dict)
    _sent: int = 0

    @property
    def name(self) -> str:
        return self.settings.engine[0]

    @property
    def adapter(self) -> EngineType:
        return engine_type(self.name)

    @property
    def joined(self) -> bool:
        """Whether the engine is a joined server, which has one configuration."""
        return bool(self.settings.url)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        kwargs = dict(self.settings.chat_template_kwargs)
        try:
            source = self.adapter.tokenizer_source(self.config(NO_SPECULATION))
            return load_tokenizer(self.adapter.tokenizer, source, kwargs)
        except EngineUnavailable as error:
            pytest.skip(str(error))
        except EngineError as error:
            pytest.fail(str(error), pytrace=False)

    # -- the engine -------------------------------------------------------------------------

    def config(self, speculation: Speculation) -> EngineConfig:
        own = NO_SPECULATION if self.adapter.switches else speculation
        return EngineConfig(
            self.name,
            self.settings.model[0],
            own,
            self.batch,
            self.settings.url,
            self.settings.engine_arg,
        )

    def batch_of(self, speculation: Speculation) -> int:
        """The largest BS for ``speculation``."""
        adapter = self.adapter
        bounds = [adapter.max_batch]
        if speculation.active:
            bounds.append(adapter.max_speculative_batch)
        return min([self.batch, *(bound for bound in bounds if bound is not None)])

    def engine(self, speculation: Speculation) -> Engine:
        """The started engine of ``speculation``; a failed start is not repeated."""
        config = self.config(speculation)
        if self._open is not None and self._open[0] == config:
            return self._open[1]
        self.close()
        if config in self._failed:
            self._not_started(speculation, self._failed[config])
        self.before = Held.now()
        try:
            engine = open_engine(config, self.settings.timeout)
        except EngineUnavailable as error:
            pytest.skip(str(error))
        except EngineError as error:
            self._failed[config] = error
            self._not_started(speculation, error)
        self._open = config, engine
        return engine

    def _not_started(self, speculation: Speculation, error: EngineError) -> NoReturn:
        if not self.asked and speculation.active and not isinstance(error, EngineDied):
            pytest.skip(f"{speculation} is refused at the start: {error}")
        broken("methods", f"{self.name} starts with {speculation}", str(error))

    def close(self) -> None:
        """Closes the running engine, if there is one."""
        if self._open is not None:
            _, engine = self._open
            self._open = None
            engine.close()

    def context_window(self, engine: Engine) -> int | None:
        """Context length, prompt and output together; None if unknown."""
        details = engine.info.details
        known = (
            self.tokenizer.context_window,
            dict(self.settings.engine_arg).get("max_model_len"),
            details.get("context_window"),
            details.get("max_model_len"),
        )
        window = min(n for n in known if isinstance(n, int) and n > 0)
        return window if window < UNKNOWN_WINDOW else None

    # -- requests ---------------------------------------------------------------------------

    def request(
        self,
        number: int,
        speculation: Speculation,
        sampling: Sampling | None = None,
        stop_ids: tuple[int, ...] | None = None,
    ) -> Request:
        """A new request with prompt ``number``."""
        self._sent += 1
        messages = (("user", prompt(number)),)
        rendered = self.tokenizer.render([{"role": r, "content": c} for r, c in messages])
        return Request(
            f"conformance-{self._sent}-{number}",
            tuple(rendered),
            sampling or Sampling(TOKENS, ignore_eos=self.fixed_length),
            self.tokenizer.stop_ids if stop_ids is None else stop_ids,
            speculation,
            messages=messages,
        )

    def requests(self, count: int, speculation: Speculation) -> list[Request]:
        return [self.request(number, speculation) for number in range(count)]

    def send(
        self, speculation: Speculation, requests: Sequence[Request], batch: int = 1
    ) -> list[Trace]:
        """The traces of ``requests``, in their order; an engine error fails the test."""
        engine = self.engine(speculation)
        try:
            return self.attempt(engine, requests, batch)
        except EngineError as error:
            self._forget_dead(error)
            broken("every-request-comes-back", f"{len(requests)} outputs", str(error))

    def attempt(self, engine: Engine, requests: Sequence[Request], batch: int = 1) -> list[Trace]:
        """The traces of ``requests``, in their order.

        Raises:
            EngineError: as the engine raises it.
        """
        engine.hold(batch)
        engine.submit(requests)
        names = [request.id for request in requests]
        found = self.collect(engine, names, names)
        return [found[request.id] for request in requests]

    def collect(
        self, engine: Engine, wanted: Sequence[str], awaited: Sequence[str]
    ) -> dict[str, Trace]:
        """Traces of ``wanted`` as they arrive, until all of ``awaited`` are there.

        Raises:
            EngineError: as the engine raises it.
        """
        found: dict[str, Trace] = {}
        last_trace = time.monotonic()
        while not found.keys() >= set(awaited):
            for trace in engine.collect(_PATIENCE_SECONDS):
                if trace.request_id in found or trace.request_id not in wanted:
                    broken(
                        "every-request-comes-back",
                        "the trace of each request, once",
                        f"another one of {trace.request_id!r}",
                    )
                found[trace.request_id] = trace
                last_trace = time.monotonic()
            if time.monotonic() - last_trace > self.settings.timeout:
                self.close()
                missing = ", ".join(sorted(set(awaited) - set(found)))
                broken(
                    "every-request-comes-back",
                    f"a trace, or an error, within {self.settings.timeout:g} s",
                    f"no trace of {missing}",
                )
        return found

    def load(self, speculation: Speculation, batch: int) -> Load:
        """All prompts at BS ``batch``; sent once per session."""
        key = speculation, batch
        if key not in self._loads:
            self._loads[key] = self._measure(speculation, batch)
        return self._loads[key]

    def reference(self, speculation: Speculation) -> Load:
        """The same prompts at BS 1 without SD, or with the method of a joined server, which cannot
        switch it off."""
        switchable = self.adapter.switches or not self.joined
        return self.load(NO_SPECULATION if switchable else speculation, 1)

    def _measure(self, speculation: Speculation, batch: int) -> Load:
        engine = self.engine(speculation)
        requests = self.requests(max(len(PROMPTS), 2 * batch + 1), speculation)
        try:
            before, began = engine.counters(), time.perf_counter()
            try:
                traces = self.attempt(engine, requests, batch)
            except EngineDied:
                raise
            except EngineError:  # a strict server refuses ignore_eos
                if not self.fixed_length:
                    raise
                requests = [replace(r, sampling=Sampling(TOKENS)) for r in requests]
                traces = self.attempt(engine, requests, batch)
                self.fixed_length = False
            ended, after = time.perf_counter(), engine.counters()
        except EngineError as error:
            self._forget_dead(error)
            broken("every-request-comes-back", f"{len(requests)} outputs", str(error))
        grown = None if before is None or after is None else after - before
        return Load(speculation, batch, tuple(requests), tuple(traces), began, ended, grown)

    def _forget_dead(self, error: EngineError) -> None:
        if isinstance(error, EngineDied):
            self.close()


def prompt(number: int) -> str:
    text = PROMPTS[number % len(PROMPTS)]
    return text if number < len(PROMPTS) else f"{text} ({number})"
