"""Replay: bias of a healthy rebuild, coverage, late losses, losses that a prefill heals, and power.

    python benchmarks/gate_replay.py --out benchmarks/results/gate_replay.md
    python benchmarks/gate_replay.py --sessions 20000 --out …

Every session draws its own samples from :mod:`replay_worlds` and is decided by the shipped rule at
its end, once with replay and once without. Unlike in ``gate_power.py`` nothing is recorded, so that
the true loss is known and no session repeats another's prompts.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from gate_book import Count, head, row
from replay_worlds import Sample, Walks, World, draw, pairs_of

from pytest_speedbench.stats.data import Ints, StepTrace
from pytest_speedbench.stats.decision import Conclusion, verdict_of
from pytest_speedbench.stats.replay import Segment, count_replayed, divergence_of, next_resume
from pytest_speedbench.stats.rule import Rule

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
BATCH = 4_400  # samples drawn at once
Verdicts = list[Conclusion]


@dataclass(frozen=True, slots=True)
class Cell:
    """One row: so many sessions of a world."""

    world: World
    margin: float
    sessions: int
    samples: int = SAMPLES
    seed: int = 0


def verdicts(cell: Cell) -> tuple[Verdicts, Verdicts]:
    """The verdicts of the sessions of a cell, with replay and without."""
    rng = np.random.default_rng([cell.seed, cell.samples])
    rule, found = Rule(cell.margin), ([], [])
    left = cell.sessions
    while left:
        together = min(left, max(1, BATCH // cell.samples))
        drawn = draw(cell.world, together * cell.samples, rng)
        for number in range(together):
            rows = slice(number * cell.samples, (number + 1) * cell.samples)
            for replayed, kept in zip((True, False), found, strict=True):
                pairs, scale = pairs_of(drawn, rows, cell.world, replay=replayed)
                kept.append(verdict_of(pairs, scale, rule))
        left -= together
    return found


def share(found: Verdicts, what: Conclusion) -> str:
    """The share of one verdict, with its limits."""
    return str(Count.of_sessions("", np.array([verdict is what for verdict in found])))


def true_loss(world: World) -> float:
    """Loss of AL along one text, no ties: of whole outputs too, as texts have one law."""
    return _loss_of(replace(world, ties=0.0, agree=1.0))


@cache
def _loss_of(sharp: World) -> float:
    rng = np.random.default_rng(99)
    parts = [draw(sharp, BATCH, rng) for _ in range(5)]
    old, new = (sum(int(part.whole[:, k].sum()) for part in parts) for k in (1, 3))
    return 1 - old / new


# -- tables ----------------------------------------------------------------------------------------


def bias_row(job: tuple[int, float, int, int]) -> str:
    """A healthy rebuild: the mean of log ρ, and what is compared."""
    dl, rate, prefill, samples = job
    world = World(LAWS[dl], ties=2 * rate, prefill=prefill)
    rng, columns, decoded, texts = np.random.default_rng(dl), [], 0, 0
    for _ in range(-(-samples // BATCH)):
        found = draw(world, BATCH, rng)
        columns.append(np.stack([found.tokens, found.old, found.new, found.divergences]))
        decoded, texts = decoded + int(found.decoded.sum()), texts + BATCH
    tokens, old, new, divergences = np.concatenate(columns, axis=1)
    everything = texts * world.tokens
    extra = new - old
    error = extra.std() * np.sqrt(texts) / old.sum()
    return row(
        str(dl),
        str(prefill),
        f"{tokens.sum() / old.sum():.2f}",
        f"{1000 * divergences.sum() / everything:.1f}",
        f"{-extra.sum() / old.sum():+.3%} ± {1.96 * error:.3%}",
        f"{tokens.sum() / everything:.1%}",
        f"{(everything - tokens.sum()) / divergences.sum():.1f}",
        f"{decoded / everything - 1:+.0%}",
    )


def late_row(job: tuple[int, float, int]) -> str:
    """A loss from ``onset`` on, ``factor`` times the margin."""
    onset, factor, sessions = job
    world = World(loss=LOSS, onset=onset, tokens=LONG)
    loss = true_loss(world)
    with_replay, without = verdicts(Cell(world, loss / factor, sessions, seed=onset))
    cells = [
        share(found, what)
        for found in (with_replay, without)
        for what in (Conclusion.PASS, Conclusion.FAIL)
    ]
    return row(str(onset), f"{loss:.2%}", f"{factor:g}", f"{loss / factor:.2%}", *cells)


def healed_row(job: tuple[float, int, float, int]) -> str:
    """A loss that begins so many tokens after a prefill, at exactly the margin of whole outputs."""
    loss, heals, rate, sessions = job
    world = World(loss=loss, heals=heals, ties=2 * rate, tokens=LONG)
    margin = true_loss(world)
    with_replay, without = verdicts(Cell(world, margin, sessions, seed=heals))
    return row(
        f"{loss:.0%} from token {heals} after a prefill on",
        f"{1000 * rate:g}",
        f"{margin:.2%}",
        share(with_replay, Conclusion.PASS),
        share(without, Conclusion.PASS),
    )


def healthy_row(job: tuple[int, float, int, int]) -> str:
    """A healthy rebuild at δ = 2 %."""
    dl, rate, samples, sessions = job
    world = World(LAWS[dl], ties=2 * rate)
    with_replay, without = verdicts(Cell(world, 0.02, sessions, samples, seed=dl))
    cells = [
        share(found, what)
        for found in (with_replay, without)
        for what in (Conclusion.PASS, Conclusion.FAIL)
    ]
    return row(str(dl), f"{1000 * rate:g}", str(samples), *cells)


def tokens_row(job: tuple[str, float, float, int]) -> str:
    """Tokens until a verdict, by looks every 22 samples, as a share of 880 free outputs."""
    label, loss, margin, sessions = job
    world = World(loss=loss)
    rng, rule, whole = np.random.default_rng(5), Rule(margin), 880
    wanted = Conclusion.FAIL if loss else Conclusion.PASS
    spent: dict[bool, list[float]] = {True: [], False: []}
    right = {True: 0, False: 0}
    for _ in range(sessions):
        drawn = draw(world, whole, rng)
        for replayed, shares in spent.items():
            size, verdict = _first_look(drawn, world, rule, whole, replay=replayed)
            free = size * world.tokens
            decoded = int(drawn.decoded[:size].sum()) if replayed else free
            shares.append(decoded / (whole * world.tokens))
            right[replayed] += verdict is wanted
    cells = [
        f"{np.median(spent[r]):.1%}, {right[r] / sessions:.0%} {wanted}" for r in (True, False)
    ]
    return row(label, f"{margin:.0%}", *cells)


def _first_look(
    drawn: Sample, world: World, rule: Rule, whole: int, *, replay: bool
) -> tuple[int, Conclusion]:
    """Samples at the first look with a verdict, and the verdict."""
    for size in range(22, whole + 1, 22):
        pairs, scale = pairs_of(drawn, slice(0, size), world, replay=replay)
        verdict = verdict_of(pairs, scale, rule)
        if verdict is not Conclusion.UNDECIDED:
            return size, verdict
    return whole, Conclusion.UNDECIDED


def agreement() -> str:
    """Whether the sums drawn here are those of the shipped ``count_replayed``."""
    world, equal = World(ties=0.05, tokens=64), 0
    for seed in range(40):
        found = draw(world, 1, np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        walks = Walks(world, 1, rng)
        baseline = StepTrace("s", "a", 0, 1, _sizes(walks, 1, 0, old=True), np.arange(walks.end))
        segments, prompt = [], 0
        while True:
            differs = walks.tie[0] & (rng.random((1, walks.end))[0] < 0.5)
            differs &= np.arange(walks.end) >= prompt
            ids = np.arange(prompt, walks.end)
            apart = int(differs.argmax()) if differs.any() else walks.end
            ids[apart - prompt :] = -1
            segments.append(Segment(prompt, 1, _sizes(walks, prompt + 1, prompt), ids))
            divergence = divergence_of(baseline, segments[-1])
            resume = None if divergence is None else next_resume(baseline, divergence)
            if resume is None:
                break
            prompt = resume.prompt_tokens
        counted = count_replayed(baseline, segments)
        mine = (int(found.tokens[0]), int(found.old[0]), int(found.new[0]))
        far = np.allclose(
            [counted.old_distance, counted.new_distance],
            [found.old_distance[0], found.new_distance[0]],
        )
        equal += far and mine == (counted.tokens, counted.old_steps, counted.new_steps)
    return f"In {equal} of 40 outputs the sums are those of the shipped `count_replayed`."


def _sizes(walks: Walks, first: int, prompt: int, *, old: bool = False) -> Ints:
    """Sizes of the steps of one walk to the end of the text."""
    sizes, at = [], np.array([first])
    while at[0] < walks.end:
        after = walks.old[walks.rows, at] if old else walks.step(walks.rows, at, np.array([prompt]))
        sizes.append(int(after[0] - at[0]))
        at = after
    return np.array(sizes, dtype=np.int64)


Table = tuple[str, str, str, Callable[[object], str], list[object]]


def tables(sessions: int) -> Iterator[Table]:
    """Name, title, head, what makes a row, and its arguments."""
    yield (
        "bias",
        "Bias and coverage of a healthy rebuild",
        head("DL", "n₀", "AL", "divergences per 1,000 tokens", "bias of ρ, 95 %", "compared",
             "tokens left out a divergence", "more tokens decoded"),
        bias_row,
        [(dl, rate, 1, 40 * sessions) for dl in LAWS for rate in RATES]
        + [(3, rate, 0, 40 * sessions) for rate in RATES],
    )  # fmt: skip
    yield (
        "late",
        f"A loss that begins late: {SAMPLES} samples of {LONG} tokens, α = 1 %",
        head("onset", "true loss", "f", "δ = loss / f", "replay: pass", "fail",
             "without: pass", "fail"),
        late_row,
        [(onset, factor, sessions) for onset in ONSETS for factor in FACTORS],
    )  # fmt: skip
    yield (
        "healed",
        "A loss that a prefill heals, at exactly the margin",
        head("loss", "divergences per 1,000 tokens", "δ", "replay: false pass",
             "without: false pass"),
        healed_row,
        [
            (loss, heals, rate, sessions)
            for loss, heals in ((0.15, 16), (0.15, 48), (0.3, 96))
            for rate in (0.005, 0.02)
        ],
    )  # fmt: skip
    yield (
        "healthy",
        "A healthy rebuild, δ = 2 %, α = 1 %",
        head("DL", "divergences per 1,000 tokens", "samples", "replay: pass", "false fail",
             "without: pass", "false fail"),
        healthy_row,
        [
            (dl, rate, samples, max(100, sessions // 2))
            for dl in (1, 3, 7)
            for rate in (0.002, 0.008)
            for samples in (88, 220)
        ],
    )  # fmt: skip
    yield (
        "tokens",
        "Tokens to a verdict, median, all requests counted, as a share of 880 free outputs",
        head("build", "δ", "replay", "without"),
        tokens_row,
        [
            ("healthy", 0.0, 0.02, max(20, sessions // 50)),
            ("loss of 5 %", 0.0655, 0.02, max(20, sessions // 50)),
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--tables", default="bias,late,healed,healthy,tokens", help="a comma list")
    parser.add_argument("--out", default="")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    started, lines = time.monotonic(), []
    command = f"python benchmarks/gate_replay.py --sessions {options.sessions}"
    lines += ["# Replay, measured", "", f"    {command}", "", _introduction(options.sessions), ""]
    lines += [agreement(), ""]
    with ProcessPoolExecutor(options.processes) as pool:
        for name, title, heading, make, jobs in tables(options.sessions):
            if name not in options.tables.split(","):
                continue
            lines += [f"## {title}", "", heading, *pool.map(make, jobs), ""]
            sys.stderr.write(f"{title}: {time.monotonic() - started:.0f} s\n")
    text = "\n".join(lines)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(text)
    else:
        sys.stdout.write(text)


def _introduction(sessions: int) -> str:
    return (
        f"{sessions:,} sessions a cell (half of it for healthy rebuilds, a fiftieth for tokens to "
        "a verdict), each of new samples; brackets are 95 % Clopper-Pearson limits. Where nothing "
        "else is said: DL 3, 128 decoded tokens, 5 divergences per 1,000 tokens, both builds alike "
        "at 98 % of the places, the acceptance's logit varying by 0.5 over samples."
    )


if __name__ == "__main__":
    main()
