"""Token ids and step lengths as short text: how records keep what is long."""

from __future__ import annotations

import base64
import sys
import zlib
from array import array
from collections.abc import Sequence

from pytest_speedbench.errors import RecordError

# More than any output; a few bytes of a hostile record would otherwise inflate to gigabytes.
MOST_IDS = 1 << 24
MOST_NUMBER = 1 << 31


def pack_ids(token_ids: Sequence[int]) -> str:
    """Token ids as base64 of zlib of little-endian 32-bit integers."""
    return base64.b64encode(zlib.compress(_values(token_ids).tobytes(), 9)).decode("ascii")


def digest_ids(token_ids: Sequence[int]) -> str:
    """Eight hexadecimal digits that identify an output; empty for no ids."""
    return f"{zlib.crc32(_values(token_ids).tobytes()):08x}" if token_ids else ""


def unpack_ids(packed: str, most: int = MOST_IDS) -> list[int]:
    """The inverse of :func:`pack_ids`; no more than ``most`` ids are ever inflated.

    Raises:
        RecordError: the text is not a packed list of ids, or of more than ``most``.
    """
    values = array("I")
    size = max(0, min(most, MOST_IDS)) * values.itemsize
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(base64.b64decode(packed, validate=True), size + 1)
        values.frombytes(raw[:size])
    except (ValueError, zlib.error) as error:
        raise RecordError(f"token ids are damaged: {error}") from error
    if len(raw) > size:
        raise RecordError(f"token ids are damaged: there are more than {most}")
    if not inflater.eof:
        raise RecordError("token ids are damaged: they are cut off")
    if _big_endian():
        values.byteswap()
    return list(values)


def _values(token_ids: Sequence[int]) -> array[int]:
    values = array("I", token_ids)
    if _big_endian():
        values.byteswap()
    return values


def _big_endian() -> bool:
    return sys.byteorder == "big"


def pack_numbers(numbers: Sequence[int]) -> str:
    """Small integers as text, separated by blanks: short, and readable in the file."""
    return " ".join(map(str, numbers))


def unpack_numbers(packed: str) -> list[int]:
    """The inverse of :func:`pack_numbers`.

    Raises:
        RecordError: the text is none of small integers.
    """
    try:
        numbers = list(map(int, packed.split()))
    except ValueError as error:
        raise RecordError(f"numbers are damaged: {error}") from error
    if numbers and not 0 <= min(numbers) <= max(numbers) <= MOST_NUMBER:
        raise RecordError(f"numbers are damaged: expected 0 to {MOST_NUMBER}, got {packed[:40]!r}")
    return numbers
