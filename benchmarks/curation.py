"""Curation at scale: 80 of 20,000 embeddings of 384 dimensions, vectorised against naive.

Prints a table: processor seconds of each part (all threads count; other work on the machine does
not), the ratios, and the objective beside random choice and greedy alone. The naive form recomputes
every candidate's sum and every swap; it is timed on a part of its work (steps are alike) and the
whole is the product, said as such.

Run: python benchmarks/curation.py [--n 20000] [--k 80] [--d 384] [--seed 0]
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from pytest_speedbench.splits.curate import random_similarity
from pytest_speedbench.splits.curation import Selection, select, unit_rows

if TYPE_CHECKING:
    from pytest_speedbench.splits.curation import Floats


def clustered(n: int, d: int, seed: int) -> Floats:
    """Return ``n`` by ``d`` unit rows in 200 clusters about a common direction, as prompts lie."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(200, d)) + 0.5 * rng.normal(size=d)
    return unit_rows(centres[rng.integers(200, size=n)] + 0.8 * rng.normal(size=(n, d)))


def naive_greedy_step(rows: Floats, chosen: list[int]) -> int:
    """Add one: each candidate's sum over the chosen, computed anew, one dot product a pair."""
    taken = set(chosen)
    best, best_sum = -1, float("inf")
    for i, row in enumerate(rows):
        if i not in taken:
            total = sum(float(row @ rows[c]) for c in chosen)
            if total < best_sum:
                best, best_sum = i, total
    return best


def naive_swap_candidate(rows: Floats, chosen: list[int], out: int, into: int) -> float:
    """Return the total after one swap, the whole objective computed anew."""
    trial = [c for c in chosen if c != out] + [into]
    part = rows[trial]
    return float(((part @ part.T).sum() - len(trial)) / 2)


def seconds_of_naive(rows: Floats, found: Selection) -> tuple[float, float]:
    """Return the seconds of the naive greedy and of the naive swaps, from a timed part."""
    k, n = len(found.indices), len(rows)
    chosen = list(found.indices)
    begin = time.process_time()
    naive_greedy_step(rows, chosen[: k // 2])
    greedy = (time.process_time() - begin) * (k - 1)
    tried = 500
    begin = time.process_time()
    for into in range(tried):
        naive_swap_candidate(rows, chosen, chosen[into % k], into)
    one = (time.process_time() - begin) / tried
    return greedy, one * k * (n - k) * (found.swaps + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("--n", 20_000), ("--k", 80), ("--d", 384), ("--seed", 0)):
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    rows = clustered(args.n, args.d, args.seed)
    begin, clock = time.process_time(), time.perf_counter()
    found = select(rows, args.k, seed=args.seed)
    ours, waited = time.process_time() - begin, time.perf_counter() - clock
    greedy, swaps = seconds_of_naive(rows, found)
    lines = [
        f"{args.k} of {args.n} x {args.d}, {found.swaps} swaps",
        f"vectorised                       {ours:12.2f} s ({waited:.2f} s by the clock)",
        f"naive greedy (1 step timed)      {greedy:12.1f} s",
        f"naive swaps (500 timed)          {swaps:12.1f} s",
        f"naive / vectorised               {(greedy + swaps) / ours:12,.0f} x",
        f"naive greedy / vectorised all    {greedy / ours:12,.0f} x",
        f"mean similarity, random          {random_similarity(rows, args.k, args.seed):12.4f}",
        f"mean similarity, greedy alone    {found.greedy_similarity:12.4f}",
        f"mean similarity, greedy + swaps  {found.mean_similarity:12.4f}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
