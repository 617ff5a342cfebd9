"""Progress while engines work: one line that is rewritten, or one line now and then in a log."""

from __future__ import annotations

import time
from contextlib import nullcontext

import pytest

from pytest_speedbench.escapes import label

_LOG_SECONDS = 15.0
_SCREEN_SECONDS = 0.2
_SILENT = -2  # -qq


class Progress:
    """Writes through pytest's terminal reporter, past its capture. Silent without one (xdist)."""

    def __init__(self, config: pytest.Config) -> None:
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        self._reporter = reporter if config.get_verbosity() > _SILENT else None
        self._capture = config.pluginmanager.get_plugin("capturemanager")
        self._last_time = 0.0
        self._last_text = ""

    def show(self, text: str) -> None:
        if self._reporter is None or text == self._last_text:
            return
        now = time.monotonic()
        on_screen = self._reporter.isatty
        new_work = text.partition("·")[0] != self._last_text.partition("·")[0]
        if (
            now - self._last_time < (_SCREEN_SECONDS if on_screen else _LOG_SECONDS)
            and not new_work
        ):
            return
        self._last_time, self._last_text = now, text
        with self._capture.global_and_fixture_disabled() if self._capture else nullcontext():
            # The line of pytest that this one interrupts is begun anew with the result.
            self._reporter.ensure_newline()
            if on_screen:
                self._reporter.rewrite(label(f"  {text} "), erase=True)
            else:
                self._reporter.write_line(label(f"  {text}"))
            self._reporter.flush()
