"""What language a sample is in: as declared, else as py3langid (if installed) detects it."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from .model import Sample

UNDECLARED: Final = "(not declared)"
_READ_CHARS: Final = 2000
_IDENTIFIER: Final = "py3langid"

Detect = Callable[[str], str]


def language_detector() -> Detect | None:
    """Return a function from text to its language (ISO 639 code); None without py3langid."""
    if importlib.util.find_spec(_IDENTIFIER) is None:
        return None
    langid: Any = importlib.import_module(_IDENTIFIER)

    def detect(text: str) -> str:
        code: str = langid.classify(text[:_READ_CHARS])[0]
        return code

    return detect


def language_mix(
    samples: Sequence[Sample], detect: Detect | None = None
) -> tuple[tuple[str, int], ...]:
    """Return languages and their counts, the most frequent first.

    A sample's declared language counts; without one, what ``detect`` returns for its turns, else
    ``(not declared)``.
    """
    counts = Counter(sample.language or _detected(sample, detect) for sample in samples)
    return tuple(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def undeclared(samples: Sequence[Sample]) -> int:
    """Return how many samples declare no language."""
    return sum(not sample.language for sample in samples)


def _detected(sample: Sample, detect: Detect | None) -> str:
    return UNDECLARED if detect is None else detect("\n".join(sample.turns))
