"""Token ids and step lengths as short text: how records keep what is long."""

from __future__ import annotations

import base64
import sys
import zlib
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_speedbench.errors import RecordError

if TYPE_CHECKING:
    from pytest_speedbench.stats.data import Ints

# More than any output; a few bytes of a hostile record would otherwise inflate to gigabytes.
MOST_IDS = 1 << 24
# Far more tokens than a decoding step can emit; what counts steps by size has so many entries.
MOST_NUMBER = 1 << 16
_BYTES = 4  # of a token id


def pack_ids(token_ids: Sequence[int]) -> str:
    """Token ids as base64 of zlib of little-endian 32-bit integers."""
    return base64.b64encode(zlib.compress(_values(token_ids).tobytes(), 9)).decode("ascii")


def digest_ids(token_ids: Sequence[int]) -> str:
    """Eight hexadecimal digits that identify an output; empty for no ids."""
    return f"{zlib.crc32(_values(token_ids).tobytes()):08x}" if token_ids else ""


def unpack_ids(packed: str, most: int = MOST_IDS) -> Ints:
    """The inverse of :func:`pack_ids`, shape (ids,); no more than ``most`` are ever inflated.

    Raises:
        RecordError: the text is not a packed list of ids, or of more than ``most``.
    """
    import numpy as np

    size = max(0, min(most, MOST_IDS)) * _BYTES
    inflater = zlib.decompressobj()
    try:
        raw = inflater.decompress(base64.b64decode(packed, validate=True), size + 1)
        values = np.frombuffer(raw[:size], dtype=f"<u{_BYTES}").astype(np.int64)
    except (ValueError, zlib.error) as error:
        raise RecordError(f"token ids are damaged: {error}") from error
    if len(raw) > size:
        raise RecordError(f"token ids are damaged: there are more than {most}")
    if not inflater.eof:
        raise RecordError("token ids are damaged: they are cut off")
    return values


def _values(token_ids: Sequence[int]) -> array[int]:
    values = array("I", token_ids)
    if sys.byteorder == "big":
        values.byteswap()
    return values


def pack_numbers(numbers: Sequence[int]) -> str:
    """Small integers as text, separated by blanks: short, and readable in the file."""
    return " ".join(map(str, numbers))


def unpack_numbers(packed: str) -> Ints:
    """The inverse of :func:`pack_numbers`, shape (numbers,).

    Raises:
        RecordError: the text is none of small integers.
    """
    import numpy as np

    digits = packed.replace(" ", "")
    if not digits:
        return np.empty(0, dtype=np.int64)
    if not (digits.isascii() and digits.isdigit()):
        raise RecordError(f"numbers are damaged: expected digits and blanks, got {packed[:40]!r}")
    if packed[::2] == digits:  # one digit each, as nearly always: far cheaper
        return np.frombuffer(digits.encode(), np.uint8) - np.int64(ord("0"))
    numbers = np.fromstring(packed, dtype=np.int64, sep=" ")
    if numbers.max() > MOST_NUMBER:
        raise RecordError(f"numbers are damaged: expected 0 to {MOST_NUMBER}, got {packed[:40]!r}")
    return numbers
