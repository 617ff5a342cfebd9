"""The format of a session's script, and how it becomes turns.

A script file holds sessions, each begun by ``## ID``. Lines that begin with ``@`` structure it:

- ``@user``: a turn; what follows is the user's text.
- ``@tool NAME ARGUMENTS``: a turn that begins with a tool's result; arguments are one JSON object.
- ``@also NAME ARGUMENTS``: a second result in the same turn.
- ``@then``: the result ends; what follows is the user's text, in the same turn.

A line ``<<KIND key=value …>>`` inside a result stands for generated output of that kind
(``KINDS``), as long as its ``weight`` and the length of the session allow.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from . import code, prose, tables

Output = Callable[[random.Random, code.Options], Iterator[str]]

KINDS: Final[dict[str, Output]] = {
    "access": tables.access,
    "changes": code.changes,
    "channel": prose.channel,
    "commits": tables.commits,
    "events": tables.events,
    "log": tables.log,
    "metrics": tables.metrics,
    "people": tables.people,
    "queries": code.queries,
    "readings": tables.readings,
    "reference": prose.reference,
    "schema": code.schema,
    "search": code.search,
    "settings": code.settings,
    "source": code.source,
    "tests": code.tests,
    "tickets": prose.tickets,
}
_GENERATED: Final = re.compile(r"<<(\w+)((?: [\w.]+=\S+)*)>>")
_PIECE: Final = re.compile(r"[A-Za-z]{1,5}|[0-9]|[^\sA-Za-z0-9]|\n|  +")
_OTHER: Final = re.compile(r"[^\x00-\x7f]")


@dataclass(frozen=True, slots=True)
class Generated:
    """A stretch of generated output; ``key`` seeds it."""

    kind: str
    options: dict[str, str]
    key: str

    @property
    def weight(self) -> float:
        """Its part of the session's generated output, relative to the others."""
        return float(self.options.get("weight", "1"))

    def text(self, tokens: float) -> str:
        """Return whole pieces of about so many tokens, at least one; more begins with less."""
        parts: list[str] = []
        for part in KINDS[self.kind](random.Random(self.key), self.options):
            tokens -= estimate_tokens(part)
            if parts and tokens < 0:
                break
            parts.append(part)
        return "".join(parts).rstrip("\n")


@dataclass(slots=True)
class Turn:
    """Literal and generated parts of one user message, in order."""

    parts: list[str | Generated] = field(default_factory=list)


@dataclass(slots=True)
class Session:
    """One session as written: its turns, still without generated output."""

    id: str
    turns: list[Turn] = field(default_factory=list)

    def generated(self) -> list[Generated]:
        """Return all generated stretches."""
        return [p for turn in self.turns for p in turn.parts if isinstance(p, Generated)]

    def written_tokens(self) -> int:
        """Return the estimated tokens of all that is written out."""
        return sum(estimate_tokens(p) for t in self.turns for p in t.parts if isinstance(p, str))

    def render(self, tokens: float) -> tuple[str, ...]:
        """Return the turns as text, with about ``tokens`` tokens of generated output in all."""
        whole = sum(part.weight for part in self.generated())
        return tuple(
            "\n".join(
                part if isinstance(part, str) else part.text(tokens * part.weight / whole)
                for part in turn.parts
            )
            for turn in self.turns
        )


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a text has: an upper bound for common tokenizers.

    One for each digit, sign, line end, run of spaces and five letters of a word, two for a
    character beyond ASCII.
    """
    return len(_PIECE.findall(text)) + len(_OTHER.findall(text))


def parse(text: str) -> list[Session]:
    """Return the sessions of a script file; ValueError names the line that cannot be read."""
    sessions: list[Session] = []
    reader = _Reader()
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("## "):
            reader.end()
            reader = _Reader(Session(line.removeprefix("## ").strip()))
            sessions.append(reader.session)
            continue
        try:
            reader.read(line)
        except (ValueError, KeyError) as error:
            raise ValueError(f"line {number}: {error}") from error
    reader.end()
    return sessions


class _Reader:
    """Reads the lines of one session."""

    def __init__(self, session: Session | None = None) -> None:
        self.session: Final = session or Session("")
        self._written: list[str] = []
        self._in_result = False

    def read(self, line: str) -> None:
        """Take the next line of the session."""
        command, _, rest = line.partition(" ")
        if command in ("@user", "@tool"):
            self._begin_turn()
        if command in ("@tool", "@also"):
            self._begin_result(*rest.split(" ", 1))
        elif command == "@then":
            self._end_result()
            self._written.append("")
        elif command != "@user":
            self._add(line)

    def end(self) -> None:
        """Close what is open."""
        self._end_result()
        while self._written and not self._written[-1]:
            self._written.pop()
        self._flush()

    def _begin_turn(self) -> None:
        self.end()
        self.session.turns.append(Turn())

    def _begin_result(self, name: str, arguments: str) -> None:
        self._end_result()
        json.loads(arguments)
        self._written += ["<tool_result>", f"name: {name}", f"arguments: {arguments}", ""]
        self._in_result = True

    def _end_result(self) -> None:
        if self._in_result:
            self._written.append("</tool_result>")
        self._in_result = False

    def _add(self, line: str) -> None:
        found = _GENERATED.fullmatch(line)
        if found is None:
            self._written.append(line)
            return
        kind, options = found.groups()
        if kind not in KINDS:
            raise ValueError(f"unknown kind of output {kind!r}")
        self._flush()
        parts = self.session.turns[-1].parts
        key = f"agentic/{self.session.id}/{len(self.session.turns)}/{len(parts)}"
        parts.append(Generated(kind, dict(o.split("=", 1) for o in options.split()), key))

    def _flush(self) -> None:
        if self._written and self.session.turns:
            self.session.turns[-1].parts.append("\n".join(self._written))
        self._written = []
