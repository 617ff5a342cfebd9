"""Exact length: cut the end of a prompt's body until the rendered prompt has N tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final

from pytest_speedbench.errors import SplitError

from .model import TargetTokenizer
from .recipes import Task

_ATTEMPTS: Final = 6
_VARIANTS: Final = 30
_REACH: Final = 24
"""How many characters about a cut are searched for a better one."""
_LEAST: Final = 16
"""Fewer tokens than this leave too few places to cut: a whole piece is given up instead."""
_RESERVE: Final = 320
"""Tokens kept for instruction and cut; a quarter of the prompt where that is less."""


class Fitter:
    """Fits tasks to ``length`` tokens of the rendered prompt, template included."""

    def __init__(self, tokenizer: TargetTokenizer, length: int) -> None:
        self.tokenizer: Final = tokenizer
        self.length: Final = length
        self._count: Final = lru_cache(maxsize=65536)(lambda text: len(tokenizer.encode(text)))

    def fit(self, task: Task) -> tuple[str, list[int]]:
        """Return the prompt and its rendered token ids, exactly ``length`` of them.

        The instruction is never touched: only the end of the body is cut. Raises SplitError where
        the instruction leaves no space for a body, and where no cut gives the length.
        """
        pieces = self._gather(task)
        kept, instruction = task.finish(pieces)
        while (missing := self._missing(task, kept, instruction)) < _LEAST:
            if len(pieces) < 2:
                raise SplitError(
                    f"tokenizer {self.tokenizer.name!r}: the instruction of a {task.kind} prompt "
                    f"leaves no space for a body in {self.length} tokens; use a larger bucket"
                )
            pieces.pop()
            kept, instruction = task.finish(pieces)
        return self._search(task, kept, instruction, missing)

    def _gather(self, task: Task) -> list[str]:
        """Take whole pieces up to the length less the reserve; at least one."""
        left = self.length - min(_RESERVE, self.length // 4) - len(self._render("x"))
        pieces: list[str] = []
        for piece in task.body:
            left -= self._count(piece + task.glue)
            if pieces and left < 0:
                return pieces
            pieces.append(piece)
        return pieces

    def _missing(self, task: Task, kept: Sequence[str], instruction: str) -> int:
        return self.length - len(self._render(_prompt(task, kept, "", instruction)))

    def _search(
        self, task: Task, kept: Sequence[str], instruction: str, missing: int
    ) -> tuple[str, list[int]]:
        """Try cuts of the rest; where one more character jumps over the length, begin it later."""
        whole = self._rest(task, missing)
        missing -= self._count(task.glue) + 1  # joining costs about a token more
        for begin in _word_starts(whole)[:_VARIANTS]:
            rest = whole[begin:]
            cut, tried = self._cut_at(rest, missing), set[int]()
            for _ in range(_ATTEMPTS):
                text = _prompt(task, kept, rest[:cut], instruction)
                ids = self._render(text)
                if len(ids) == self.length:
                    return text, ids
                tried.add(cut)
                cut = self._next_cut(rest, cut, self.length - len(ids), tried)
        raise SplitError(
            f"tokenizer {self.tokenizer.name!r}: no cut of a {task.kind} prompt renders to exactly "
            f"{self.length} tokens; its render function may add or drop tokens depending on the "
            "text"
        )

    def _rest(self, task: Task, missing: int) -> str:
        """Take more body than is missing, to be cut."""
        parts: list[str] = []
        wanted = missing * 5 // 4 + 2 * _REACH
        for piece in task.body:
            parts.append(piece)
            wanted -= self._count(piece)
            if wanted < 0:
                break
        return task.glue.join(parts)

    def _cut_at(self, rest: str, tokens: int) -> int:
        """Return where the text before the cut has about so many tokens, by bisection."""
        low, high = 0, len(rest)
        while high - low > 1:
            middle = (low + high) // 2
            if len(self.tokenizer.encode(rest[:middle])) <= tokens:
                low = middle
            else:
                high = middle
        return low

    def _next_cut(self, rest: str, cut: int, change: int, tried: set[int]) -> int:
        """Return the nearest untried cut that is ``change`` tokens longer, by a local count."""
        if abs(change) > 8:
            here = len(self.tokenizer.encode(rest[:cut]))
            moved = self._cut_at(rest, max(0, here + change))
            if moved not in tried:
                return moved
        start = max(0, cut - 2 * _REACH)
        wanted = len(self.tokenizer.encode(rest[start:cut])) + change
        untried = [c for c in _outwards(rest, cut) if c not in tried]
        off = {c: abs(len(self.tokenizer.encode(rest[start:c])) - wanted) for c in untried}
        return min(untried, key=lambda c: off[c], default=cut)

    def _render(self, text: str) -> list[int]:
        return self.tokenizer.render([{"role": "user", "content": text}])


def _outwards(rest: str, cut: int) -> Iterator[int]:
    """Positions about ``cut`` that do not follow a space, nearest first, within reach."""
    for distance in range(1, _REACH + 1):
        for c in (cut - distance, cut + distance):
            if 0 < c <= len(rest) and not rest[c - 1].isspace():
                yield c


def _word_starts(text: str) -> list[int]:
    return [found.start() for found in re.finditer(r"\S+", text)]


def _prompt(task: Task, kept: Sequence[str], rest: str, instruction: str) -> str:
    body = task.glue.join([*kept, rest]) if rest else task.glue.join(kept)
    return f"{body}\n\n---\n{instruction}"
