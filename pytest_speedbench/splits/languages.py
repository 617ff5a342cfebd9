"""What language a sample is in: as declared, else as py3langid tells it where that is installed."""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from .model import Sample

UNDECLARED: Final = "(not declared)"
_READ_CHARS: Final = 2000
_IDENTIFIER: Final = "py3langid"

Tell = Callable[[str], str]


def identifier() -> Tell | None:
    """Return what tells a text's language (ISO 639 code); None without py3langid."""
    if importlib.util.find_spec(_IDENTIFIER) is None:
        return None
    langid: Any = importlib.import_module(_IDENTIFIER)

    def tell(text: str) -> str:
        code: str = langid.classify(text[:_READ_CHARS])[0]
        return code

    return tell


def language_mix(
    samples: Sequence[Sample], tell: Tell | None = None
) -> tuple[tuple[str, int], ...]:
    """Return languages and their counts, the most frequent first.

    A sample's declared language counts; without one, what ``tell`` says of its turns, else
    ``(not declared)``.
    """
    counts = Counter(sample.language or _told(sample, tell) for sample in samples)
    return tuple(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))


def undeclared(samples: Sequence[Sample]) -> int:
    """Return how many samples declare no language."""
    return sum(not sample.language for sample in samples)


def _told(sample: Sample, tell: Tell | None) -> str:
    return UNDECLARED if tell is None else tell("\n".join(sample.turns))
