"""Whether the samples that ``speedbench plan`` asks for suffice where runs are replayed.

    python benchmarks/plan_replay.py OLD NEW [BACK …]

Each file is a saved run of one build, replayed along the run of the file before it. For each
category: the plan for an unchanged build from OLD alone, and the share of sessions of so many
prompts, each drawn with replacement from one of the pairs of runs, that pass by the shipped rule.
The builds of a pair change places by chance, so that nothing has changed between them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from gate_sessions import take
from gate_traces import read_records
from numpy.typing import NDArray

from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.replay import replayed_between
from pytest_speedbench.stats.decision import Conclusion, verdict_of
from pytest_speedbench.stats.pairing import Pairs, pair
from pytest_speedbench.stats.power import plan
from pytest_speedbench.stats.rule import Rule
from pytest_speedbench.stats.scale import scale_of
from pytest_speedbench.stats.sums import PairedSums, merge_replayed, merge_sums

Index = NDArray[np.intp]


def load(path: Path) -> dict[str, Record]:
    """The cases with SD of a saved file, by category."""
    speculating = (one for one in read_records(path) if one.spec.method != "none")
    return {record.case.slice: record for record in speculating}


@dataclass(frozen=True, slots=True)
class Population:
    """The samples of one category in two runs; row i of both sums is the same sample."""

    pairs: Pairs

    @classmethod
    def of(cls, old: Record, new: Record) -> Population:
        pairs, replay = pair(traces_of(old), traces_of(new)), replayed_between(old, new)
        if replay is None or replay.sums.samples != pairs.whole.samples:
            raise SystemExit(f"{new.case.id}: not replayed along the whole run before it")
        return cls(replace(pairs, replay=replay))

    def drawn(self, count: int, draws: np.random.Generator) -> Pairs:
        """``count`` samples, with replacement."""
        replay = self.pairs.replay
        assert replay is not None
        index = draws.integers(len(self.pairs.whole.samples), size=count)
        swapped = draws.random(count) < 0.5
        distances = replay.old_distance[index], replay.new_distance[index]
        followed = replace(
            replay,
            sums=_rows(replay.sums, index, swapped),
            old_distance=np.where(swapped, *reversed(distances)),
            new_distance=np.where(swapped, *distances),
        )
        whole = _rows(self.pairs.whole, index, swapped)
        return replace(self.pairs, whole=whole, prefix=None, replay=followed)


def _rows(sums: PairedSums, index: Index, swapped: NDArray[np.bool_]) -> PairedSums:
    drawn = take(sums, index)
    return replace(
        drawn,
        samples=tuple(f"{sums.samples[i]} of draw {number}" for number, i in enumerate(index)),
        strata=tuple(sums.strata[i] for i in index),
        old_tokens=np.where(swapped, drawn.new_tokens, drawn.old_tokens),
        old_steps=np.where(swapped, drawn.new_steps, drawn.old_steps),
        new_tokens=np.where(swapped, drawn.old_tokens, drawn.new_tokens),
        new_steps=np.where(swapped, drawn.old_steps, drawn.new_steps),
    )


def session(populations: Sequence[Population], samples: int, draws: np.random.Generator) -> Pairs:
    """Samples of one session, as many from each pair of runs as chance gives."""
    counts = draws.multinomial(samples, [1 / len(populations)] * len(populations))
    parts = [one.drawn(int(n), draws) for one, n in zip(populations, counts, strict=True) if n]
    return replace(
        parts[0],
        whole=merge_sums([part.whole for part in parts]),
        replay=merge_replayed([part.replay for part in parts if part.replay]),
    )


def rows(runs: Sequence[dict[str, Record]], rule: Rule, sessions: int) -> Iterator[str]:
    """One row a category: outputs that diverge, samples that the plan asks for, and passes."""
    draws = np.random.default_rng(0)
    for name in sorted(set.intersection(*map(set, runs)) - {"all"}):
        chain = [run[name] for run in runs]
        populations = [Population.of(old, new) for old, new in pairwise(chain)]
        compared = sum(one.pairs.compared for one in populations)
        share = (sum(one.pairs.diverged for one in populations) + 0.5) / (compared + 1)
        before, dl = traces_of(chain[0]), chain[0].spec.draft_length
        needed = plan(before, rule, divergence=share, replay=True, draft_length=dl).pass_samples
        if needed is None:
            yield f"| {name} | {share:.0%} | – | – |"
            continue
        scale = scale_of(before, dl)
        verdicts = [
            verdict_of(session(populations, needed, draws), scale, rule) for _ in range(sessions)
        ]
        passed = sum(verdict in (Conclusion.PASS, Conclusion.IMPROVED) for verdict in verdicts)
        yield f"| {name} | {share:.0%} | {needed} | {passed / sessions:.1%} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--margin", type=float, default=0.05)
    parser.add_argument("--cases", type=int, default=12, help="that share α for a false fail")
    parser.add_argument("--sessions", type=int, default=400)
    options = parser.parse_args()
    rule = Rule(options.margin, 0.01, fail_alpha=0.01 / options.cases)
    print("| category | diverge | samples to pass | pass |\n| --- | ---: | ---: | ---: |")
    for row in rows([load(path) for path in options.runs], rule, options.sessions):
        print(row, flush=True)


if __name__ == "__main__":
    main()
