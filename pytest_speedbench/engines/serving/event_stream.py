"""Splits what a server streams into the data of server-sent events.

The format is that of the WHATWG's HTML standard, section 9.2: the ``data:`` lines of one event are
joined by a line feed. Some servers leave out the blank line between events, so a first line that is
whole JSON, or the closing ``[DONE]``, is an event of its own.
"""

from __future__ import annotations

import re

from pydantic_core import from_json, to_json

DONE = b"[DONE]"
"""The data of the last event."""
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
    """The state of one stream between two blocks of it."""

    __slots__ = ("_data", "_error", "_head", "_joins", "_rest", "_seen")

    def __init__(self) -> None:
        self._rest = b""
        self._head = b""
        self._seen = False
        self._error = False
        self._data = bytearray()
        self._joins = False  # whether the first line of `_data` is known not to be whole

    def feed(self, block: bytes) -> list[bytes]:
        """The data of the events that end in ``block``; none is empty."""
        if not self._seen:
            self._head = (self._head + block)[:_HEAD_BYTES]
        block = self._rest + block
        if self._seen and not (self._error or self._data) and block.startswith(_BEGIN):
            whole, _, rest = block.rpartition(_END)
            events = whole.removeprefix(_BEGIN).split(_BETWEEN)
            if whole and block.count(b"\n") == 2 * len(events):
                # Nothing but events of one line each: twice as fast as line by line.
                self._rest = rest
                return [data for event in events if (data := event.strip())]
        *lines, self._rest = block.split(b"\n")
        found: list[bytes] = []
        for line in lines:
            self._take(line, found)
        self._end_whole(found)
        return found

    def end(self) -> list[bytes]:
        """The data of the last event, where no blank line follows it."""
        return self.feed(b"\n\n")

    @property
    def held(self) -> int:
        """Bytes of the event that has not ended."""
        return len(self._rest) + len(self._data)

    @property
    def foreign(self) -> bytes:
        """The beginning of what is no stream of events, such as a page of HTML; else empty."""
        begin = self._head.removeprefix(_BOM).lstrip()
        return b"" if self._seen or begin.startswith(_FIELDS) else begin

    def _take(self, line: bytes, found: list[bytes]) -> None:
        """Reads a line, and adds the event that it ends to ``found``."""
        if line.startswith(b"data:"):
            if data := line[5:].strip():
                self._end_whole(found)
                self._data += b"\n" + data if self._data else data
                self._seen = True
        elif not line.strip():
            self._end_event(found)
            self._error = False
        elif line.startswith(b"event:"):
            self._end_whole(found)  # its data, if whole, may have been read in an earlier block
            self._error = line[6:].strip() == b"error"
        elif line.startswith(b"error:"):  # llama.cpp, until 2025
            found.append(_as_error(line[6:].strip()))
            self._seen = True
        elif line.startswith(_BOM):
            self._take(line.removeprefix(_BOM), found)

    def _end_whole(self, found: list[bytes]) -> None:
        """Ends an event whose first line is whole, for servers that send no blank lines."""
        if self._data and not self._joins:
            if _is_whole(bytes(self._data)):
                self._end_event(found)
            else:
                self._joins = True

    def _end_event(self, found: list[bytes]) -> None:
        if self._data:
            data = bytes(self._data)
            found.append(_as_error(data) if self._error else data)
            self._data.clear()
            self._joins = False


def _is_whole(data: bytes) -> bool:
    if data == DONE:
        return True
    try:
        from_json(whole_characters(data))
    except ValueError:
        return False
    return True


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
