"""SIGTERM and SIGHUP end a measuring session as Ctrl-C does: what is finished is saved."""

from __future__ import annotations

import signal
import threading
from typing import Any

_SIGNALS = ("SIGTERM", "SIGHUP")


class GracefulEnd:
    """The handlers of one session; the ones before are put back by :meth:`restore`.

    A CI job that is cancelled, or whose time is up, gets SIGTERM and a few seconds.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}

    def install(self) -> GracefulEnd:
        """Takes the signals that nobody else handles; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return self
        for name in _SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                self._before[number] = signal.signal(number, self._end)
        return self

    def _end(self, number: int, frame: object) -> None:
        for taken in self._before:  # a second signal must not interrupt the saving
            signal.signal(taken, signal.SIG_IGN)
        raise KeyboardInterrupt(f"the session was ended by {signal.Signals(number).name}")

    def restore(self) -> None:
        """Puts the former handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
