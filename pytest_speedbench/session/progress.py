"""Progress while engines work: one line that is rewritten, or one line now and then in a log."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property

import pytest

from pytest_speedbench.escapes import label, on_terminal, printable
from pytest_speedbench.measure.load import Meter
from pytest_speedbench.session.pytest_reports import within

_LOG_SECONDS = 15.0
_SCREEN_SECONDS = 0.2
_BETWEEN = " · "
# Share of the requests before which most of the time was the start of an engine.
_FORESEEABLE = 0.05


@dataclass
class Overall:
    """How far the whole session is.

    Attributes:
        meter: requests and output tokens so far.
        cases: cases to measure.
        count: how many requests they need, as far as that is known; asked once.
        clock: seconds.
    """

    meter: Meter = field(default_factory=Meter)
    cases: int = 0
    count: Callable[[], int | None] = lambda: None
    clock: Callable[[], float] = time.monotonic
    finished: int = 0
    """Cases whose tests are over."""

    def __post_init__(self) -> None:
        self._start = self.clock()

    @cached_property
    def _planned(self) -> int | None:
        return self.count()

    def __str__(self) -> str:
        """``3/12 cases · 142/260 requests · 161 tokens/s · 1.2 min left``."""
        from pytest_speedbench.session.cost import duration

        meter, planned = self.meter, self._planned
        parts = [f"{self.finished}/{self.cases} cases"] if self.cases else []
        if meter.requests:
            seconds = max(self.clock() - self._start, 1e-3)
            left = max(0, (planned or 0) - meter.requests)
            goal = f"/{planned}" if left else ""
            parts += [f"{meter.requests}{goal} requests", f"{meter.tokens / seconds:.0f} tokens/s"]
            if left and meter.requests >= _FORESEEABLE * (planned or 0):
                parts.append(f"{duration(left * seconds / meter.requests)} left")
        return _BETWEEN.join(parts)


def _first_parts(line: str, width: int) -> str:
    """As many parts of ``line`` as fit, at least the first."""
    while len(line) > width and _BETWEEN in line:
        line = line.rpartition(_BETWEEN)[0]
    return line[:width]


class Progress:
    """Writes through pytest's terminal reporter, past its capture.

    Silent with ``-q``, and without a reporter: in xdist's workers. In CI the line is not rewritten.
    """

    def __init__(self, config: pytest.Config) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        self._reporter = reporter if config.get_verbosity() >= 0 else None
        self._capture = config.pluginmanager.get_plugin("capturemanager")
        self._last_time = 0.0
        self._last_text = ""
        self._on_screen = False
        self.overall = Overall()

    def clear(self) -> None:
        """Takes the line off the screen, before pytest writes the result of the test there."""
        if self._on_screen and self._reporter is not None:
            self._reporter.rewrite("", erase=True)
            self._reporter.rewrite("")
            self._on_screen = False

    def show(self, text: str) -> None:
        """Shows what is done now beside how far the session is, unless something was just shown."""
        if self._reporter is None or text == self._last_text:
            return
        now = time.monotonic()
        on_screen = self._reporter.isatty and not os.environ.get("CI")
        pause = _SCREEN_SECONDS if on_screen else _LOG_SECONDS
        new_work = text.partition("·")[0] != self._last_text.partition("·")[0]
        if now - self._last_time < pause and not new_work:
            return
        self._last_time, self._last_text = now, text
        line = f"  {_BETWEEN.join(filter(None, (str(self.overall), text)))}"
        with self._capture.global_and_fixture_disabled() if self._capture else nullcontext():
            # pytest writes the line that this one interrupts again, with the result.
            self._reporter.ensure_newline()
            if on_screen:
                # A line that wraps could not be rewritten.
                fitting = _first_parts(line, self._reporter._tw.fullwidth - 1)
                self._reporter.rewrite(on_terminal(label(fitting)), erase=True)
                self._on_screen = True
            else:
                for part in within(line):
                    self._reporter.write_line(printable(part))
            self._reporter.flush()
