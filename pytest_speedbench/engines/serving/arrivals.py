"""When data arrived, for many streams on one event loop."""

from __future__ import annotations

import asyncio
import time


class ArrivalClock:
    """The time at which the current pass of the event loop began to hand out data.

    Whatever a pass hands out was there before the pass: the first stream that resumes takes the
    time for all of them, so that no token seems to arrive later because those of other streams were
    parsed before it.
    """

    def __init__(self) -> None:
        self._now: float | None = None

    def now(self) -> float:
        """:func:`time.perf_counter` seconds; call it from the event loop's thread."""
        if self._now is None:
            self._now = time.perf_counter()
            asyncio.get_running_loop().call_soon(self._end_pass)
        return self._now

    def _end_pass(self) -> None:
        self._now = None
