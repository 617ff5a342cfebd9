"""``agentic``, ``agentic_8k``, ``agentic_16k``: sessions of an agent with tools, written by us.

56 sessions of 7 to 9 turns behind one long system prompt. The scripts are with the bundled
splits; long tool outputs (logs, sources, tickets, …) are generated, seeded by session and turn, so
that a session at one length holds beginnings of the same outputs as at a greater length. Tool
results are plain text in user turns: every chat template can render them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

from pytest_speedbench.errors import SplitError

from ..bundled import data_dir
from ..model import Sample, Split, digest_of
from .script import Session, estimate_tokens, parse

LENGTHS: Final = {"agentic_8k": 8192, "agentic_16k": 16384, "agentic": 32768}
"""Most tokens of a session by split, answers of up to ``ANSWER_TOKENS`` a turn included."""
ANSWER_TOKENS: Final = 160
CATEGORIES: Final = {
    "coding": ("debugging", "refactoring"),
    "operations": ("log_analysis", "incident_review"),
    "data": ("migration", "data_cleaning"),
    "text": ("triage", "documentation"),
}
"""Slices and the scenarios in them."""
_SHARES: Final = (0.96, 0.5, 0.8, 0.35, 0.65, 0.88, 0.42)
"""Length of the sessions of a scenario, as a share of the greatest: real sessions differ."""
_SHORTEST: Final = 7600
"""Tokens below which no session is shortened: its written part needs them."""


def agentic_card() -> dict[str, Any]:
    """Return ``split.json``: version, licence, categories, and the digest of each length."""
    path = data_dir() / "agentic" / "split.json"
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise SplitError(f"bundled split 'agentic': cannot read {path}: {error}") from error
    return card


@lru_cache(maxsize=3)
def load_agentic(name: str) -> Split:
    """Return one of the three splits.

    Raises SplitError where its scripts were changed since the digest was taken.
    """
    card = agentic_card()
    samples = build_samples(name)
    actual, expected = digest_of(samples), card["digests"][name]
    if actual != expected:
        raise SplitError(
            f"bundled split {name!r}: its scripts do not match the digest in split.json (expected "
            f"{expected[:12]}, got {actual[:12]}). Install again: pip install --force-reinstall "
            "pytest-speedbench"
        )
    return Split(name, card["version"], expected, samples, card["licence"])


def build_samples(name: str) -> tuple[Sample, ...]:
    """Return the sessions of one length; scenarios of a category alternate."""
    folder = data_dir() / "agentic"
    system = (folder / "system.txt").read_text(encoding="utf-8").strip()
    found: list[Sample] = []
    for category, scenarios in CATEGORIES.items():
        rows = [list(_samples(folder, name, category, scenario, system)) for scenario in scenarios]
        found += [s for group in zip_longest(*rows) for s in group if s is not None]
    return tuple(found)


def _samples(
    folder: Path, name: str, category: str, scenario: str, system: str
) -> Iterator[Sample]:
    sessions = parse((folder / f"{scenario}.txt").read_text(encoding="utf-8"))
    for session, share in zip(sessions, _SHARES, strict=True):
        yield Sample(
            session.id,
            category,
            session.render(_generated_tokens(session, LENGTHS[name], share, system)),
            system=system,
            sub_category=scenario,
            language="en",
            source="pytest-speedbench",
            licence="Apache-2.0",
        )


def _generated_tokens(session: Session, length: int, share: float, system: str) -> float:
    """What is left of a session's length for generated output."""
    whole = max(length * share, min(length, _SHORTEST))
    fixed = estimate_tokens(system) + session.written_tokens()
    return whole - fixed - ANSWER_TOKENS * len(session.turns)
