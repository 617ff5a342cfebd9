"""The messages between parent and child: JSON, one list a message, its kind first.

The child may run in another environment, with other versions of everything but this package. So
nothing is pickled, and what arrives is built anew field by field, within a limit of size.
"""

from __future__ import annotations

import json
import operator
import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from pytest_speedbench.engines.protocol import (
    Counters,
    EngineConfig,
    EngineInfo,
    Request,
    RequestTotals,
    Sampling,
    Speculation,
    TokenScore,
    Trace,
)
from pytest_speedbench.errors import EngineError

T = TypeVar("T")
PROTOCOL = 1
"""Grows when a child of another version would misread a message, or send one that is misread."""
# Traces of many requests of long outputs take some megabytes.
_MOST_BYTES = 1 << 28


class ProtocolError(EngineError, ValueError):
    """A message that cannot be read."""


class Channel:
    """A connection that sends and receives messages."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def limit(self, seconds: float) -> None:
        """Lets :meth:`recv` wait no longer for the rest of a message."""
        interval = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))
        with socket.socket(fileno=os.dup(self._connection.fileno())) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, interval)

    def send(self, message: Sequence[object]) -> None:
        """Raises OSError where the other side is gone."""
        self.write(encode(message))

    def write(self, data: bytes) -> None:
        """Sends a message that is encoded already, as :meth:`send`."""
        self._connection.send_bytes(data)

    def poll(self, timeout: float | None) -> bool:
        """Whether a message, or the end, arrives within ``timeout`` seconds; None: no limit."""
        return self._connection.poll(timeout)

    def recv(self) -> list[Any]:
        """The next message.

        Raises:
            EOFError, OSError: the other side is gone, or the message is longer than 256 MiB.
            BlockingIOError: the rest of the message did not come within the limit.
            ProtocolError: it cannot be read.
        """
        return decode(self._connection.recv_bytes(_MOST_BYTES))

    def close(self) -> None:
        self._connection.close()


def encode(message: Sequence[object]) -> bytes:
    """A message as JSON: dataclasses as objects, all numbers and sequences as Python's own."""
    return json.dumps(message, default=_plain, separators=(",", ":")).encode()


def _plain(value: Any) -> object:
    if is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    return operator.index(value)  # an integer of numpy, torch and the like


def decode(data: bytes) -> list[Any]:
    """The inverse of :func:`encode`; what a kind of message carries stays plain JSON.

    Raises:
        ProtocolError: not a message.
    """
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not JSON: {error}") from error
    if not (isinstance(message, list) and message and isinstance(message[0], str)):
        raise ProtocolError("not a list that begins with a kind of message")
    return message


def read_config(data: Any) -> EngineConfig:
    """The configuration in a message.

    Raises:
        ProtocolError: as the other readers, for data of another form.
    """
    return _built(
        EngineConfig,
        data,
        speculation=_speculation,
        args=_pairs,
        environment=_pairs,
        surroundings=_pairs,
    )


def read_requests(data: Any) -> list[Request]:
    """The requests in a message."""
    return [
        _built(
            Request,
            request,
            prompt_ids=tuple,
            sampling=lambda sampling: _built(Sampling, sampling),
            stop_ids=tuple,
            speculation=_speculation,
            messages=_pairs,
            template=_pairs,
        )
        for request in _list(data)
    ]


def read_traces(data: Any) -> list[Trace]:
    """The traces in a message."""
    return [_built(Trace, trace, totals=_totals) for trace in _list(data)]


def read_counters(data: Any) -> Counters | None:
    """The engine's totals in a message."""
    return None if data is None else _built(Counters, data)


def read_score(data: Any) -> TokenScore:
    """A score in a message; JSON has made its token ids text."""
    return _built(
        TokenScore,
        data,
        logprobs=lambda found: {int(token): value for token, value in found.items()},
    )


def read_info(data: Any) -> EngineInfo:
    """What the started engine reports of itself."""
    return _built(EngineInfo, data)


def _pairs(data: Any) -> tuple[tuple[Any, ...], ...]:
    return tuple(map(tuple, data))


def _speculation(data: Any) -> Speculation:
    return _built(Speculation, data)


def _totals(data: Any) -> RequestTotals | None:
    return None if data is None else _built(RequestTotals, data)


def _list(data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise ProtocolError(f"expected a list, got {type(data).__name__}")
    return data


def _built(kind: type[T], data: Any, **readers: Callable[[Any], object]) -> T:
    try:
        return kind(**{k: readers[k](v) if k in readers else v for k, v in data.items()})
    except (AttributeError, TypeError, ValueError) as error:
        raise ProtocolError(f"not a {kind.__name__}: {error}") from error
