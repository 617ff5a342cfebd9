"""Raw material of the throughput splits: what every installation has, and what we wrote.

All of it comes as lists of short pieces (up to about 1,200 characters) in a fixed order, so that
the same Python and the same bundled split give the same prompts.
"""

from __future__ import annotations

import hashlib
import os
import re
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from pytest_speedbench.errors import SplitError

from .bundled import load_bundled

PIECE_CHARS: Final = 1200
_SKIPPED: Final = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages"})
_SKIPPED_ENDS: Final = ("_data/topics.py", "lib2to3", "__pycache__")
_DOCSTRING: Final = re.compile(r'"""(.{300,}?)"""', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text and where it is from."""

    text: str
    origin: str


@dataclass(frozen=True, slots=True)
class Material:
    """Code and prose pieces, distinct within each list, and the sha256 over all of them."""

    code: tuple[Piece, ...]
    prose: tuple[Piece, ...]
    digest: str


@lru_cache(maxsize=1)
def load_material() -> Material:
    """Return the pieces of this installation; SplitError where Python came without sources."""
    sources = _source_files()
    code = _distinct(_code_pieces(sources))
    prose = _shuffled_together(_distinct(_own_passages()), _distinct(_documentation(sources)))
    if len(code) < 1000:
        raise SplitError(
            f"the standard library's sources are missing ({len(code)} pieces under {_stdlib()}); "
            "the throughput splits are built from them: use a Python installation that has them"
        )
    digest = hashlib.sha256()
    for piece in (*code, *prose):
        digest.update(piece.text.encode("utf-8", "surrogatepass") + b"\0")
    return Material(tuple(code), tuple(prose), digest.hexdigest())


def _stdlib() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _source_files() -> list[tuple[str, str]]:
    """Return (name relative to the library, text) of the library's sources, without its tests."""
    root, found = _stdlib(), []
    for path in sorted(_python_files(root)):
        name = path.relative_to(root).as_posix()
        if any(s in name for s in _SKIPPED_ENDS) or name.startswith("_sysconfigdata"):
            continue  # the latter differs from build to build
        try:
            found.append((name, path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError):
            continue
    return found


def _python_files(root: Path) -> Iterator[Path]:
    """Yield the library's modules; installed packages below it are not even looked at."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in _SKIPPED]
        yield from (Path(folder, name) for name in files if name.endswith(".py"))


def _code_pieces(sources: Sequence[tuple[str, str]]) -> Iterator[Piece]:
    for name, text in sources:
        for block in _packed(re.split(r"\n{2,}(?=\S)", text), "\n\n"):
            yield Piece(block, f"Lib/{name}")


def _documentation(sources: Sequence[tuple[str, str]]) -> Iterator[Piece]:
    """The language reference as ``pydoc`` carries it, and the library's longer docstrings."""
    topics = _topics()
    for name in sorted(topics):
        for block in _packed(topics[name].split("\n\n"), "\n\n"):
            yield Piece(block, f"Python reference, {name}")
    for name, text in sources:
        for found in _DOCSTRING.finditer(text):
            for block in _packed(found.group(1).strip().split("\n\n"), "\n\n"):
                yield Piece(block, f"documentation of Lib/{name}")


def _topics() -> Mapping[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:  # some distributions leave it out
        return {}
    found: Mapping[str, str] = topics
    return found


def _own_passages() -> Iterator[Piece]:
    """The passages of our own rag and summarization samples."""
    split = load_bundled("qualitative")
    for category in ("rag", "summarization"):
        for sample in split.select(category):
            for block in _packed(sample.turns[0].split("\n\n"), "\n\n"):
                yield Piece(block, f"passage {sample.id}")


def _packed(blocks: list[str], glue: str) -> Iterator[str]:
    """Join short neighbours and cut long blocks at line ends, to pieces of 300 characters and up.

    Pieces below 300 characters are left out: they would start prompts alike.
    """
    held = ""
    for line in _lines(blocks, glue):
        if len(held) + len(line) > PIECE_CHARS and len(held) >= 300:
            yield held.strip("\n")
            held = ""
        held += line[: 2 * PIECE_CHARS]
    if len(held) >= 300:
        yield held.strip("\n")


def _lines(blocks: list[str], glue: str) -> Iterator[str]:
    for block in blocks:
        yield from (block + glue).splitlines(keepends=True)


def _distinct(pieces: Iterator[Piece]) -> list[Piece]:
    """Keep the first of pieces that begin alike (120 characters, spaces aside)."""
    kept: dict[str, Piece] = {}
    for piece in pieces:
        kept.setdefault(" ".join(piece.text[:160].split())[:120], piece)
    return list(kept.values())


def _shuffled_together(own: list[Piece], others: list[Piece]) -> list[Piece]:
    """Spread our own pieces evenly among the others."""
    if not own:
        return others
    step = len(others) / len(own)
    placed = [(i * step, 0, piece) for i, piece in enumerate(own)]
    placed += [(float(i), 1, piece) for i, piece in enumerate(others)]
    return [piece for _, _, piece in sorted(placed, key=lambda entry: entry[:2])]
