"""How often does the guard against degenerate answers give an alarm, rightly or not?

    python benchmarks/guard_alarms.py > benchmarks/results/guard_alarms.md

Each session compares two runs of the same prompts, drawn from one population of prompts: each has
chances of its own to end in a loop, to be empty, to be cut, and a length. A healthy rebuild draws
all of them anew, which is more noise than a rebuild makes whose outputs are mostly equal. A
degenerate one makes a share of all answers loops, or empty. The tests are the shipped ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.compare.degeneration import ALPHA
from pytest_speedbench.stats.paired_shares import excess_p_value, sign_p_value
from pytest_speedbench.stats.simulation import upper_limit

SESSIONS = 20_000
SAMPLES = (40, 88, 240, 880)
LOOPS = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
_TESTS = 4
Signs = NDArray[np.bool_]


def chances(rng: np.random.Generator, samples: int) -> NDArray[np.float64]:
    """Of each prompt, to be a loop, empty and cut: most prompts never, some nearly always."""
    return np.stack(
        [rng.beta(0.05, 1.0, samples), rng.beta(0.02, 2.0, samples), rng.beta(0.3, 0.3, samples)]
    )


def alarm(rng: np.random.Generator, samples: int, broken: float) -> bool:
    """Whether a session gives an alarm in which a share of the new answers are loops."""
    chance = chances(rng, samples)
    old, new = (rng.random(chance.shape) < chance for _ in range(2))
    new[0] |= rng.random(samples) < broken
    level = ALPHA / _TESTS
    if any(excess(before, after) <= level for before, after in zip(old, new, strict=True)):
        return True
    mean = rng.gamma(4.0, 60.0, samples)
    before, after = (np.maximum(1, rng.poisson(rng.gamma(20.0, mean / 20.0))) for _ in range(2))
    other = sign_p_value(int((after > before).sum()), int((after < before).sum())) <= level
    return other and abs(after.sum() / before.sum() - 1) >= 0.1


def excess(old: Signs, new: Signs) -> float:
    return excess_p_value(int((new & ~old).sum()), int((old & ~new).sum()))


def main() -> None:
    rng = np.random.default_rng(20261129)
    print("# Alarms of the guard against degenerate answers\n")
    print(f"`python benchmarks/guard_alarms.py`: {SESSIONS:,} sessions of a case without fault,")
    print(f"{SESSIONS // 20:,} for every other share of loops; α = {ALPHA:g}.\n")
    print("| samples | " + " | ".join(f"{share:.0%} loops" for share in LOOPS) + " |")
    print("| ---: |" + " ---: |" * len(LOOPS))
    for samples in SAMPLES:
        cells = []
        for share in LOOPS:
            sessions = SESSIONS if share == 0 else SESSIONS // 20
            hits = sum(alarm(rng, samples, share) for _ in range(sessions))
            cells.append(
                f"{hits / sessions:.0%}"
                if share
                else f"{hits / sessions:.3%} (at most {upper_limit(hits, sessions):.3%})"
            )
        print(f"| {samples} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
