"""The script a text is mainly written in; determined by the Unicode names of its letters."""

from __future__ import annotations

import unicodedata
from collections import Counter


def main_script(text: str) -> str:
    """Return the most frequent script of the first 2,000 characters' letters, else ``(none)``."""
    scripts = Counter(_script(char) for char in text[:2000] if char.isalpha())
    return scripts.most_common(1)[0][0] if scripts else "(none)"


def _script(char: str) -> str:
    return unicodedata.name(char, "UNKNOWN").partition(" ")[0]
