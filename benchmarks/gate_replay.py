"""Replay: bias of a healthy rebuild, coverage, losses of every kind, and tokens to a verdict.

    python benchmarks/gate_replay.py --out benchmarks/results/gate_replay.md
    python benchmarks/gate_replay.py --tables late,healed --sessions 20000 --processes 16 --out …

Every session draws its own samples from :mod:`replay_worlds` and is decided by the shipped rule at
its end, once with replay and once without. Unlike in ``gate_power.py`` nothing is recorded, so that
the true loss is known and no session repeats another's prompts. Finished chunks are kept beside
``--out``, in a file ``.jsonl``: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from chunks import Counts, Ledger, Row, Table, simulate
from gate_book import Count, head, row
from replay_cells import (
    BOTH,
    WHOLE,
    WITH,
    WITHOUT,
    Bias,
    Cell,
    Waiting,
    Ways,
    median_tokens,
    true_loss,
)
from replay_worlds import STRETCH, Requests, Steps, Walks, World, draw

from pytest_speedbench.stats.data import Ints, StepTrace
from pytest_speedbench.stats.decision import Conclusion
from pytest_speedbench.stats.replay import Segment, count_replayed

LAWS = {
    1: (0.6,),
    2: (0.62, 0.6),
    3: (0.62, 0.6, 0.6),
    5: (0.75, 0.7, 0.7, 0.65, 0.65),
    7: (0.8,) * 7,
}
RATES = (0.002, 0.005, 0.008, 0.02)
ONSETS = (0, 64, 96, 128)
FACTORS = (1.0, 1.1, 1.25)
SAMPLES = 220
LONG = 192  # decoded tokens where a loss may begin as late as token 128
LOSS = 0.10
HEALED = ((0.15, 16), (0.15, 48), (0.3, 96))
# Share of the samples that lose, and how many of their drafts.
CONCENTRATED = ((0.02, 1.0), (0.05, 0.4), (0.1, 0.2))
# Loss of one half of the samples, and gain of the other: alike, and 2.7 % in all.
SHUFFLED = ((0.15, 0.171), (0.15, 0.1))
DEFECTS = (0.004, 0.01)
PASS, FAIL = Conclusion.PASS, Conclusion.FAIL
Truth = Mapping[World, float]


def losses(tables: Iterable[str]) -> list[World]:
    """The worlds of these tables whose true loss is needed."""
    worlds = {
        "late": [World(loss=LOSS, onset=onset, tokens=LONG) for onset in ONSETS],
        "healed": [_healed(loss, heals, rate) for loss, heals in HEALED for rate in (0.005, 0.02)],
        "diverging": [World(loss=0.5, defects=defects, tokens=LONG) for defects in DEFECTS],
        "concentrated": [World(loss=loss, part=part, tokens=LONG) for part, loss in CONCENTRATED],
        "shuffled": [World(loss=loss, gain=gain, part=0.5, tokens=LONG) for loss, gain in SHUFFLED],
    }
    return [world for table in tables for world in worlds.get(table, ())]


def _healed(loss: float, heals: int, rate: float) -> World:
    return World(loss=loss, heals=heals, ties=2 * rate, tokens=LONG)


# -- tables ----------------------------------------------------------------------------------------


def bias_table(sessions: int, _truth: Truth) -> Table:
    """A healthy rebuild: the mean of log ρ, and what is compared."""
    worlds = [World(LAWS[dl], ties=2 * rate) for dl in LAWS for rate in RATES]
    worlds += [World(LAWS[3], ties=2 * rate, prefill=0) for rate in RATES]
    return Table(
        "Bias and coverage of a healthy rebuild",
        head("DL", "n₀", "AL", "divergences per 1,000 tokens", "bias of ρ, 95 %", "compared",
             "tokens left out a divergence", "more tokens decoded"),
        [Row(Bias(world), sessions, partial(_bias_line, world)) for world in worlds],
    )  # fmt: skip


def _bias_line(world: World, found: Counts) -> list[str]:
    texts, everything = found["texts"], found["texts"] * world.tokens
    spread = found["squares"] / texts - (found["extra"] / texts) ** 2
    error = math.sqrt(spread * texts) / found["old"]
    cells = [
        str(len(world.accept)),
        str(world.prefill),
        f"{found['tokens'] / found['old']:.2f}",
        f"{1000 * found['divergences'] / everything:.1f}",
        f"{-found['extra'] / found['old']:+.3%} ± {1.96 * error:.3%}",
        f"{found['tokens'] / everything:.1%}",
        f"{(everything - found['tokens']) / found['divergences']:.1f}",
        f"{found['decoded'] / everything - 1:+.0%}",
    ]
    return [row(*cells)]


def late_table(sessions: int, truth: Truth) -> Table:
    """A loss from some token on, at the margin and beyond it."""
    rows = []
    for world in (World(loss=LOSS, onset=onset, tokens=LONG) for onset in ONSETS):
        cell = Cell(world, tuple(truth[world] / factor for factor in FACTORS), SAMPLES)
        rows.append(Row(cell, sessions, partial(_late_lines, cell, truth[world])))
    return Table(
        f"A loss that begins late: {SAMPLES} samples of {LONG} tokens, α = 1 %",
        head("onset", "true loss", "f", "δ = loss / f", "replay: pass", "fail", "without: pass",
             "fail"),
        rows,
    )  # fmt: skip


def _late_lines(cell: Cell, loss: float, found: Counts) -> list[str]:
    start = str(cell.world.onset), f"{loss:.2%}"
    return [
        row(*start, f"{factor:g}", f"{margin:.2%}", *_verdicts(cell, margin, found))
        for factor, margin in zip(FACTORS, cell.margins, strict=True)
    ]


def healed_table(sessions: int, truth: Truth) -> Table:
    """A loss that begins so many tokens after a prefill, at exactly the margin of whole outputs."""
    rows = []
    for loss, heals in HEALED:
        for rate in (0.005, 0.02):
            cell = Cell(_healed(loss, heals, rate), (truth[_healed(loss, heals, rate)],), SAMPLES)
            rows.append(Row(cell, sessions, partial(_healed_line, cell)))
    return Table(
        "A loss that a prefill heals, at exactly the margin",
        head("loss", "divergences per 1,000 tokens", "δ", "replay: false pass",
             "without: false pass"),
        rows,
    )  # fmt: skip


def _healed_line(cell: Cell, found: Counts) -> list[str]:
    world, (margin,) = cell.world, cell.margins
    label = f"{world.loss:.0%} from token {world.heals} after a prefill on"
    shares = (_share(cell, margin, way, PASS, found) for way in BOTH)
    return [row(label, f"{500 * world.ties:g}", f"{margin:.2%}", *shares)]


def diverging_table(sessions: int, truth: Truth) -> Table:
    """A loss that makes the text diverge where it begins, so that no common prefix holds it."""
    rows = []
    for world in (World(loss=0.5, defects=defects, tokens=LONG) for defects in DEFECTS):
        # The share of outputs that diverge without SD, where both builds have such an arm.
        known = Ways(True, 1 - (1 - world.ties / 2) ** (world.tokens + world.prefill))
        margins = tuple(truth[world] / factor for factor in (1.0, 1.25))
        cell = Cell(world, margins, SAMPLES, (WITH, known, WITHOUT))
        rows.append(Row(cell, sessions, partial(_diverging_lines, cell)))
    return Table(
        f"A loss that causes divergence: half of the drafts of {STRETCH} tokens from each defect "
        "on",
        head("defects per 1,000 tokens", "loss over the baseline's text, replayed", "δ",
             "replay: pass", "fail", "replay, arms without SD: pass", "fail", "without: pass",
             "fail"),
        rows,
    )  # fmt: skip


def _diverging_lines(cell: Cell, found: Counts) -> list[str]:
    start = f"{1000 * cell.world.defects:g}", f"{1 - found['old'] / found['new']:.2%}"
    return [row(*start, f"{m:.2%}", *_verdicts(cell, m, found)) for m in cell.margins]


def concentrated_table(sessions: int, truth: Truth) -> Table:
    """A loss in few samples, at exactly the margin: what `reach` assumes away."""
    rows = []
    for part, loss in CONCENTRATED:
        world = World(loss=loss, part=part, tokens=LONG)
        ways = (WITH, Ways(True, reach=0.05), Ways(True, reach=0.0), WITHOUT)
        cell = Cell(world, (truth[world],), SAMPLES, ways)
        rows.append(Row(cell, sessions, partial(_concentrated_line, cell)))
    return Table(
        f"A loss in few of {SAMPLES} samples, at exactly the margin: false passes",
        head("samples that lose", "of their drafts", "δ", "replay", "replay, `reach` 5 %",
             "replay, `reach` 0", "without replay"),
        rows,
    )  # fmt: skip


def _concentrated_line(cell: Cell, found: Counts) -> list[str]:
    world, (margin,) = cell.world, cell.margins
    shares = (_share(cell, margin, way, PASS, found) for way in cell.ways)
    return [row(f"{world.part:.0%}", f"{world.loss:.0%}", f"{margin:.2%}", *shares)]


def shuffled_table(sessions: int, truth: Truth) -> Table:
    """Half of the samples lose, half gain."""
    rows = []
    for loss, gain in SHUFFLED:
        world = World(loss=loss, gain=gain, part=0.5, tokens=LONG)
        lost = truth[world]
        cell = Cell(world, (lost if lost > 0.005 else 0.02,), SAMPLES)
        rows.append(Row(cell, sessions, partial(_shuffled_line, cell, lost)))
    return Table(
        "Half of the samples lose, the other half gains",
        head("drafts lost", "acceptance gained", "true loss", "δ", "replay: pass", "fail",
             "without: pass", "fail"),
        rows,
    )  # fmt: skip


def _shuffled_line(cell: Cell, loss: float, found: Counts) -> list[str]:
    world, (margin,) = cell.world, cell.margins
    start = f"{world.loss:.0%}", f"{world.gain:.1%}", f"{loss:.2%}", f"{margin:.2%}"
    return [row(*start, *_verdicts(cell, margin, found))]


def healthy_table(sessions: int, _truth: Truth) -> Table:
    """A healthy rebuild at δ = 2 %."""
    rows = []
    for dl in (1, 3, 7):
        for rate in (0.002, 0.008):
            for samples in (88, SAMPLES):
                cell = Cell(World(LAWS[dl], ties=2 * rate), (0.02,), samples)
                rows.append(Row(cell, sessions, partial(_healthy_line, cell)))
    return Table(
        "A healthy rebuild, δ = 2 %, α = 1 %",
        head("DL", "divergences per 1,000 tokens", "samples", "replay: pass", "false fail",
             "without: pass", "false fail"),
        rows,
    )  # fmt: skip


def _healthy_line(cell: Cell, found: Counts) -> list[str]:
    world = cell.world
    start = str(len(world.accept)), f"{500 * world.ties:g}", str(cell.samples)
    return [row(*start, *_verdicts(cell, cell.margins[0], found))]


def tokens_table(sessions: int, _truth: Truth) -> Table:
    """Tokens until a verdict, looks as in an early decision."""
    rows = []
    for label, loss, wanted in (("healthy", 0.0, PASS), ("loss of 5 %", 0.0655, FAIL)):
        for rate in (0.002, 0.005, 0.008):
            job = Waiting(World(loss=loss, ties=2 * rate), 0.02)
            lines = partial(_tokens_line, job, label, wanted)
            rows.append(Row(job, max(20, sessions // 4), lines))
    return Table(
        f"Tokens to a verdict, median, all requests counted, as a share of {WHOLE} free outputs",
        head("build", "divergences per 1,000 tokens", "δ", "replay", "without"),
        rows,
    )


def _tokens_line(job: Waiting, label: str, wanted: Conclusion, found: Counts) -> list[str]:
    cells = [
        f"{median_tokens(found, way):.1%}, "
        f"{found.get(f'{way.name} {wanted}', 0) / found['sessions']:.0%} {wanted}"
        for way in BOTH
    ]
    return [row(label, f"{500 * job.world.ties:g}", f"{job.margin:.0%}", *cells)]


def _verdicts(cell: Cell, margin: float, found: Counts) -> list[str]:
    return [_share(cell, margin, way, what, found) for way in cell.ways for what in (PASS, FAIL)]


def _share(cell: Cell, margin: float, way: Ways, what: Conclusion, found: Counts) -> str:
    """The share of one verdict, with its limits."""
    hits = found.get(cell.count(margin, way, what), 0)
    return str(Count("", int(hits), int(found["sessions"])))


TABLES: dict[str, Callable[[int, Truth], Table]] = {
    "bias": bias_table,
    "late": late_table,
    "healed": healed_table,
    "diverging": diverging_table,
    "concentrated": concentrated_table,
    "shuffled": shuffled_table,
    "healthy": healthy_table,
    "tokens": tokens_table,
}


# -- the shipped count -----------------------------------------------------------------------------


def agreement() -> str:
    """Whether the sums drawn here are those of the shipped ``count_replayed``."""
    world, equal = World(ties=0.05, tokens=64), 0
    for seed in range(40):
        found = draw(world, 1, np.random.default_rng(seed))
        walks = Walks(world, 1, np.random.default_rng(seed))
        first = np.array([world.prefill])
        old = _sizes(walks.old_steps(walks.rows, first, np.array([walks.end])))
        baseline = StepTrace("s", "a", 0, world.prefill, old, np.arange(walks.end))
        asked = walks.requests(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=bool))
        counted = count_replayed(baseline, [_segment(walks, request) for request in asked])
        mine = (int(found.tokens[0]), int(found.old[0]), int(found.new[0]))
        far = np.allclose(
            [counted.old_distance, counted.new_distance],
            [found.old_distance[0], found.new_distance[0]],
        )
        equal += far and mine == (counted.tokens, counted.old_steps, counted.new_steps)
    return f"In {equal} of 40 outputs the sums are those of the shipped `count_replayed`."


def _segment(walks: Walks, request: Requests) -> Segment:
    start, apart = int(request.prompt[0]), int(request.apart[0])
    ids = np.arange(start, walks.end)
    ids[apart - start :] = -1
    steps = walks.new_steps(request, np.array([walks.end]))
    return Segment(start, walks.world.prefill, _sizes(steps), ids)


def _sizes(steps: Steps) -> Ints:
    return steps.after - steps.at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--tables", default=",".join(TABLES), help="a comma list")
    parser.add_argument("--out", type=Path, help="a Markdown file; chunks go beside it, .jsonl")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    names = options.tables.split(",")
    command = (
        f"python benchmarks/gate_replay.py --sessions {options.sessions} --tables {options.tables}"
    )
    top = ["# Replay, measured", "", f"    {command}", "", _introduction(options.sessions), ""]
    top += [agreement(), ""]

    def write(lines: list[str]) -> None:
        if options.out:
            options.out.write_text("\n".join(top + lines), encoding="utf-8")

    lines: list[str] = []
    with ProcessPoolExecutor(options.processes) as pool:
        worlds = losses(names)
        truth = dict(zip(worlds, pool.map(true_loss, worlds), strict=True))
        ledger = Ledger(options.out.with_suffix(".jsonl") if options.out else None)
        lines = simulate(
            [TABLES[name](options.sessions, truth) for name in names], ledger, pool, write
        )
    if not options.out:
        sys.stdout.write("\n".join(top + lines))


def _introduction(sessions: int) -> str:
    return (
        f"{sessions:,} sessions a cell (a quarter of it for tokens to a verdict; 40 outputs a "
        "session for bias), each of new samples; brackets are 95 % Clopper-Pearson limits. Where "
        f"nothing else is said: DL 3, 128 decoded tokens, {SAMPLES} samples, 5 divergences per "
        "1,000 tokens, both builds alike at 98 % of the places, the acceptance's logit varying by "
        "0.5 over samples."
    )


if __name__ == "__main__":
    main()
