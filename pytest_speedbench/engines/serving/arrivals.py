"""When data arrived, for many streams on one event loop."""

from __future__ import annotations

import selectors
import time


class ArrivalClock(selectors.DefaultSelector):
    """The selector of an event loop, which knows when the data arrived that streams resume with.

    A pass of the loop asks its selector once for the sockets that have data, reads all of them, and
    in the next pass resumes the streams that wait for it. So data was there when the pass before
    began, however long other streams take to be read and parsed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begun = time.perf_counter()
        self.arrived = self._begun
        """What the current pass resumes with: :func:`time.perf_counter` seconds."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout)
        self.arrived, self._begun = self._begun, time.perf_counter()
        return ready
