"""Names and paths to splits: what ``--speed-split`` accepts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from pytest_speedbench.errors import SplitError

from .bundled import BUNDLED, bundled_slices, load_bundled, read_card
from .compressed import content_stem, content_suffix
from .errors import unknown
from .identity import KEY_LENGTH
from .model import (
    ALL,
    BUCKETS,
    CATEGORIES,
    TIERS,
    Sample,
    Split,
    TargetTokenizer,
    make_split,
    name_rows,
)
from .rows import FILE_TYPES, read_samples

SPEED_BENCH = "nvidia/SPEED-Bench"
THROUGHPUT = tuple(f"throughput_{bucket}" for bucket in BUCKETS)
AGENTIC = ("agentic_8k", "agentic_16k", "agentic")
RANDOM = "random"
RANDOM_LENGTHS = {RANDOM: 1024, **{f"{RANDOM}_{name}": size for name, size in BUCKETS.items()}}
"""Input length in tokens by name."""
NAMES = (*BUNDLED, *AGENTIC, *THROUGHPUT, *RANDOM_LENGTHS)
_GIVEN_NAME: Final = re.compile(r"([A-Za-z0-9][\w.-]*)=(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class SplitListing:
    """One line of ``speedbench splits list``; ``samples`` and ``digest`` are known if bundled."""

    name: str
    samples: int | None
    digest: str
    licence: str
    about: str


def load_split(
    name_or_path: str,
    *,
    tokenizer: TargetTokenizer | None = None,
    per_tier: int | None = None,
    columns: Mapping[str, str] | None = None,
    keep_good: bool = False,
) -> Split:
    """Return the split of a name, a hub name or a path, optionally narrowed by ``:category``.

    Cached per process; a changed file is read again.

    Args:
        name_or_path: ``qualitative``, ``agentic``, ``agentic_8k`` and ``agentic_16k`` (bundled);
            ``throughput_1k`` … ``throughput_32k`` (built for
            ``tokenizer`` and cached); ``random`` and ``random_1k`` … ``random_32k``;
            ``nvidia/SPEED-Bench:CONFIG``; the folder of a built throughput split; or a JSONL, JSON,
            CSV or parquet file. ``NAME=PATH`` names a file or folder.
        tokenizer: the target's, for splits whose length is counted in its tokens.
        per_tier: samples a tier of a throughput split; None: 512.
        columns: our field names → those of the file.
        keep_good: leave bad rows out, with a warning, instead of raising.

    Raises:
        SplitError: there is no such split, or it cannot be used; the message names what is wrong.
    """
    base, category = divide_name(name_or_path)
    split = _load(base, tokenizer, per_tier, columns, keep_good)
    return split if category is None or category == ALL else split.only(category)


def _load(
    base: str,
    tokenizer: TargetTokenizer | None,
    per_tier: int | None,
    columns: Mapping[str, str] | None,
    keep_good: bool,
) -> Split:
    given, base = given_name(base)
    if given:
        return replace(_load(base, tokenizer, per_tier, columns, keep_good), name=given)
    if base in BUNDLED:
        return load_bundled(base)
    if base in AGENTIC:
        from .agentic import load_agentic

        return load_agentic(base)
    if base in THROUGHPUT:
        return _throughput(base, tokenizer, per_tier)
    if base in RANDOM_LENGTHS:
        from .random_ids import random_split

        return random_split(tokenizer, name=base, length=RANDOM_LENGTHS[base])
    if base.startswith(SPEED_BENCH):
        from .hub import load_speed_bench

        return load_speed_bench(SPEED_BENCH, base.removeprefix(SPEED_BENCH).lstrip(":"))
    if _is_built(base):
        from .throughput import load_built

        return load_built(Path(base), per_tier=per_tier)
    return load_file(Path(base), columns=columns, keep_good=keep_good)


def built_for_tokenizer(name_or_path: str) -> bool:
    """Return whether a split is made for the target's tokenizer, so that loading needs one."""
    base, _ = divide_name(name_or_path)
    return base in THROUGHPUT or base in RANDOM_LENGTHS


def throughput_bucket(name_or_path: str) -> str | None:
    """Return ``"8k"`` for ``throughput_8k`` and for the folder of such a build; else None."""
    base = given_name(divide_name(name_or_path)[0])[1]
    if base in THROUGHPUT:
        return base.removeprefix("throughput_")
    if _is_built(base):
        from .throughput import read_report

        return read_report(Path(base)).name.removeprefix("throughput_")
    return None


def split_key(
    name_or_path: str, *, columns: Mapping[str, str] | None = None, keep_good: bool = False
) -> str:
    """Return what identifies a split in the key of a case: its name, else the digest of its rows.

    A file or folder has the name given to it (``NAME=PATH``), never that of its path. The digest
    has 12 hexadecimal digits. Reads the rows of an unnamed file, and no prompt of a built-in
    split. Raises SplitError like :func:`load_split`.
    """
    given, base = given_name(divide_name(name_or_path)[0])
    if given or base in NAMES:
        return given or base
    if base == SPEED_BENCH:
        return f"{SPEED_BENCH}:qualitative"
    if base.startswith(SPEED_BENCH):
        return base
    if bucket := throughput_bucket(base):
        return f"throughput_{bucket}"
    return load_split(base, columns=columns, keep_good=keep_good).digest[:KEY_LENGTH]


def given_name(base: str) -> tuple[str, str]:
    """Return name and path of ``NAME=PATH``; an empty name where none is given.

    The ``=`` of an existing path belongs to the path. Raises SplitError for the name of a built-in
    split, and for a built-in split in place of a path.
    """
    found = _GIVEN_NAME.fullmatch(base)
    if found is None or Path(base).exists():
        return "", base
    name, path = found.groups()
    if name in (*NAMES, ALL):
        raise SplitError(f"split {base!r}: {name!r} is reserved; give the file another name")
    if path in NAMES or path.startswith(SPEED_BENCH):
        raise SplitError(f"split {base!r}: {path!r} has a name already; NAME=PATH names a file")
    return name, path


def _is_built(base: str) -> bool:
    from .throughput import is_built

    return is_built(Path(base))


def split_slices(
    name_or_path: str, *, columns: Mapping[str, str] | None = None, keep_good: bool = False
) -> tuple[str, ...]:
    """Return the slice names of a split; cheap (no prompt is read) for every built-in name.

    For a file its rows are read. Raises SplitError like :func:`load_split`.
    """
    base, category = divide_name(name_or_path)
    slices = _slices(base, columns, keep_good)
    if category is None or category == ALL:
        return slices
    if category not in slices:
        raise unknown("category", category, (*slices, ALL), where=f"split {base!r}")
    return (category,)


def _slices(base: str, columns: Mapping[str, str] | None, keep_good: bool) -> tuple[str, ...]:
    if base in BUNDLED:
        return bundled_slices(base)
    if base in AGENTIC:
        from .agentic import CATEGORIES

        return tuple(CATEGORIES)
    if base in THROUGHPUT or _is_built(given_name(base)[1]):
        return TIERS
    if base in RANDOM_LENGTHS:
        return (RANDOM,)
    if base.startswith(SPEED_BENCH):
        from .hub import speed_bench_slices

        return speed_bench_slices(base.removeprefix(SPEED_BENCH).lstrip(":"))
    return load_split(base, columns=columns, keep_good=keep_good).slices


def divide_name(text: str) -> tuple[str, str | None]:
    """Return name and category of ``NAME[:category]`` or ``NAME=PATH[:category]``.

    A colon inside an existing path or a hub name stays with it.
    """
    given, path = given_name(text)
    if given:
        base, category = divide_name(path)
        return f"{given}={base}", category
    if text.startswith(SPEED_BENCH):
        parts = text.removeprefix(SPEED_BENCH).lstrip(":").split(":", 1)
        base = f"{SPEED_BENCH}:{parts[0]}" if parts[0] else SPEED_BENCH
        return base, parts[1] if len(parts) > 1 else None
    if ":" not in text or Path(text).exists():
        return text, None
    base, _, category = text.rpartition(":")
    configuration = Path(base) / category
    if category and configuration.is_dir():
        return str(configuration), None
    return base, category


def _throughput(base: str, tokenizer: TargetTokenizer | None, per_tier: int | None) -> Split:
    if tokenizer is None:
        raise SplitError(
            f"split {base!r} is built to an exact length in the target's tokenizer, and none was "
            "given. Name the model (--speed-model), build it ahead (speedbench splits build "
            f"{base.removeprefix('throughput_')} --model MODEL), or pass tokenizer="
        )
    from .throughput import build_throughput

    return build_throughput(base.removeprefix("throughput_"), tokenizer, per_tier=per_tier)


def load_file(
    path: Path, *, columns: Mapping[str, str] | None = None, keep_good: bool = False
) -> Split:
    """Return the split in a file, or in a folder of files; raises SplitError."""
    if not path.exists():
        raise _no_such(path)
    pairs = tuple(sorted(columns.items())) if columns else None
    return _load_files(path, _stamp(path), pairs, keep_good)


def _no_such(path: Path) -> SplitError:
    if content_suffix(path) in FILE_TYPES or len(path.parts) > 1:
        return SplitError(
            f"split file {str(path)!r} does not exist (looked in {Path.cwd()}); give an existing "
            f"file or one of: {', '.join(NAMES)}, {SPEED_BENCH}:qualitative"
        )
    name = str(path)
    if name in CATEGORIES:
        return SplitError(
            f"unknown split {name!r}; it is a category of the split qualitative: "
            f"'qualitative:{name}'."
        )
    return unknown("split", name, (*NAMES, SPEED_BENCH), also="PATH of a file")


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    types = set(FILE_TYPES) - {".json"}
    found = sorted(f for f in path.rglob("*") if content_suffix(f) in types and f.is_file())
    if not found:
        raise SplitError(
            f"folder {str(path)!r} holds no split file; expected .jsonl, .csv or .parquet"
        )
    return found


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    stats = [(str(f), f.stat()) for f in _files(path)]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in stats)


@lru_cache(maxsize=16)
def _load_files(
    path: Path,
    stamp: tuple[tuple[str, int, int], ...],
    columns: tuple[tuple[str, str], ...] | None,
    keep_good: bool,
) -> Split:
    samples: list[Sample] = []
    origin: dict[str, str] = {}
    for name, _, _ in stamp:
        found = read_samples(
            Path(name), columns=dict(columns) if columns else None, keep_good=keep_good
        )
        _refuse_shared_ids(name, found.samples, origin)
        samples.extend(found.samples)
    return make_split(content_stem(path), name_rows(samples))


def _refuse_shared_ids(name: str, samples: Iterable[Sample], origin: dict[str, str]) -> None:
    for sample in samples:
        if sample.row is not None:
            continue
        first = origin.setdefault(sample.id, name)
        if first != name:
            raise SplitError(
                f"{name}: id {sample.id!r} is used in {first} too; ids must be unique over a "
                "folder: give one file or subfolder of it"
            )


def list_splits() -> tuple[SplitListing, ...]:
    """Return every built-in split with its size, digest and licence, as far as they are known."""
    listed = []
    for name in BUNDLED:
        card = read_card(name)
        about = f"version {card['version']}, {len(card['categories'])} categories"
        size = sum(card["categories"].values())
        listed.append(SplitListing(name, size, card["digest"], card["licence"], about))
    listed += _agentic_listings()
    for name in THROUGHPUT:
        about = "built for the target's tokenizer, 512 samples in each of 3 entropy tiers"
        listed.append(SplitListing(name, None, "", "mixed, see docs/splits.md", about))
    about = "uniform token ids, for comparison only: overstates throughput"
    return (*listed, SplitListing(RANDOM, None, "", "Apache-2.0", about))


def _agentic_listings() -> list[SplitListing]:
    from .agentic import LENGTHS, agentic_card

    card = agentic_card()
    size = sum(card["categories"].values())
    return [
        SplitListing(
            name,
            size,
            card["digests"][name],
            card["licence"],
            f"version {card['version']}, sessions of an agent with tools, up to {length:,} tokens",
        )
        for name, length in LENGTHS.items()
    ]
