"""Whether the samples that ``speedbench plan`` asks for give the power that it promises.

    python benchmarks/plan_power.py --records FILE… --bs 128 512 --draft-length 3

For each category: the plan for an unchanged build at one batch size, and the share of sessions of
so many prompts, drawn with replacement from both recorded runs in either order, that pass.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from gate_losses import healthy, only
from gate_sessions import take
from gate_traces import Run, load_records, match

from pytest_speedbench.stats.decision import Conclusion, verdict_of
from pytest_speedbench.stats.pairing import Pairs, pair
from pytest_speedbench.stats.power import plan
from pytest_speedbench.stats.rule import Rule
from pytest_speedbench.stats.scale import Scale

CASES = 12


def rows(old: Run, new: Run, margin: float, sessions: int, *, measured: bool) -> Iterator[str]:
    """One row a category: outputs that diverge, samples that the plan asks for, and passes."""
    rule, draws = Rule(margin, 0.01, fail_alpha=0.01 / CASES), np.random.default_rng(0)
    for name in sorted({trace.stratum for trace in old.traces}):
        before, after = (
            [trace for trace in run.traces if trace.stratum == name] for run in (old, new)
        )
        pairs = pair(before, after)
        share = (pairs.diverged + 0.5) / (pairs.compared + 1)
        needed = plan(
            before,
            rule,
            divergence=share,
            rebuild=pairs if measured else None,
            draft_length=old.draft_length,
        ).pass_samples
        if needed is None:
            yield f"| {name} | {share:.0%} | – | – |"
            continue
        passed = _passes(old, new, name, rule, draws, sessions, needed)
        yield f"| {name} | {share:.0%} | {needed} | {passed:.0%} |"


def _passes(
    old: Run,
    new: Run,
    name: str,
    rule: Rule,
    draws: np.random.Generator,
    sessions: int,
    samples: int,
) -> float:
    """Share of sessions of so many samples of one category in which an unchanged build passes."""
    population = only(healthy(match(old, new)), name)
    names, strata = tuple(map(str, range(samples))), (name,) * samples
    passed = 0
    for _ in range(sessions):
        index = draws.integers(len(population.strata), size=samples)
        prefix, whole = (
            replace(take(sums, index), samples=names, strata=strata)
            for sums in (population.prefix, population.whole)
        )
        sizes = population.scale
        columns = (sizes.tokens, sizes.steps, sizes.long_tokens, sizes.long_steps)
        scale = Scale(*(column[index] for column in columns), sizes.top)
        verdict = verdict_of(Pairs(whole, prefix, 0, samples, (), ()), scale, rule)
        passed += verdict in (Conclusion.PASS, Conclusion.IMPROVED)
    return passed / sessions


def main() -> None:
    """Print a table for the model and one for the measured pair."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--records", type=Path, nargs="+", required=True, metavar="FILE")
    parser.add_argument("--bs", type=int, nargs=2, default=[128, 512], metavar="BS")
    parser.add_argument("--draft-length", type=int, default=3)
    parser.add_argument("--margin", type=float, default=0.05)
    parser.add_argument("--sessions", type=int, default=400)
    options = parser.parse_args()
    runs = [run for path in options.records for run in load_records(path)]
    chosen = {run.bs: run for run in runs if run.draft_length == options.draft_length}
    old, new = (chosen[bs] for bs in options.bs)
    for title, measured in (("modelled from one run", False), ("measured on both runs", True)):
        print(f"\n{title}, margin {options.margin:.0%}\n")
        print("| category | diverge | samples to pass | pass |\n| --- | ---: | ---: | ---: |")
        for row in rows(old, new, options.margin, options.sessions, measured=measured):
            print(row, flush=True)


if __name__ == "__main__":
    main()
