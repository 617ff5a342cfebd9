"""Thirty nights of a gate: how soon a slow slide is caught, and how often healthy nights alarm.

Each night measures the same 880 prompts with a rebuild whose outputs diverge from the others' at
positions of its own. In the slide AL falls by 0.7 % a night. Two references are tried: the latest
eligible run, as a bare ``--speed-compare`` takes it where nothing is promoted, and the run of the
first night, promoted. Also what was so before verdicts were kept: the latest run, failed or not.

    python benchmarks/nightly_chain.py --simulations 200 --page docs/thirty-nights.md
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.stats import beta

from pytest_speedbench.stats import Rule
from pytest_speedbench.stats.acceptance import AcceptanceProcess
from pytest_speedbench.stats.decision import Conclusion
from pytest_speedbench.stats.simulation import Category, PairedRuns, Walk, conclude, walk, weakened

NIGHTS, SLIDE, MARGIN, ALPHA = 30, 0.007, 0.02, 0.01
DROP, DROP_NIGHT = 0.08, 21  # counted from 0
CATEGORIES, SAMPLES, DIVERGENCE = 11, 80, 0.004  # divergences per token of each night's rebuild
POLICIES = ("latest run", "latest eligible run", "promoted first run")


@dataclass(frozen=True)
class Night:
    """One measurement: where its outputs leave the common text, and its decoding."""

    divergences: np.ndarray
    decoded: Walk


def slid(night: int) -> float:
    """The cumulative loss of a slow slide."""
    return 1 - (1 - SLIDE) ** night


def dropped(night: int) -> float:
    """The loss of one bad commit."""
    return DROP if night >= DROP_NIGHT else 0.0


def nights(loss: Callable[[int], float], seed: int) -> tuple[np.ndarray, list[Night]]:
    """Lengths of the outputs, and every night's measurement of them."""
    draws = np.random.default_rng(seed)
    process = AcceptanceProcess((0.72, 0.62, 0.55), 0.6)
    category = Category.declared(process, draws.integers(24, 129, size=SAMPLES * CATEGORIES))
    lengths, chance = category.drawn(SAMPLES * CATEGORIES, draws)
    (n, dl), longest = chance.shape, int(lengths.max())
    shared = draws.random((n, longest, dl), dtype=np.float32)
    uneven = draws.standard_exponential((n,))
    found = []
    for night in range(NIGHTS):
        weak = weakened(chance, lengths, loss(night), uneven)
        divergences = np.minimum(lengths, draws.geometric(DIVERGENCE, n) - 1)
        fresh = draws.random((n, longest, dl), dtype=np.float32)
        diverged = np.arange(longest)[None, :] >= divergences[:, None]
        numbers = np.where(diverged[:, :, None], fresh, shared)
        found.append(Night(divergences, walk(weak, lengths, numbers)))
    return lengths, found


def verdict(lengths: np.ndarray, old: Night, new: Night) -> Conclusion:
    divergences = np.minimum(old.divergences, new.divergences)
    runs = {"all": PairedRuns(lengths, divergences, old.decoded, new.decoded)}
    return conclude(runs, Rule(MARGIN, ALPHA, fail_alpha=ALPHA / 2))


@dataclass
class Chain:
    """A policy's alarms over many simulations: the first night that failed, or None."""

    first: list[int | None] = field(default_factory=list)
    failed_nights: list[int] = field(default_factory=list)

    def add(self, policy: str, lengths: np.ndarray, measured: Sequence[Night]) -> None:
        failed: set[int] = set()
        for night in range(1, NIGHTS):
            known = [n for n in range(night) if policy == POLICIES[0] or n not in failed]
            reference = 0 if policy == POLICIES[2] else known[-1]
            if verdict(lengths, measured[reference], measured[night]) is Conclusion.FAIL:
                failed.add(night)
        self.first.append(min(failed, default=None))
        self.failed_nights.append(len(failed))

    def alarmed_by(self, night: int) -> int:
        return sum(first is not None and first <= night for first in self.first)


def simulate(loss: Callable[[int], float], simulations: int) -> dict[str, Chain]:
    chains = {policy: Chain() for policy in POLICIES}
    for seed in range(simulations):
        lengths, measured = nights(loss, seed)
        for policy, chain in chains.items():
            chain.add(policy, lengths, measured)
    return chains


def interval(count: int, of: int) -> str:
    """Clopper-Pearson, 95 %."""
    low = beta.ppf(0.025, count, of - count + 1) if count else 0.0
    high = beta.ppf(0.975, count + 1, of - count) if count < of else 1.0
    return f"{count / of:.1%} [{low:.1%}, {high:.1%}]"


def page(
    slide: dict[str, Chain], drop: dict[str, Chain], healthy: dict[str, Chain], simulations: int
) -> Iterator[str]:
    due = next(n for n in range(NIGHTS) if slid(n) >= MARGIN + 0.01)
    yield "# Thirty nights"
    yield ""
    yield (
        f"A nightly gate at a margin of {MARGIN:.0%} and α = {ALPHA:.0%}, simulated "
        f"{simulations} times: {CATEGORIES * SAMPLES} prompts, each night a rebuild whose outputs "
        f"diverge after {1 / DIVERGENCE:.0f} tokens on average. In the *slide*, AL falls by "
        f"{SLIDE:.1%} a night, and by night {due + 1} the loss exceeds the margin by a percentage "
        f"point. In the *drop*, AL falls by {DROP:.0%} in night {DROP_NIGHT + 1} and stays there. "
        "The table is made by `python benchmarks/nightly_chain.py`; brackets are 95% "
        "Clopper–Pearson limits."
    )
    yield ""
    yield (
        f"| reference | slide caught by night {due + 1} | slide caught by night {NIGHTS} | "
        f"red nights after the drop, of {NIGHTS - DROP_NIGHT} | "
        f"an alarm in {NIGHTS} healthy nights |"
    )
    yield "| --- | --- | --- | --- | --- |"
    for policy in POLICIES:
        sliding, well = slide[policy], healthy[policy]
        red = np.mean(drop[policy].failed_nights)
        yield (
            f"| {policy} | {interval(sliding.alarmed_by(due), simulations)} | "
            f"{interval(sliding.alarmed_by(NIGHTS), simulations)} | "
            f"{red:.1f} | "
            f"{interval(well.alarmed_by(NIGHTS), simulations)} |"
        )
    yield ""
    yield (
        "Compared with the latest run, a slide is never found, since no single step exceeds the "
        "margin; and if failed runs become references, a drop is red for one night only. Compared "
        "with a promoted reference, the slide is red from the night on in which it exceeds the "
        "margin by what the samples can resolve, and stays red. The probability of an alarm in "
        f"healthy nights is at most {NIGHTS - 1} × α/2, where α/2 is the share of the first "
        "comparison of a session with one case."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    losses = (slid, dropped, lambda night: 0.0)
    chains = [simulate(loss, options.simulations) for loss in losses]
    text = "\n".join(page(*chains, options.simulations)) + "\n"
    print(text)
    if options.page:
        options.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
