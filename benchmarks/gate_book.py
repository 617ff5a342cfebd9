"""What the tables of gate_power.py have shown, and the summary that is drawn from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CASES = 66
ORDINARY = "variation 1, one category, 10 or 20 % of samples"
EXTREME = "variation 3"
CONCENTRATED = "2 % of samples, 5 % of samples"  # fewer than the default reach: not bound by α

Bools = NDArray[np.bool_]
Shares = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Count:
    """How many sessions of a cell, and the cell's name."""

    where: str
    hits: int
    of: int

    @classmethod
    def of_sessions(cls, where: str, hits: Bools) -> Count:
        return cls(where, int(hits.sum()), len(hits))

    @property
    def rate(self) -> float:
        return self.hits / self.of

    def __str__(self) -> str:
        """The share with its 95 % Clopper-Pearson limits."""
        from scipy.stats import binomtest

        ends = binomtest(self.hits, self.of).proportion_ci(0.95, method="exact")
        return f"{self.rate:.2%} [{ends.low:.2%}, {ends.high:.2%}]"


@dataclass
class Book:
    """What the tables have shown, for the summary: counts and medians by what was asked."""

    counts: dict[str, list[Count]] = field(default_factory=dict)
    shares: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    def count(self, name: str, where: str, hits: Bools) -> str:
        found = Count.of_sessions(where, hits)
        self.counts.setdefault(name, []).append(found)
        return str(found)

    def median(self, name: str, where: str, share: Shares) -> str:
        value = float(np.median(share))
        self.shares.setdefault(name, []).append((where, value))
        return f"{value:.1%}"

    def take(self, other: Book) -> None:
        """Add what a part of the tables has shown."""
        for name, counts in other.counts.items():
            self.counts.setdefault(name, []).extend(counts)
        for name, shares in other.shares.items():
            self.shares.setdefault(name, []).extend(shares)

    def extreme(self, name: str, *, highest: bool) -> str:
        """The worst cell of all, and which it was."""
        counts = self.counts.get(name)
        if not counts:
            return "–"
        worst = (max if highest else min)(counts, key=lambda count: count.rate)
        word = "at most" if highest else "at least"
        where = f"{len(counts)} cells; that one: {worst.where}" if worst.where else "1 cell"
        return f"{word} {worst} ({where})"

    def span(self, name: str) -> str:
        shares = self.shares.get(name)
        if not shares:
            return "–"
        low, high = (pick(shares, key=lambda share: share[1]) for pick in (min, max))
        return f"{low[1]:.1%} to {high[1]:.1%} ({len(shares)} cells; most: {high[0]})"


def summary(book: Book) -> Iterator[str]:
    """The issue's table: what was wanted, and the worst cell of each kind."""

    def tokens(what: str) -> str:
        return f"{book.span(f'{what}, 1')}; at α/{CASES}: {book.span(f'{what}, {CASES}')}"

    def power(what: str) -> str:
        alone, grid = (book.extreme(f"{what}, {n}", highest=False) for n in (1, CASES))
        return f"{alone}; at α/{CASES}: {grid}"

    few = book.span("tokens to pass, few prompts")
    five, three, one = "5% loss, δ = 2.0%", "3% loss, δ = 1.0%", "1% loss, δ = 0.5%"
    yield head("", "wanted", "measured: the worst cell")
    yield from (
        row(*cells)
        for cells in (
            (
                f"false fails of a session of {CASES} cases, healthy, α = 1 %",
                "≤ 1 % (upper limit)",
                book.extreme("session fails", highest=True),
            ),
            (
                f"false fails at ρ = 1 - δ: {ORDINARY}",
                "≤ 1 %",
                book.extreme(f"false fail, {ORDINARY}", highest=True),
            ),
            (
                f"false passes at ρ = 1 - δ: {ORDINARY}",
                "≤ 1 %",
                book.extreme(f"false pass, {ORDINARY}", highest=True),
            ),
            (
                "the same for the real loss of a pruned head",
                "≤ 1 % each",
                f"fails {book.extreme('false fail, real', highest=True)}; "
                f"passes {book.extreme('false pass, real', highest=True)}",
            ),
            (
                f"the same for a loss far more uneven ({EXTREME})",
                "–",
                f"fails {book.extreme(f'false fail, {EXTREME}', highest=True)}; "
                f"passes {book.extreme(f'false pass, {EXTREME}', highest=True)}",
            ),
            (
                f"the same for a loss in few samples ({CONCENTRATED})",
                "stated",
                f"fails {book.extreme(f'false fail, {CONCENTRATED}', highest=True)}; "
                f"passes {book.extreme(f'false pass, {CONCENTRATED}', highest=True)}",
            ),
            ("power, 3 % loss at δ = 1 %, full split", "≥ 99 %", power(three)),
            ("power, 1 % loss at δ = 0.5 %, full split", "≥ 90 %", power(one)),
            (
                "10 % loss in mathematics alone, δ = 2 %, caught and named",
                "≥ 95 %",
                f"11 cases: {book.extreme('one category, 11', highest=False)}; "
                f"66: {book.extreme('one category, 66', highest=False)}",
            ),
            (
                "tokens until pass, δ = 2 %, healthy, median share of the full split",
                "≤ 10 %",
                f"{book.span('tokens to pass')}; pairs of 88 or 96 prompts: {few}",
            ),
            ("tokens until fail, 5 % loss, median", "≤ 10 %", tokens(five)),
            (
                "fixed 5 % over 80 prompts, on the same sessions",
                "beside ours",
                f"alarms on healthy rebuilds {book.extreme('fixed 5 % alarms', highest=True)}; "
                f"catches a 5 % loss {book.extreme(f'{five}, fixed 5 %', highest=False)}, "
                f"a 3 % loss {book.extreme(f'{three}, fixed 5 %', highest=False)}",
            ),
            (
                "fixed 2 % over 80 prompts, on the same sessions",
                "beside ours",
                f"alarms on healthy rebuilds {book.extreme('fixed 2 % alarms', highest=True)}; "
                f"catches a 3 % loss {book.extreme(f'{three}, fixed 2 %', highest=False)}",
            ),
        )
    )


def head(*cells: str) -> str:
    """Head and rule of a Markdown table."""
    return row(*cells) + "\n" + row(*("---" for _ in cells))


def row(*cells: str) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(cells)} |"
