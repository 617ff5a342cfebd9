"""A server as an engine: joined or started, loaded, read and closed."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from pytest_speedbench.engines.packages import installed_packages
from pytest_speedbench.engines.protocol import (
    Counters,
    EngineConfig,
    EngineInfo,
    Request,
    TokenScore,
    Trace,
)
from pytest_speedbench.engines.serving.address import Address, parse_url, refuse_addresses
from pytest_speedbench.engines.serving.dialect import Dialect
from pytest_speedbench.engines.serving.failures import RequestRefused
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.load import Load, as_engine_error
from pytest_speedbench.engines.serving.metrics import Page, Reading, check_growth, parse_page
from pytest_speedbench.engines.serving.process import Launch, ServerProcess
from pytest_speedbench.errors import EngineDied, EngineError

# Servers update their counters a moment after they sent the last token.
_SETTLE_SECONDS = 2.0
_SETTLE_PAUSE = 0.02

Launcher = Callable[[EngineConfig, int], Launch]
"""(configuration, port) → how to start the server there."""


class ServerEngine:
    """A server that is driven through a :class:`Dialect`; implements :class:`~.protocol.Engine`.

    Args:
        process: the server, if it was started here; it ends with this engine.
    """

    info: EngineInfo

    def __init__(self, dialect: Dialect, http: Http, process: ServerProcess | None = None) -> None:
        self.dialect = dialect
        self.http = http
        self.process = process
        self.in_flight = 0
        self.failure: EngineError | None = None
        self._results: queue.SimpleQueue[Trace | BaseException] = queue.SimpleQueue()
        self._load = Load(http, dialect, self._results.put)
        self._scored = 0
        self.info = dialect.connect(http)
        self._base = self._read() if self._counts else Reading()
        self._received = self._cancelled = 0

    # -- the load -----------------------------------------------------------------------------

    def submit(self, requests: Sequence[Request], *, first: bool = False) -> None:
        self._check()
        self.in_flight += len(requests)
        self.http.call(self._load.submit, list(requests), first)

    def hold(self, batch_size: int) -> None:
        self._check()
        self.http.call(self._load.hold, batch_size)

    def cancel(self, request_ids: Sequence[str]) -> None:
        self._check()
        self.http.call(self._load.cancel, list(request_ids))

    def collect(self, timeout: float) -> list[Trace]:
        """Finished traces; a failure is raised after the traces before it were returned."""
        self._check()
        traces: list[Trace] = []
        deadline = time.monotonic() + timeout
        while self.in_flight:
            found = self._next(0.0 if traces else deadline - time.monotonic())
            if found is None:
                break
            if not isinstance(found, Trace):
                self.failure = self._explained(as_engine_error(found))
                self.in_flight = 0
                if traces:  # raised by the next call
                    return traces
                self._check()
                continue
            self.in_flight -= 1
            traces.append(found)
        return traces

    def _next(self, timeout: float) -> Trace | BaseException | None:
        try:
            return self._results.get(timeout=max(0.0, timeout))
        except queue.Empty:
            return None

    def _check(self) -> None:
        if self.failure is not None:
            failure = self.failure
            if isinstance(failure, RequestRefused) and not self.http.closed:
                self.failure = None  # the server goes on
                self.http.wait(self._load.recover())
            raise failure
        if self.http.closed:
            raise EngineError(f"engine {self.info.engine} is closed")

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Guards a request outside the load: if the server has died, every later call fails."""
        try:
            yield
        except EngineDied as error:
            self.failure = self._explained(error)
            raise self.failure from error

    def _explained(self, error: EngineError) -> EngineError:
        """Adds the last output of a server that was started here and died."""
        if self.process is None or not isinstance(error, EngineDied):
            return error
        return self.process.death(str(error))

    # -- counters -----------------------------------------------------------------------------

    @property
    def _counts(self) -> bool:
        return bool(self.dialect.metrics_path) and any(
            (self.dialect.metrics.drafts, self.dialect.metrics.draft_tokens)
        )

    def counters(self) -> Counters | None:
        """Lifetime totals over all clients; None if the server keeps none, and after an answer that
        the client ended, since the server may have continued it for some tokens.

        A server that counts only output tokens has no totals to compare, but shows foreign traffic,
        which is noted in ``info.details``.

        Raises:
            EngineError: a counter fell, so the server was restarted.
        """
        self._check()
        if not self._counts:
            return None
        expected = self._received_tokens()
        with self._asking():
            reading = self._settled(expected)
        check_growth(self._base, reading, self.http.address.url + self.dialect.metrics_path)
        counters = self.dialect.counters(reading)
        if counters is None:
            self._note_foreign_traffic(expected, reading)
        self._base = reading
        cut, self._load.cut = self._load.cut, False
        if counters is None or cut:
            return None
        if counters.output_tokens is None:
            return counters
        return replace(counters, output_tokens=counters.output_tokens - self._load.asked)

    def _read(self) -> Reading:
        return self.page().read(self.dialect.metrics)

    def page(self) -> Page:
        """The current metrics page of the server."""
        path = self.dialect.metrics_path
        return parse_page(self.http.get_text(path), self.http.address.url + path)

    def _received_tokens(self) -> int:
        """Output tokens since the last reading."""
        total = self._load.received.tokens + self._load.asked + self._scored
        grown, self._received = total - self._received, total
        return grown

    def _settled(self, expected: int) -> Reading:
        """The page once it counts all received tokens, or as it is after a moment."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        while True:
            reading = self._read()
            if reading.generated is None or self._base.generated is None:
                return reading
            if reading.generated - self._base.generated >= expected:
                return reading
            if reading.generated < self._base.generated or time.monotonic() > deadline:
                return reading
            time.sleep(_SETTLE_PAUSE)

    def _note_foreign_traffic(self, expected: int, reading: Reading) -> None:
        ended = self._load.cancelled + self._load.broken
        cancelled, self._cancelled = ended - self._cancelled, ended
        details = {name: found for name, found in self.info.details.items() if name != "counters"}
        grown = expected
        if reading.generated is not None and self._base.generated is not None:
            grown = reading.generated - self._base.generated
        # After a cancel, or a stream that broke, the server may generate some more tokens.
        if grown != expected and not cancelled:
            details["counters"] = (
                f"not usable: {self.http.address.url} counts {grown} output tokens, but "
                f"{expected} were received; other clients use the server, or several servers share "
                "the address"
            )
        self.info = replace(self.info, details=details)

    # -- the rest -----------------------------------------------------------------------------

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        self._check()
        with self._asking():
            score, tokens = self.dialect.score(self.http, token_ids, position, candidates)
        self._scored += tokens
        return score

    def close(self) -> None:
        """Closes the connections, and ends the server if it was started here."""
        self.http.close()
        if self.process is not None:
            self.process.close()

    @property
    def pid(self) -> int | None:
        """The process id of a server that was started here."""
        return None if self.process is None else self.process.pid


def open_server(
    dialect: Callable[[EngineConfig], Dialect], launch: Launcher | None = None
) -> Callable[[EngineConfig, float], ServerEngine]:
    """The ``open`` of an :class:`~.protocol.EngineType` for servers.

    With ``--speed-url`` the server there is joined, and never ended; otherwise ``launch`` gives the
    command that starts one.
    """

    def start(config: EngineConfig, timeout: float) -> ServerEngine:
        if config.url:
            return _join(dialect(config), config, timeout)
        if launch is None:
            raise EngineError(
                f"engine {config.engine} needs the address of a running server: --speed-url URL"
            )
        return _start(dialect(config), config, launch, timeout)

    return start


def server_url(config: EngineConfig) -> str:
    """The address of the server of ``config``. A running server cannot switch speculation, so the
    arm without SD has its own address, the engine argument ``reference_url``."""
    reference = config.option("reference_url")
    return str(reference) if reference and not config.speculation.active else config.url


def _join(dialect: Dialect, config: EngineConfig, timeout: float) -> ServerEngine:
    refuse_addresses(config)
    address = Address(parse_url(server_url(config)), api_key(config))
    http = Http(address, timeout, reuse=dialect.reuses_connections)
    try:
        if dialect.health:
            http.check(dialect.health)
        return ServerEngine(dialect, http)
    except BaseException:
        http.close()
        raise


def _start(
    dialect: Dialect, config: EngineConfig, launch: Launcher, timeout: float
) -> ServerEngine:
    process = ServerProcess(config, launch, timeout)
    http = Http(Address(process.url), timeout, reuse=dialect.reuses_connections)
    try:
        process.wait_until(lambda: http.status(dialect.health) == 200)
        try:
            engine = ServerEngine(dialect, http, process)
        except EngineDied as error:
            raise process.death(str(error)) from error
        engine.info = replace(engine.info, packages=installed_packages())
        return engine
    except BaseException:
        http.close()
        process.close()
        raise


def api_key(config: EngineConfig) -> str:
    """The key of a server: the engine argument ``api_key``, else ``OPENAI_API_KEY``.

    Raises:
        EngineError: a line break or another character that no header can hold.
    """
    key = str(config.option("api_key") or os.environ.get("OPENAI_API_KEY", ""))
    if not (key.isascii() and key.isprintable()):
        raise EngineError(
            "the key of the server has a line break or another character that no header can hold: "
            "correct OPENAI_API_KEY, or --speed-engine-arg api_key=…"
        )
    return key
