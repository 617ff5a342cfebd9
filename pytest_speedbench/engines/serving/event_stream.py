"""Splits what a server streams into the data of server-sent events.

The format is that of the WHATWG's HTML standard, section 9.2, as inference servers use it: every
``data:`` line is an event of its own, since JSON fits into one line.
"""

from __future__ import annotations

import re

from pydantic_core import from_json, to_json

_BOM = b"\xef\xbb\xbf"
_BEGIN, _END = b"data: ", b"\n\n"
_BETWEEN = _END + _BEGIN
_FIELDS = (b":", b"data", b"event", b"id", b"retry", b"error")
_HEAD_BYTES = 1 << 14
# A pair of surrogates or an escaped backslash, which stay, or half a pair.
_SURROGATES = re.compile(
    rb"(\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)


class EventStream:
    """The state of one stream between two blocks of it.

    Attributes:
        rest: the beginning of a line whose end has not arrived.
    """

    __slots__ = ("_error", "_head", "_seen", "rest")

    def __init__(self) -> None:
        self.rest = b""
        self._head = b""
        self._seen = False
        self._error = False

    def feed(self, block: bytes) -> list[bytes]:
        """The data of the events that end in ``block``; none is empty."""
        if not self._seen:
            self._head = (self._head + block)[:_HEAD_BYTES]
        block = self.rest + block
        if self._seen and not self._error and block.startswith(_BEGIN):
            whole, _, rest = block.rpartition(_END)
            events = whole.removeprefix(_BEGIN).split(_BETWEEN)
            if whole and block.count(b"\n") == 2 * len(events):
                # Nothing but events of one line each: twice as fast as line by line.
                self.rest = rest
                return [data for event in events if (data := event.strip())]
        *lines, self.rest = block.split(b"\n")
        found = [data for line in lines if (data := self._data(line))]
        self._seen = self._seen or bool(found)
        return found

    def end(self) -> list[bytes]:
        """The data of the last event, where no line break follows it."""
        return self.feed(b"\n")

    @property
    def foreign(self) -> bytes:
        """The beginning of what is no stream of events, such as a page of HTML; else empty."""
        begin = self._head.removeprefix(_BOM).lstrip()
        return b"" if self._seen or begin.startswith(_FIELDS) else begin

    def _data(self, line: bytes) -> bytes:
        if line.startswith(b"data:"):
            data = line[5:].strip()
            return _as_error(data) if self._error and data else data
        if not line.strip():
            self._error = False
        elif line.startswith(b"event:"):
            self._error = line[6:].strip() == b"error"
        elif line.startswith(b"error:"):  # llama.cpp, until 2025
            return _as_error(line[6:].strip())
        elif line.startswith(_BOM):
            return self._data(line.removeprefix(_BOM))
        return b""


def _as_error(data: bytes) -> bytes:
    """What an event of the type ``error`` carries, in OpenAI's form."""
    try:
        found = from_json(data)
    except ValueError:
        found = data.decode(errors="replace")
    if isinstance(found, dict) and "error" in found:
        return data
    return to_json({"error": found})


def whole_characters(data: bytes) -> bytes:
    """JSON without half characters, which a server sends that cuts text into bytes or UTF-16 units:
    each is replaced by U+FFFD."""
    text = data.decode(errors="replace").encode()
    return _SURROGATES.sub(lambda found: found[1] or rb"\ufffd", text)
