"""Messages to a child process, written by a thread of their own.

A child that hangs reads nothing, and one that sends a long message reads again when that is taken.
So whoever takes its messages must not wait until it has read ours.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence

from pytest_speedbench.engines.process.wire import Channel, encode

_CLOSE_SECONDS = 5.0


class Outbox:
    """Sends messages through ``channel``, in their order; no call waits for the other side."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._messages: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, daemon=True, name="outbox")
        self._thread.start()

    def put(self, message: Sequence[object]) -> None:
        self._messages.put(encode(message))

    def _write(self) -> None:
        while (data := self._messages.get()) is not None:
            try:
                self._channel.write(data)
            except OSError:  # the other side is gone, as whoever waits for its answer will see
                return

    def close(self) -> None:
        """Ends the thread; the other side must be gone. Closing twice is allowed."""
        self._messages.put(None)
        self._thread.join(_CLOSE_SECONDS)
