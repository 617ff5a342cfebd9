"""What a throughput prompt is made of: pieces of body, then an instruction that stays whole.

A recipe gives, for sample ``index`` of a tier, an endless stream of body pieces and the
instruction that follows them. The body comes first, and every index starts at another piece, so
that prompts differ from their first tokens on and prefix caches gain nothing.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Final

from .bundled import load_bundled
from .material import Material, Piece
from .stories import dialogue, opening, record

_GOLDEN: Final = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True)
class Task:
    """One prompt to be built: an endless body and the way to finish it.

    ``finish`` takes the body's pieces but the last (which is cut to length) and returns them,
    perhaps with something hidden among them, and the instruction.
    """

    kind: str
    source: str
    glue: str
    body: Iterator[str]
    finish: Callable[[Sequence[str]], tuple[list[str], str]]


def task(tier: str, bucket: str, index: int, material: Material) -> Task:
    """Return task ``index`` of a tier; the kinds of the tier take turns."""
    kinds = _KINDS[tier]
    draw = random.Random(f"{tier}/{bucket}/{index}")
    return kinds[index % len(kinds)](draw, index, material)


def _from(pieces: tuple[Piece, ...], index: int) -> Iterator[Piece]:
    """All pieces from the index's own start on, round and round; starts are spread evenly."""
    start = int((index * _GOLDEN) % 1 * len(pieces))
    for step in count(start):
        yield pieces[step % len(pieces)]


def _texts(pieces: Iterator[Piece], comment: str) -> Iterator[str]:
    """Texts, with a line that names the origin wherever it changes."""
    last = ""
    for piece in pieces:
        head = f"{comment}{piece.origin}\n" if piece.origin != last else ""
        last = piece.origin
        yield head + piece.text


def _plain(instruction: str) -> Callable[[Sequence[str]], tuple[list[str], str]]:
    return lambda pieces: (list(pieces), instruction)


def _completion(draw: random.Random, index: int, material: Material) -> Task:
    instruction = draw.choice(
        (
            "The source above breaks off. Continue it from exactly where it stops, in the same "
            "style, for about sixty lines. Code only.",
            "Write the code that comes next in the file above. Do not repeat what is there.",
            "Pick up the last file above at the very character where it ends and go on. No prose.",
        )
    )
    body = _texts(_from(material.code, index), "# ")
    return Task("completion", "Python standard library", "\n\n", body, _plain(instruction))


def _annotation(draw: random.Random, index: int, material: Material) -> Task:
    instruction = draw.choice(
        (
            "Repeat the last complete function above with type annotations on every parameter "
            "and the return value, and change nothing else.",
            "Copy the first class or function above word for word, with every local variable that "
            "has a one-letter name renamed to something that says what it holds.",
            "Give the last complete function above a docstring of three lines. Return the whole "
            "function, otherwise unchanged.",
        )
    )
    body = _texts(_from(material.code, index), "# ")
    return Task("annotation", "Python standard library", "\n\n", body, _plain(instruction))


def _sorting(draw: random.Random, index: int, material: Material) -> Task:
    column, name = draw.choice(((1, "number"), (2, "name"), (3, "object")))
    instruction = (
        f"Each line above is: number; name; object; date. Write all complete lines again, sorted "
        f"by the {name} (column {column}), ascending, unchanged otherwise. No comment."
    )
    body = iter(lambda: "\n".join(record(draw) for _ in range(8)), "")
    return Task("sorting", "pytest-speedbench", "\n", body, _plain(instruction))


def _needle(draw: random.Random, index: int, material: Material) -> Task:
    owner, code = draw.choice(_OWNERS), draw.randint(10_000, 99_999)
    needle = f"By the way: the combination of {owner}'s locker is {code}."

    def finish(pieces: Sequence[str]) -> tuple[list[str], str]:
        place = draw.randint(1, max(1, len(pieces) - 1))
        instruction = (
            f"Somewhere above stands the combination of {owner}'s locker. Give it, quote the "
            "sentence before it, and say in three sentences what the text around it is about."
        )
        return [*pieces[:place], needle, *pieces[place:]], instruction

    body = _texts(_from(material.prose, index), "From: ")
    return Task("needle", "Python documentation; pytest-speedbench", "\n\n", body, finish)


def _exam(draw: random.Random, index: int, material: Material) -> Task:
    def finish(pieces: Sequence[str]) -> tuple[list[str], str]:
        sentences = [s for piece in pieces for s in _sentences(piece)]
        asked = draw.sample(sentences, min(3, len(sentences)))
        questions = "\n".join(_cloze(draw, n, text) for n, text in enumerate(asked, start=1))
        instruction = (
            "Examination on the reading above. For each sentence give the missing word, and "
            f"explain in two sentences why no other fits:\n{questions}\nThen write one further "
            "question on the reading, with its model answer."
        )
        return list(pieces), instruction

    body = _texts(_from(material.prose, index), "From: ")
    return Task("exam", "Python documentation; pytest-speedbench", "\n\n", body, finish)


def _sentences(text: str) -> list[str]:
    """Plain sentences of 8 to 30 words; listings, tables and markup are skipped."""
    flat = re.split(r"(?<=[.?!])\s+", " ".join(text.split()))
    plain = re.compile(r"[A-Z][\w ,;'()-]+[.?!]")
    return [s for s in flat if 8 <= len(s.split()) <= 30 and plain.fullmatch(s)]


def _cloze(draw: random.Random, number: int, sentence: str) -> str:
    words = sentence.split()
    long = [i for i, word in enumerate(words) if len(word) > 4] or list(range(len(words)))
    words[draw.choice(long)] = "_____"
    return f"{number}. {' '.join(words)}"


def _story(draw: random.Random, index: int, material: Material) -> Task:
    wish = _wish(draw, "writing")
    instruction = (
        "That was everything so far. Continue the story for about five hundred words: bring two "
        "of these people together, let something go wrong that none of them wanted, and do not "
        f"explain it. Whoever commissioned it also wrote: «{wish}»"
    )
    body = iter(lambda: opening(draw), "")
    return Task("story", "pytest-speedbench", "\n\n", body, _plain(instruction))


def _scene(draw: random.Random, index: int, material: Material) -> Task:
    wish = _wish(draw, "roleplay")
    instruction = (
        "Carry the dialogue on for another thirty lines, each speaker with a voice of their own, "
        f"and let somebody new walk in and say: «{wish}»"
    )
    body = iter(lambda: dialogue(draw), "")
    return Task("dialogue", "pytest-speedbench", "\n\n", body, _plain(instruction))


def _wish(draw: random.Random, category: str) -> str:
    """The beginning of a bundled prompt, at most 40 words."""
    sample = draw.choice(load_bundled("qualitative").select(category))
    return " ".join(sample.turns[0].split()[:40])


_OWNERS: Final = ("the night porter", "Mrs Aldous", "the second oboe", "the goalkeeper", "Room 12")
_KINDS: Final[dict[str, tuple[Callable[[random.Random, int, Material], Task], ...]]] = {
    "low_entropy": (_completion, _sorting, _annotation),
    "mixed": (_needle, _exam),
    "high_entropy": (_story, _scene),
}
