"""Error rates and power of the gate on recorded runs, beside the rules used today.

    python benchmarks/gate_power.py --records benchmarks/results/h200/vllm-eagle3-v4096.json.xz \
        --traces FOLDER --out benchmarks/results/gate_power.md

Every session draws 80 prompts for each category, with replacement, from two recorded runs of the
same prompts, and is decided by the shipped rule with a look after every block of one prompt a
category. Runs of one engine, method, drafter and DL are rebuilds of one another: every pair of
them is formed, within a file and between files.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
from gate_book import (
    CASES,
    CONCENTRATED,
    EXTREME,
    ORDINARY,
    Book,
    Bools,
    Count,
    Shares,
    head,
    row,
    summary,
)
from gate_losses import (
    Pattern,
    Population,
    calibrated,
    category,
    confined,
    healthy,
    one_way,
    only,
    rare,
    uneven,
    variation_of_loss,
)
from gate_sessions import (
    NEVER,
    Index,
    Outcome,
    decide,
    draws,
    ever,
    fixed_rule,
    joined,
    take,
    token_share,
    unpaired_rule,
)
from gate_traces import Rebuild, Run, load_records, load_traces, match, rebuilds

from pytest_speedbench.stats.decision import Conclusion, verdict_of
from pytest_speedbench.stats.pairing import Pairs
from pytest_speedbench.stats.rule import REACH, Rule
from pytest_speedbench.stats.scale import Scale

RUNS_OF_A_SESSION = 6
NAMED = "math"


@dataclass(frozen=True, slots=True)
class Study:
    """What is measured: all rebuilds, one of each family for the injected losses, and the real
    losses between two drafters."""

    pairs: Sequence[Rebuild]
    families: Sequence[Rebuild]
    real: Sequence[Rebuild]
    sessions: int
    book: Book

    @classmethod
    def of(cls, runs: Sequence[Run], sessions: int) -> Study:
        pairs = list(rebuilds(runs))
        families: dict[str, Rebuild] = {}
        for pair in pairs:
            known = families.get(pair.family)
            if known is None or len(pair.samples) > len(known.samples):
                families[pair.family] = pair
        return cls(pairs, list(families.values()), list(_real(runs)), sessions, Book())

    def run(self, population: Population, rule: Rule) -> tuple[Outcome, Shares]:
        """Decide the sessions of one cell: verdicts, and the tokens spent on each."""
        outcomes, shares = [], []
        for index in draws(population, self.sessions, seed=1):
            outcomes.append(decide(population, index, rule))
            shares.append(token_share(population, index, outcomes[-1].stop()))
        return joined(outcomes), np.concatenate(shares)

    def ever(self, population: Population, rule: Rule, *, loss: bool) -> Bools:
        """Sessions in which a fail (``loss``) or a pass is ever shown."""
        indices = draws(population, self.sessions, seed=1)
        return np.concatenate([ever(population, i, rule, loss=loss) for i in indices])

    def todays(self, population: Population, margin: float) -> list[Bools]:
        """Sessions that today's rules fail: fixed 5 %, fixed 2 %, unpaired interval."""
        rows: list[list[Bools]] = [[], [], []]
        for index in draws(population, self.sessions, seed=1):
            rows[0].append(fixed_rule(population, index, 0.05))
            rows[1].append(fixed_rule(population, index, 0.02))
            rows[2].append(unpaired_rule(population, index, margin))
        return [np.concatenate(hits) for hits in rows]


def _real(runs: Sequence[Run]) -> Iterator[Rebuild]:
    """Two heads of one method and DL on the same prompts: the pruned one against the full."""
    full = [run for run in runs if "full vocabulary" in run.family]
    for old in full:
        for new in runs:
            if "4096 tokens" in new.family and (new.prompts, new.bs) == (old.prompts, old.bs):
                pair = match(old, new, f"full → 4096 tokens, BS {old.bs}")
                if len(pair.samples) > 96:
                    yield pair


def healthy_table(study: Study) -> Iterator[str]:
    """Healthy rebuilds, the whole split as one case."""
    book = study.book
    for pair in study.pairs:
        population = healthy(pair)
        outcome, share = study.run(population, Rule(0.02))
        few = "" if len(pair.samples) > 96 else ", few prompts"
        five, two, unpaired = study.todays(population, 0.02)
        yield row(
            pair.name,
            str(len(pair.samples)),
            f"{pair.coverage:.0%}",
            book.count("healthy pass", pair.name, outcome.verdict_pass()),
            book.count("healthy fail", pair.name, outcome.verdict_fail()),
            book.median(f"tokens to pass{few}", pair.name, share),
            book.count("fixed 5 % alarms", pair.name, five),
            book.count("fixed 2 % alarms", pair.name, two),
            str(Count.of_sessions("", unpaired)),
        )


def boundary_table(study: Study) -> Iterator[str]:
    """True loss exactly at the margin."""
    for pair in study.families:
        group = next(name for name in np.unique(pair.strata) if str(name).startswith(NAMED))
        kinds: list[tuple[str, float, Pattern, int]] = [
            ("variation 1", 0.02, uneven(1.0), 0),
            ("variation 1", 0.01, uneven(1.0), 0),
            ("variation 1", 0.005, uneven(1.0), 0),
            ("one category of eleven", 0.02, confined(str(group)), 0),
            ("20 % of samples", 0.02, rare(0.2), 0),
            ("10 % of samples", 0.02, rare(0.1), 0),
            ("5 % of samples", 0.02, rare(0.05), 0),
            ("2 % of samples", 0.01, rare(0.02), 0),
            ("variation 3", 0.02, uneven(3.0), 0),
            ("variation 3, other draw", 0.02, uneven(3.0), 7),
        ]
        for label, margin, pattern, seed in kinds:
            population = calibrated(pair, pattern, margin, seed)
            kind = EXTREME if label.startswith(EXTREME) else ORDINARY
            if label in CONCENTRATED:
                kind = CONCENTRATED
            yield boundary_row(study, pair.family, label, population, kind)
    for pair in study.real:
        population = one_way(pair)
        label = f"real; its variation {variation_of_loss(population):.1f}"
        yield boundary_row(study, pair.name, label, population, "real")


def boundary_row(study: Study, name: str, label: str, population: Population, kind: str) -> str:
    """False passes at the loss of whole outputs, which a pass is about; false fails with δ set so
    that neither evidence lies on the wrong side."""
    where = f"{name}, {label}"
    passed = study.ever(population, Rule(1 - population.truths[1]), loss=False)
    failed = study.ever(population, Rule(1 - min(population.truths)), loss=True)
    return row(
        name,
        label,
        f"{1 - population.truths[0]:.2%}",
        study.book.count(f"false pass, {kind}", where, passed),
        study.book.count(f"false fail, {kind}", where, failed),
    )


def power_table(study: Study) -> Iterator[str]:
    """Injected and real losses beyond the margin."""
    for pair in study.families:
        for loss, margin in ((0.05, 0.02), (0.03, 0.01), (0.01, 0.005)):
            population = calibrated(pair, uneven(1.0), loss)
            yield power_row(study, pair.family, f"{loss:.0%}", population, margin)
    for pair in study.real:
        population = one_way(pair)
        for margin in (0.02, 0.05):
            label = f"real, {1 - population.truths[0]:.1%}"
            yield power_row(study, pair.name, label, population, margin)


def power_row(study: Study, name: str, loss: str, population: Population, margin: float) -> str:
    """One loss at undivided and at divided α."""
    cells, what = [], f"{loss} loss, δ = {margin:.1%}"
    for cases in (1, CASES):
        outcome, share = study.run(population, Rule(margin, fail_alpha=0.01 / cases))
        cells.append(study.book.count(f"{what}, {cases}", name, outcome.verdict_fail()))
        cells.append(study.book.median(f"{what}, {cases}", name, share))
    five, two, unpaired = study.todays(population, margin)
    cells.append(study.book.count(f"{what}, fixed 5 %", name, five))
    cells.append(study.book.count(f"{what}, fixed 2 %", name, two))
    cells.append(str(Count.of_sessions("", unpaired)))
    return row(name, loss, f"{margin:.1%}", *cells)


def session_table(study: Study) -> Iterator[str]:
    """A session of 66 cases: eleven categories in six runs."""
    yield f"\n## A session of {CASES} cases, δ = 2 %, α = 1 % for the whole session\n"
    chosen = [study.families[i % len(study.families)] for i in range(RUNS_OF_A_SESSION)]
    rule = Rule(0.02, fail_alpha=0.01 / CASES)
    verdicts = [categories(study, healthy(pair), rule) for pair in chosen]
    failed = np.logical_or.reduce([hit for run in verdicts for hit in run[0]])
    passes = float(np.mean([hit.mean() for run in verdicts for hit in run[1]]))
    share = study.book.count("session fails", "", failed)
    yield f"Healthy rebuilds ({', '.join(pair.name for pair in chosen)}), any false fail in the "
    yield f"session: {share}. Of its {CASES} cases, {passes:.1%} pass with 80 samples each; the "
    yield "rest are undecided.\n"
    yield head("run", "10 % loss in mathematics alone", "caught and named, 11 cases", "66 cases")
    for pair in study.families:
        name = next(str(name) for name in np.unique(pair.strata) if str(name).startswith(NAMED))
        population = calibrated(category(pair, name), uneven(1.0), 0.10)
        cells = []
        for cases in (11, CASES):
            outcome, _ = study.run(population, Rule(0.02, fail_alpha=0.01 / cases))
            cells.append(
                study.book.count(f"one category, {cases}", pair.family, outcome.verdict_fail())
            )
        yield row(pair.family, f"{name}: {1 - population.truths[0]:.1%}", *cells)


def categories(study: Study, population: Population, rule: Rule) -> tuple[list[Bools], list[Bools]]:
    """(fail, pass) of every category of one run, session by session."""
    names = np.unique(population.strata)
    parts = [only(population, str(name)) for name in names]
    rows = [np.flatnonzero(population.strata == name) for name in names]
    outcomes: list[list[Outcome]] = [[] for _ in names]
    for index in draws(population, study.sessions, seed=2):
        for column, part in enumerate(parts):
            inside = np.searchsorted(rows[column], index[:, :, column : column + 1])
            outcomes[column].append(decide(part, inside, rule))
    found = [joined(chunks) for chunks in outcomes]
    return [o.verdict_fail() for o in found], [o.verdict_pass() for o in found]


def category_table(study: Study) -> Iterator[str]:
    """Healthy category slices and one-category losses, with 80 samples."""
    pair = max(study.families, key=lambda pair: len(pair.samples))
    yield f"\n## Per category, 80 samples, δ = 2 %, α = 1 % for pass, α = 1 % / {CASES} for fail\n"
    yield f"{pair.name}.\n"
    yield head("category", "healthy: pass", "pass at `reach` 0.2", "10 % loss: fail", "5 % loss")
    rule = Rule(0.02, fail_alpha=0.01 / CASES)
    for name in map(str, np.unique(pair.strata)):
        part = category(pair, name)
        cells = [
            study.run(healthy(part), changed)[0].verdict_pass()
            for changed in (rule, replace(rule, reach=0.2))
        ]
        cells += [
            study.run(calibrated(part, uneven(1.0), loss), rule)[0].verdict_fail()
            for loss in (0.10, 0.05)
        ]
        yield row(name, *(str(Count.of_sessions("", hits)) for hits in cells))


def reach_table(study: Study) -> Iterator[str]:
    """What a wider or no assumption about the spread of a loss costs and buys."""
    pair = max(study.families, key=lambda pair: len(pair.samples))
    shares = (0.1, 0.05, 0.02)
    yield "\n## What `reach` buys: tokens to a healthy pass against false passes of rare losses\n"
    yield f"{pair.name}, δ = 2 %; losses of exactly δ.\n"
    yield head(
        "`reach`",
        "healthy: pass",
        "tokens, median",
        *(f"loss in {share:.0%} of samples: false pass" for share in shares),
        "variation 3: false pass",
    )
    lost = [calibrated(pair, rare(share), 0.02) for share in shares]
    lost.append(calibrated(pair, uneven(3.0), 0.02))
    for reach in (0.2, REACH, 0.05, 0.02, 0.0):
        outcome, share = study.run(healthy(pair), Rule(0.02, reach=reach))
        wrong = [study.ever(p, Rule(1 - p.truths[1], reach=reach), loss=False) for p in lost]
        yield row(
            f"{reach:g}",
            str(Count.of_sessions("", outcome.verdict_pass())),
            f"{np.median(share):.1%}",
            *(str(Count.of_sessions("", hits)) for hits in wrong),
        )


def agreement(study: Study) -> str:
    """Whether the vectorised verdicts are those of the shipped code, on some sessions."""
    pair, sessions = study.families[0], min(40, study.sessions)
    equal, later, total = 0, 0, 0
    for population in (healthy(pair), calibrated(pair, uneven(1.0), 0.02)):
        rule = Rule(0.02)
        index = next(draws(population, sessions, seed=3))
        outcome = decide(population, index, rule)
        for number in range(sessions):
            theirs = _shipped(population, index[number], rule)
            mine = int(outcome.stop()[number])
            total += 1
            equal += theirs == mine
            later += theirs > mine
    return (
        f"Of {total} sessions decided by the shipped `verdict_of` as well, {equal} stopped at the "
        f"same block and {later} later. The shipped rule bounds a sample by those of the session, "
        "not by all recorded ones, and withholds a fail by the prefix that whole outputs "
        "contradict."
    )


def _shipped(population: Population, index: Index, rule: Rule) -> int:
    whole = take(population.whole, index.ravel())
    sizes, drawn = population.scale, index.ravel()
    long = sizes.long_tokens[drawn], sizes.long_steps[drawn]
    scale = Scale(whole.old_tokens, whole.old_steps, *long, sizes.top)
    names = np.asarray(population.prefix.strata)
    for block in range(len(index)):
        rows = index[: block + 1].ravel()
        sums = [
            replace(
                take(sums, rows),
                samples=tuple(map(str, range(len(rows)))),
                strata=tuple(names[rows].tolist()),
            )
            for sums in (population.whole, population.prefix)
        ]
        pairs = Pairs(sums[0], sums[0], sums[1], 0, len(rows), (), ())
        if verdict_of(pairs, scale, rule) is not Conclusion.UNDECIDED:
            return block
    return NEVER


HEADS = {
    "healthy": "\n## Healthy rebuilds, slice `all`, δ = 2 %, α = 1 %\n\n"
    + head(
        "rebuild",
        "prompts",
        "texts equal for",
        "pass",
        "false fail",
        "tokens to pass, median",
        "fixed 5 %, 80 prompts: false fail",
        "fixed 2 %, 80 prompts",
        "unpaired interval, all",
    ),
    "boundary": "\n## At the boundary, ρ = 1 - δ, slice `all`, α = 1 %\n\n"
    "A verdict counts if it is shown at any look, whatever was shown before.\n\n"
    + head("run", "loss over samples", "δ about", "false pass", "false fail"),
    "power": "\n## Power, slice `all`, losses of variation 1 over samples\n\n"
    + head(
        "run",
        "loss",
        "δ",
        "fail, α = 1 %",
        "tokens, median",
        f"fail, α = 1 % / {CASES}",
        "tokens, median",
        "fixed 5 %, 80 prompts: caught",
        "fixed 2 %, 80 prompts",
        "unpaired interval, all",
    ),
}
TABLES = {
    "healthy": healthy_table,
    "boundary": boundary_table,
    "power": power_table,
    "session": session_table,
    "category": category_table,
    "reach": reach_table,
}


def jobs_of(study: Study, names: Sequence[str]) -> Iterator[tuple[str, Study]]:
    """Each table, those of many rows in parts of one rebuild or family."""
    for name in names:
        if name not in HEADS:
            yield name, replace(study, book=Book())
            continue
        for pair in study.pairs if name == "healthy" else study.families:
            yield name, replace(study, pairs=[pair], families=[pair], real=[], book=Book())
        if name != "healthy":
            for pair in study.real:
                yield name, replace(study, pairs=[], families=[], real=[pair], book=Book())


def work(job: tuple[str, Study]) -> tuple[str, list[str], Book]:
    """One part of a table, in a process of its own."""
    name, study = job
    lines = list(TABLES[name](study))
    return name, lines, study.book


def measure(study: Study, names: Sequence[str], processes: int) -> list[str]:
    """All tables; what they have shown is gathered in the study's book."""
    started, lines, last = time.monotonic(), [], ""
    with ProcessPoolExecutor(processes) as pool:
        for name, part, book in pool.map(work, list(jobs_of(study, names))):
            lines += [HEADS[name]] if name in HEADS and name != last else []
            lines += part
            last = name
            study.book.take(book)
            sys.stderr.write(f"{name}: {time.monotonic() - started:.0f} s\n")
    return lines


def write(file: TextIO, study: Study, body: Sequence[str], command: str) -> None:
    """The summary, and below it the tables that it is drawn from."""
    file.write("# The gate's error rates and power, measured\n\n")
    file.write(f"    {command}\n\n")
    file.write(
        f"{study.sessions:,} sessions a cell, each of 80 prompts for each of eleven categories, "
        "drawn with replacement; brackets are 95 % Clopper-Pearson limits. Random are the prompts "
        "drawn from those recorded, and the injected loss; not the target (SmolLM2-135M), the "
        "machine, or the kind of rebuild (another batch size, or what a row names).\n\n"
        f"{agreement(study)}\n\n"
    )
    file.writelines(f"{line}\n" for line in (*summary(study.book), *body))


def main() -> None:
    """Write the tables that were asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--records", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--traces", type=Path, metavar="DIR", help="recorded Spec-Bench traces")
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--out", type=Path, help="file for the tables; standard output otherwise")
    parser.add_argument("--tables", default=",".join(TABLES), help="comma-separated, of these")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    runs = load_traces(options.traces) if options.traces else []
    for path in options.records:
        runs += load_records(path)
    study = Study.of(runs, options.sessions)
    if not study.pairs:
        parser.error("no two runs of one family among these files; give --records or --traces")
    command = "python benchmarks/gate_power.py " + " ".join(sys.argv[1:])
    body = measure(study, options.tables.split(","), options.processes)
    if options.out:
        with options.out.open("w", encoding="utf-8") as file:
            write(file, study, body, command)
    else:
        write(sys.stdout, study, body, command)


if __name__ == "__main__":
    main()
