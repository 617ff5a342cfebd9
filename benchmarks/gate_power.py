"""Error rates and power of the gate on recorded traces, beside the rules used today.

    python benchmarks/gate_power.py --traces ../shared/traces --sessions 20000 --out table.md

Every session draws 80 prompts for each of eleven categories, with replacement, from recorded pairs
of runs, and is decided by the shipped rule with a look after every block of eleven.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gate_sessions import (
    Outcome,
    decide,
    draws,
    fixed_rule,
    token_share,
    unpaired_rule,
)
from gate_traces import (
    RUNS,
    Losses,
    Population,
    Run,
    calibrated,
    confined,
    healthy,
    load,
    one_way,
    only,
    prefix_ratio,
    rare,
    ratio,
    uneven,
)
from numpy.typing import NDArray

from pytest_speedbench.stats.rule import Rule

CASES = 66
MATH = "math_reasoning-0"
Bools = NDArray[np.bool_]
Recorded = dict[str, dict[int, Run]]


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the sessions of one cell."""

    outcome: Outcome
    share: NDArray[np.float64]

    def row(self) -> tuple[str, str, str]:
        """Pass, fail and median token share, for a table."""
        spent = f"{np.median(self.share):.1%}"
        return limits(self.outcome.verdict_pass()), limits(self.outcome.verdict_fail()), spent


def limits(hits: Bools) -> str:
    """A share with its 95 % Clopper-Pearson limits."""
    from scipy.stats import binomtest

    count, n = int(hits.sum()), len(hits)
    ends = binomtest(count, n).proportion_ci(0.95, method="exact")
    return f"{count / n:.2%} [{ends.low:.2%}, {ends.high:.2%}]"


def run_cell(population: Population, rule: Rule, sessions: int) -> Tally:
    """Draw and decide the sessions of one cell."""
    outcomes, shares = [], []
    for index in draws(population, sessions, seed=1):
        outcome = decide(population, index, rule)
        outcomes.append(outcome)
        shares.append(token_share(population, index, outcome.stop()))
    joined = Outcome(
        np.concatenate([o.passed for o in outcomes]),
        np.concatenate([o.failed for o in outcomes]),
        np.concatenate([o.improved for o in outcomes]),
    )
    return Tally(joined, np.concatenate(shares))


def todays_rules(population: Population, margin: float, sessions: int) -> tuple[str, str, str]:
    """Share of sessions that today's rules fail: fixed 5 %, fixed 2 %, unpaired interval."""
    rows: list[list[Bools]] = [[], [], []]
    for index in draws(population, sessions, seed=1):
        rows[0].append(fixed_rule(population, index, 0.05))
        rows[1].append(fixed_rule(population, index, 0.02))
        rows[2].append(unpaired_rule(population, index, Rule(margin)))
    five, two, unpaired = (limits(np.concatenate(hits)) for hits in rows)
    return five, two, unpaired


def rebuilds(recorded: Recorded) -> Iterator[tuple[str, Run, Run]]:
    """Every pair of batch sizes with at least 96 prompts."""
    for name, runs in recorded.items():
        for old, new in ((32, 128), (8, 32), (8, 128)):
            yield f"{name}, BS {old} / {new}", runs[old], runs[new]


def healthy_table(recorded: Recorded, sessions: int) -> Iterator[str]:
    """Healthy rebuilds, the whole split as one case."""
    yield "## Healthy rebuild, slice `all`, δ = 2 %, α = 1 %\n"
    yield table_head(
        "rebuild",
        "pass",
        "false fail",
        "tokens to verdict, median",
        "fixed 5 %, 80 prompts: false fail",
        "fixed 2 %, 80 prompts",
        "unpaired interval, 880",
    )
    for name, old, new in rebuilds(recorded):
        population = healthy(name, old, new)
        cells = run_cell(population, Rule(0.02), sessions).row()
        yield table_row(name, *cells, *todays_rules(population, 0.02, sessions))


def even_odds(mean: float) -> Losses:
    """Losses of variation 1, the usual injection."""
    return uneven(mean, 1.0)


def boundary_table(recorded: Recorded, sessions: int, seed: int = 0) -> Iterator[str]:
    """True loss exactly at the margin."""
    yield "\n## At the boundary, ρ = 1 - δ, slice `all`, α = 1 %\n"
    yield table_head("run", "loss over samples", "δ about", "false pass", "false fail")
    kinds: list[tuple[str, float, Callable[[float], Losses]]] = [
        ("gamma, variation 1", 0.02, even_odds),
        ("gamma, variation 1", 0.01, even_odds),
        ("gamma, variation 1", 0.005, even_odds),
        ("gamma, variation 3", 0.02, lambda q: uneven(q, 3.0)),
        ("one category of eleven", 0.02, lambda q: confined(q, MATH)),
        ("20 % of samples", 0.02, lambda q: rare(q, 0.2)),
        ("10 % of samples", 0.02, lambda q: rare(q, 0.1)),
    ]
    for name, runs in recorded.items():
        for label, margin, losses in kinds:
            population = calibrated(label, runs[32], runs[128], losses, margin, seed)
            passed, failed = boundary_rates(population, Rule(margin), sessions)
            yield table_row(name, label, f"{margin:.1%}", passed, failed)


def fresh_table(recorded: Recorded, sessions: int) -> Iterator[str]:
    """The boundary with other injected losses than those the rule's constants were chosen on."""
    yield "\n## The same with fresh injected losses (seed 7)"
    yield from boundary_table(recorded, sessions, seed=7)


def boundary_rates(population: Population, rule: Rule, sessions: int) -> tuple[str, str]:
    """False passes and false fails, δ set so that neither evidence lies on the wrong side."""
    truths = (prefix_ratio(population), ratio(population.pairs.whole))
    lost = run_cell(population, replace(rule, margin=1 - max(truths)), sessions)
    kept = run_cell(population, replace(rule, margin=1 - min(truths)), sessions)
    return limits(lost.outcome.verdict_pass()), limits(kept.outcome.verdict_fail())


def power_table(recorded: Recorded, sessions: int) -> Iterator[str]:
    """Injected and real losses beyond the margin."""
    yield "\n## Power, slice `all`, losses of variation 1 over samples\n"
    yield table_head(
        "run",
        "loss",
        "δ",
        "fail, α = 1 %",
        "tokens, median",
        f"fail, α = 1 % / {CASES}",
        "tokens, median",
        "fixed 5 %, 80 prompts: caught",
        "fixed 2 %, 80 prompts",
        "unpaired interval, 880",
    )
    for name, runs in recorded.items():
        for loss, margin in ((0.05, 0.02), (0.03, 0.01), (0.01, 0.005)):
            population = calibrated(name, runs[32], runs[128], even_odds, loss)
            yield power_row(name, f"{loss:.0%}", population, margin, sessions)
    full, cut = recorded[next(iter(RUNS))], recorded["EAGLE-3 4096 tokens, DL 3"]
    for margin in (0.02, 0.05):
        real = one_way("real", full[32], cut[32])
        label = f"real, {1 - prefix_ratio(real):.1%}"
        yield power_row("full → 4096 tokens", label, real, margin, sessions)


def power_row(name: str, loss: str, population: Population, margin: float, sessions: int) -> str:
    """One loss at undivided and at divided α."""
    cells: list[str] = []
    for fail_alpha in (0.01, 0.01 / CASES):
        tally = run_cell(population, Rule(margin, fail_alpha=fail_alpha), sessions)
        cells += tally.row()[1:]
    return table_row(
        name, loss, f"{margin:.1%}", *cells, *todays_rules(population, margin, sessions)
    )


def session_table(recorded: Recorded, sessions: int) -> Iterator[str]:
    """A session of 66 cases: eleven categories in six runs over the same prompts."""
    yield f"\n## A session of {CASES} cases, δ = 2 %, α = 1 % for the whole session\n"
    runs = [healthy(name, r[32], r[128]) for name, r in recorded.items()]
    runs += [healthy(name, r[128], r[32]) for name, r in list(recorded.items())[:2]]
    failed, passes = session_fails(runs, Rule(0.02, fail_alpha=0.01 / CASES), sessions)
    yield f"Healthy rebuilds, any false fail in the session: {limits(failed)}.  "
    yield f"Of its {CASES} cases, {passes:.1%} pass with 80 samples each; the rest are undecided.\n"
    yield table_head(
        "run", "10 % loss in mathematics alone", "caught and named, 11 cases", "66 cases"
    )
    for name, r in recorded.items():
        population = calibrated_category(name, r, MATH, 0.10)
        cells = [
            limits(run_cell(population, Rule(0.02, fail_alpha=a), sessions).outcome.verdict_fail())
            for a in (0.01 / 11, 0.01 / CASES)
        ]
        yield table_row(name, f"{1 - prefix_ratio(population):.1%}", *cells)


def calibrated_category(name: str, runs: dict[int, Run], stratum: str, loss: float) -> Population:
    """The slice of one category with a loss of its own."""
    old, new = (
        {sample: trace for sample, trace in runs[bs].items() if trace.stratum == stratum}
        for bs in (32, 128)
    )
    return calibrated(name, old, new, even_odds, loss)


def session_fails(runs: list[Population], rule: Rule, sessions: int) -> tuple[Bools, float]:
    """Whether any case of each session fails, and the share of cases that pass.

    All runs of a session share its prompts.
    """
    names = np.unique(np.asarray(runs[0].prefix.strata))
    slices = [[only(run, name) for name in names] for run in runs]
    failed, passes = [], []
    for index in draws(runs[0], sessions, seed=2):
        hits = np.zeros(len(index), dtype=bool)
        for run in slices:
            for column, part in enumerate(run):
                rows = np.flatnonzero(np.asarray(runs[0].prefix.strata) == names[column])
                inside = np.searchsorted(rows, index[:, :, column : column + 1])
                outcome = decide(part, inside, rule)
                hits |= outcome.verdict_fail()
                passes.append(float(outcome.verdict_pass().mean()))
        failed.append(hits)
    return np.concatenate(failed), float(np.mean(passes))


def category_table(recorded: Recorded, sessions: int) -> Iterator[str]:
    """Healthy category slices and one-category losses, with 80 samples."""
    yield "\n## Per category, 80 samples, δ = 2 %, α = 1 % for pass, α = 1 % / 66 for fail\n"
    name = next(iter(RUNS))
    runs = recorded[name]
    whole = healthy(name, runs[32], runs[128])
    yield table_head(
        f"category ({name})", "healthy: pass", "pass at `reach` 0.2", "10 % loss: fail"
    )
    for stratum in np.unique(np.asarray(whole.prefix.strata)):
        part = only(whole, str(stratum))
        rule = Rule(0.02, fail_alpha=0.01 / CASES)
        worse = calibrated_category(name, runs, str(stratum), 0.10)
        yield table_row(
            str(stratum),
            run_cell(part, rule, sessions).row()[0],
            run_cell(part, replace(rule, reach=0.2), sessions).row()[0],
            run_cell(worse, rule, sessions).row()[1],
        )


def reach_table(recorded: Recorded, sessions: int) -> Iterator[str]:
    """What a wider or no assumption about the spread of a loss costs and buys."""
    yield "\n## What `reach` buys: tokens to a healthy pass against false passes of rare losses\n"
    name = next(iter(RUNS))
    runs = recorded[name]
    shares = (0.1, 0.05, 0.02)
    yield table_head(
        f"`reach` ({name}, δ = 2 %)",
        "healthy: pass",
        "tokens, median",
        *(f"loss in {share:.0%} of samples: false pass" for share in shares),
    )

    def spread(share: float) -> Population:
        return calibrated(name, runs[32], runs[128], lambda q: rare(q, share), 0.02)

    rare_ones = [spread(share) for share in shares]
    for reach in (0.2, 0.1, 0.05, 0.02, 0.0):
        rule = Rule(0.02, reach=reach)
        tally = run_cell(healthy(name, runs[32], runs[128]), rule, sessions).row()
        wrong = [boundary_rates(p, rule, sessions)[0] for p in rare_ones]
        yield table_row(f"{reach:g}", tally[0], tally[2], *wrong)


def table_head(*cells: str) -> str:
    """Head and rule of a Markdown table."""
    return table_row(*cells) + "\n" + table_row(*("---" for _ in cells))


def table_row(*cells: str) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


TABLES = {
    "healthy": healthy_table,
    "boundary": boundary_table,
    "fresh": fresh_table,
    "power": power_table,
    "session": session_table,
    "category": category_table,
    "reach": reach_table,
}


def main() -> None:
    """Write the tables that were asked for, line by line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--traces", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=Path("gate_power.md"))
    parser.add_argument("--tables", default=",".join(TABLES), help="comma-separated, of these")
    options = parser.parse_args()
    recorded = {name: load(options.traces, tag) for name, tag in RUNS.items()}
    with options.out.open("w") as file:
        for name in options.tables.split(","):
            for line in TABLES[name](recorded, options.sessions):
                file.write(line + "\n")
                file.flush()


if __name__ == "__main__":
    main()
