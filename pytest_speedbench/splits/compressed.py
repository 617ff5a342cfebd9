"""Files as they are published: ``.gz`` and ``.zst`` around any text format, read as a stream."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from pytest_speedbench.errors import SplitError

from .errors import optional_import

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_FIRST_BYTES: Final = {".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}
COMPRESSIONS: Final = tuple(_FIRST_BYTES)
MAX_EXPANDED: Final = 4 * 2**30
"""Most bytes that a compressed file may expand to: 4 GiB."""
_PIECE: Final = 4096
"""Bytes decompressed at once; few, since they may expand ten thousandfold."""


def content_suffix(path: Path) -> str:
    """Return the ending of the format: ``.jsonl`` of ``a.jsonl`` and ``a.jsonl.gz``."""
    return _uncompressed(path).suffix.lower()


def content_stem(path: Path) -> str:
    """Return a file's name without its endings: ``a`` of ``a.jsonl`` and ``a.jsonl.gz``."""
    return _uncompressed(path).stem


def is_compressed(path: Path) -> bool:
    """Return whether the name ends like a compressed file's."""
    return path.suffix.lower() in COMPRESSIONS


def open_content(path: Path) -> IO[bytes]:
    """Open a file for reading its bytes, decompressed where its name says so.

    Reading raises SplitError where the compressed data is damaged, ends early, or expands beyond
    4 GiB; opening raises it where the package for ``.zst`` is missing, and where the name does not
    say that the file is compressed.
    """
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return io.BufferedReader(_Checked(path, gzip.open(path, "rb"), ()))
    if suffix == ".zst":
        zstandard: Any = optional_import("zstandard", "hub", f"reading {path.name}")
        stream = _ZstdStream(path.open("rb"), zstandard.ZstdDecompressor())
        return io.BufferedReader(_Checked(path, stream, (zstandard.ZstdError,)))
    _refuse_compressed(path)
    return path.open("rb")


def _refuse_compressed(path: Path) -> None:
    with path.open("rb") as stream:
        first = stream.read(max(map(len, _FIRST_BYTES.values())))
    for ending, magic in _FIRST_BYTES.items():
        if first.startswith(magic):
            raise SplitError(f"{path} is compressed: rename it to {path.name}{ending}")


def _uncompressed(path: Path) -> Path:
    return path.with_suffix("") if is_compressed(path) else path


class _ZstdStream:
    """All frames of a file one after the other; EOFError where the last one is not complete.

    The package's own reader returns what there is of an incomplete frame, without an error.
    """

    def __init__(self, raw: IO[bytes], decompressor: Any) -> None:
        self._raw: Final = raw
        self._decompressor: Final = decompressor
        self._frame: Any = None
        self._pending = b""
        self._ready = b""

    def read(self, size: int) -> bytes:
        while not self._ready:
            piece = self._pending or self._raw.read(_PIECE)
            if not piece:
                if self._frame is not None:
                    raise EOFError("the file ends inside a frame")
                return b""
            self._frame = self._frame or self._decompressor.decompressobj()
            self._ready = self._frame.decompress(piece)
            self._pending = self._frame.unused_data if self._frame.eof else b""
            if self._frame.eof:
                self._frame = None
        piece, self._ready = self._ready[:size], self._ready[size:]
        return piece

    def close(self) -> None:
        self._raw.close()


class _Checked(io.RawIOBase):
    """A decompressing stream with a limit of size, whose errors are ours."""

    def __init__(self, path: Path, stream: Any, errors: tuple[type[Exception], ...]) -> None:
        self._path: Final = path
        self._stream: Final = stream
        self._errors: Final[tuple[type[Exception], ...]] = (OSError, EOFError, zlib.error, *errors)
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        try:
            piece: bytes = self._stream.read(len(memoryview(buffer)))
        except self._errors as error:
            raise SplitError(
                f"{self._path}: the compressed data is damaged ({error}); fetch the file again"
            ) from error
        self._read += len(piece)
        if self._read > MAX_EXPANDED:
            raise SplitError(
                f"{self._path}: expands to more than {MAX_EXPANDED // 2**30} GiB; keep the rows "
                "that are measured in a file of their own"
            )
        memoryview(buffer).cast("B")[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        self._stream.close()
        super().close()
