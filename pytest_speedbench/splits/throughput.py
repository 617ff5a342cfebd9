"""``throughput_{1k,2k,8k,16k,32k}``: prompts of an exact length, three entropy tiers.

Built for the target's tokenizer, one prompt at a time (memory stays at one tier's hashes), into
the user's cache folder. Sample ``i`` of a tier depends only on the recipe, so that a small build
is the beginning of a large one and both carry the recipe's digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Final

from pytest_speedbench.errors import SplitError

from .fitting import Fitter
from .material import Material, load_material
from .model import TIERS, Sample, Split, TargetTokenizer, bucket_length
from .recipes import task
from .reuse import PREFIX_TOKENS, PrefixBook, ReuseMeter
from .rows import read_samples

PER_TIER: Final = 512
BUILDER_VERSION: Final = "1"
LICENCE: Final = "PSF-2.0 (Python sources and documentation), Apache-2.0 (our own texts)"
_REPORT: Final = "build.json"
_PROBE: Final = "Größe = 3.14; def f(x):\n    return x ** 2  # 你好, naïve café"

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class TierReport:
    """One tier as built; ``reused_share`` is the share of body characters that occur in
    an earlier prompt of the bucket, in [0, 1]; ``kinds`` counts prompts per kind of task."""

    tier: str
    samples: int
    reused_share: float
    kinds: dict[str, int]


@dataclass(frozen=True, slots=True)
class BuildReport:
    """A finished build: lengths in tokens of the rendered prompt, time in seconds.

    ``folder`` is where it is; it can be given as a split. ``shared_prefix`` is the longest
    beginning that any two prompts have in common (the chat template's own preamble, ``preamble``
    tokens, included); it is below 256 in every build.
    """

    name: str
    length: int
    tokenizer: str
    python: str
    digest: str
    preamble: int
    shared_prefix: int
    seconds: float
    tiers: tuple[TierReport, ...]
    folder: str = ""


def build_throughput(
    bucket: str,
    tokenizer: TargetTokenizer,
    *,
    per_tier: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Split:
    """Return ``throughput_<bucket>`` for this tokenizer, from the cache or built now.

    ``per_tier`` samples (default 512) of each tier; a cached build of more serves its beginning.
    The split's digest is that of the recipe: builder version, material, bucket, and the
    tokenizer's behaviour on a probe. Raises SplitError for an unknown bucket, ``per_tier`` outside
    1 … 512, missing standard-library sources, and a tokenizer whose lengths cannot be met.
    """
    wanted = PER_TIER if per_tier is None else per_tier
    return _read(_ready(bucket, tokenizer, wanted, cache, progress), wanted)


@lru_cache(maxsize=2)
def _read(folder: Path, per_tier: int) -> Split:
    """Read the beginning of each tier of a finished build (which never changes)."""
    report = read_report(folder)
    samples: list[Sample] = []
    for tier in TIERS:
        samples.extend(read_samples(folder / f"{tier}.jsonl", limit=per_tier).samples)
    version = f"{BUILDER_VERSION}/py{report.python}"
    return Split(report.name, version, report.digest, tuple(samples), LICENCE, "entropy")


def build_report(
    bucket: str,
    tokenizer: TargetTokenizer,
    *,
    per_tier: int | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """Build like :func:`build_throughput`, and return what was built instead of the split."""
    wanted = PER_TIER if per_tier is None else per_tier
    folder = _ready(bucket, tokenizer, wanted, cache, progress)
    return read_report(folder)


def is_built(path: Path) -> bool:
    """Return whether a path is the folder of a finished build."""
    files = (_REPORT, *(f"{tier}.jsonl" for tier in TIERS))
    return all((path / name).is_file() for name in files)


def load_built(folder: Path, *, per_tier: int | None = None) -> Split:
    """Return a build by its folder, whatever Python and tokenizer made it.

    ``per_tier`` None takes all there are. Raises SplitError where fewer were built than requested.
    """
    built = min(tier.samples for tier in read_report(folder).tiers)
    wanted = built if per_tier is None else per_tier
    if not 1 <= wanted <= built:
        raise SplitError(
            f"{folder}: holds {built} samples a tier, {wanted} were requested; build more"
        )
    return _read(folder, wanted)


def cache_dir() -> Path:
    """Return the folder of built splits: $SPEEDBENCH_CACHE, else the user's cache folder."""
    chosen = os.environ.get("SPEEDBENCH_CACHE")
    if chosen:
        return Path(chosen) / "splits"
    base = os.environ.get("XDG_CACHE_HOME")
    if not base and sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    return Path(base or Path.home() / ".cache") / "pytest-speedbench" / "splits"


def read_report(folder: Path) -> BuildReport:
    """Return ``build.json`` of a finished build; SplitError where it cannot be read."""
    path = folder / _REPORT
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        tiers = tuple(TierReport(**tier) for tier in raw["tiers"])
        sizes = [_count(tier.samples) for tier in tiers]
        report = BuildReport(**(raw | {"tiers": tiers, "folder": str(folder)}))
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise SplitError(
            f"cached split {folder.name}: cannot read {path} ({error!r}); delete the folder, it is "
            "built again"
        ) from error
    if len(sizes) != len(TIERS) or not report.name.startswith("throughput_"):
        raise SplitError(f"{path}: not the report of a throughput split; delete the folder")
    return report


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"expected a number of samples, got {value!r}")
    return value


def recipe_digest(bucket: str, tokenizer: TargetTokenizer, material: Material) -> str:
    """Return the sha256 (hex) of all that determines the prompts of a bucket."""
    render = tokenizer.render([{"role": "user", "content": _PROBE}])
    parts = [BUILDER_VERSION, bucket, material.digest, render, tokenizer.encode(_PROBE)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _ready(
    bucket: str,
    tokenizer: TargetTokenizer,
    per_tier: int,
    cache: Path | None,
    progress: Progress | None,
) -> Path:
    """Return the folder of a build with enough samples; build it where there is none."""
    length = bucket_length(bucket)
    if not 1 <= per_tier <= PER_TIER:
        raise SplitError(f"throughput_{bucket}: per_tier must be 1 to {PER_TIER}, got {per_tier}")
    material = load_material()
    digest = recipe_digest(bucket, tokenizer, material)
    home = (cache or cache_dir()) / f"throughput_{bucket}"
    for folder in sorted(home.glob(f"{digest[:16]}-*")):
        size = folder.name.rpartition("-")[2]
        if size.isdecimal() and int(size) >= per_tier:
            return folder
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix=".building-") as temporary:
        build = _Build(bucket, length, tokenizer, material, digest, per_tier, Path(temporary))
        build.write(progress or (lambda stage, done, total: None))
        return _moved(Path(temporary), home / f"{digest[:16]}-{per_tier}")


def _moved(built: Path, final: Path) -> Path:
    """Put a finished build in place; another process that was faster made the same."""
    try:
        (built / "done").rename(final)
    except OSError:
        if not final.is_dir():
            raise
    return final


class _Build:
    """One build: writes the tiers one after the other, then ``build.json``."""

    def __init__(
        self,
        bucket: str,
        length: int,
        tokenizer: TargetTokenizer,
        material: Material,
        digest: str,
        per_tier: int,
        folder: Path,
    ) -> None:
        self.bucket: Final = bucket
        self.length: Final = length
        self.tokenizer: Final = tokenizer
        self.material: Final = material
        self.digest: Final = digest
        self.per_tier: Final = per_tier
        self.folder: Final = folder / "done"
        self.fitter: Final = Fitter(tokenizer, length)
        self.prefixes: Final = PrefixBook()
        self.reuse: Final = ReuseMeter()

    def write(self, progress: Progress) -> None:
        begin = time.perf_counter()
        self.folder.mkdir()
        tiers = tuple(self._tier(tier, progress) for tier in TIERS)
        report = BuildReport(
            f"throughput_{self.bucket}",
            self.length,
            self.tokenizer.name,
            ".".join(map(str, sys.version_info[:3])),
            self.digest,
            self._preamble(),
            self.prefixes.longest_shared(),
            round(time.perf_counter() - begin, 2),
            tiers,
        )
        text = json.dumps(asdict(report), indent=2) + "\n"
        (self.folder / _REPORT).write_text(text, encoding="utf-8")

    def _tier(self, tier: str, progress: Progress) -> TierReport:
        kinds: dict[str, int] = {}
        self.reuse.begin()
        path = self.folder / f"{tier}.jsonl"
        with path.open("w", encoding="utf-8", newline="\n") as out:
            for index, (sample, kind) in enumerate(self._samples(tier), start=1):
                kinds[kind] = kinds.get(kind, 0) + 1
                _write_row(out, sample)
                progress(tier, index, self.per_tier)
        return TierReport(tier, self.per_tier, round(self.reuse.share(), 4), kinds)

    def _samples(self, tier: str) -> Iterator[tuple[Sample, str]]:
        """Fit task after task; one whose first 256 tokens were seen already is passed over."""
        made, index = 0, 0
        while made < self.per_tier:
            job = task(tier, self.bucket, index, self.material)
            index += 1
            text, ids = self.fitter.fit(job)
            if not self.prefixes.add(ids):
                if index > 4 * PER_TIER:
                    raise SplitError(
                        f"throughput_{self.bucket}, {tier}: no {PREFIX_TOKENS}-token beginnings "
                        f"left after {made} prompts; does the chat template put more than "
                        f"{PREFIX_TOKENS} fixed tokens first?"
                    )
                continue
            self.reuse.add(text)
            name = f"{tier}-{self.bucket}-{made:04d}"
            yield Sample(name, tier, (text,), sub_category=job.kind, source=job.source), job.kind
            made += 1

    def _preamble(self) -> int:
        """How many tokens the template puts before any user text."""
        renders = [self.tokenizer.render([{"role": "user", "content": c}]) for c in ("Q", "7")]
        same = 0
        for left, right in zip(*renders, strict=False):
            if left != right:
                break
            same += 1
        return same


def _write_row(out: IO[str], sample: Sample) -> None:
    row = {
        "id": sample.id,
        "category": sample.category,
        "sub_category": sample.sub_category,
        "turns": list(sample.turns),
        "source": sample.source,
    }
    out.write(json.dumps(row, ensure_ascii=False) + "\n")
