"""What two processes of one build differ by, and what that does to a gate side by side.

Real engine. ``measure`` starts pairs of engines of one build, the second by the interpreter given
if one is (as ``--speed-against-python`` does), both up at once, and times alternating rounds as a
session does. Every pair is a line of the file, so that an interrupted run goes on where it stopped.
``report`` fits the offset of a start and the noise of a round (one-way random effects), and draws
sessions with the fitted values through the shipped decision: with the pair of starts as the unit,
and, for comparison, with rounds of a single pair of starts as if they were independent.

    python benchmarks/start_offsets.py measure pairs.jsonl --pairs 40 --engine llama-cpp
    python benchmarks/start_offsets.py report pairs.jsonl
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pytest_speedbench.engines import Engine, EngineConfig, Sampling, Speculation, open_engine
from pytest_speedbench.measure.load import ClosedLoop
from pytest_speedbench.measure.rounds import run_rounds
from pytest_speedbench.measure.tokenizer import load_tokenizer
from pytest_speedbench.plan.values import argument
from pytest_speedbench.splits import load_split
from pytest_speedbench.stats import NoData, TimingDecision, side_by_side, within_session
from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.decision import Conclusion
from pytest_speedbench.stats.simulation import upper_limit

TIMEOUT = 600.0
ALPHA = 0.01
Pair = tuple[list[float], list[float]]


def measure(options: argparse.Namespace) -> None:
    """Appends pairs until the file has as many as asked for."""
    path = Path(options.file)
    done = len(read(path)) if path.exists() else 0
    for number in range(done, options.pairs):
        first, second = one_pair(options, number)
        line = json.dumps({"pair": number, "old": first, "new": second, "load": os.getloadavg()[0]})
        with path.open("a", encoding="utf-8") as out:
            out.write(line + "\n")
        print(line, flush=True)


def one_pair(options: argparse.Namespace, number: int) -> Pair:
    """Tokens per second of each round of both engines; which one starts first alternates."""
    speculation = Speculation("ngram", 3)
    tokenizer = load_tokenizer("huggingface", options.model, {})
    every = load_split("qualitative").interleaved(None, None)
    samples = sorted(every, key=lambda sample: sum(map(len, sample.turns)))[: options.samples]
    arguments = tuple(options.engine_arg)

    def started(python: str) -> Engine:
        config = EngineConfig(
            options.engine, options.model, speculation, args=arguments, python=python
        )
        return open_engine(config, TIMEOUT)

    later = started(options.python) if number % 2 else None
    with closing(started("")) as old, closing(later or started(options.python)) as new:
        loops = [
            ClosedLoop(
                engine,
                tokenizer,
                Sampling(options.tokens, ignore_eos=True),
                speculation,
                tokenizer.context_window,
            )
            for engine in (old, new)
        ]
        arms = run_rounds(loops, samples, 1, options.rounds)
    first, second = ([r.output_tps for r in arm.rounds] for arm in arms)
    return first, second


def read(path: Path) -> list[Pair]:
    """The pairs of a file."""
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [(line["old"], line["new"]) for line in lines]


@dataclass(frozen=True, slots=True)
class Fit:
    """Standard deviations of a difference of two logs of tokens/s, and its mean.

    Attributes:
        mean: new over old, with its standard error.
        error: standard error of the mean.
        offset: what the processes of a pair differ by.
        noise: of one round.
        pairs: pairs of starts.
        rounds: rounds of each.
    """

    mean: float
    error: float
    offset: float
    noise: float
    pairs: int
    rounds: int


def fit(pairs: list[Pair]) -> Fit:
    """One-way random effects, by the analysis of variance."""
    differences = np.array([np.log(new) - np.log(old) for old, new in pairs])
    count, rounds = differences.shape
    within = float(differences.var(axis=1, ddof=1).mean())
    between = float(differences.mean(axis=1).var(ddof=1))
    offset = max(0.0, between - within / rounds)
    mean = float(differences.mean())
    error = math.sqrt(between / count)
    return Fit(mean, error, math.sqrt(offset), math.sqrt(within), count, rounds)


def sessions(
    found: Fit, starts: int, rounds: int, change: float, number: int
) -> Iterator[list[Pair]]:
    """Sessions of so many pairs of starts with so many rounds each, new over old by ``change``."""
    rng = np.random.default_rng(1)
    for _ in range(number):
        offsets = rng.normal(0.0, found.offset, starts)[:, None]
        noise = rng.normal(0.0, found.noise, (starts, rounds))
        logs: Floats = math.log1p(change) + offsets + noise
        yield [([1.0] * rounds, np.exp(row).tolist()) for row in logs]


def by_start(pairs: list[Pair], margin: float) -> TimingDecision:
    return side_by_side(pairs, margin=margin, alpha=ALPHA)


def by_round(pairs: list[Pair], margin: float) -> TimingDecision:
    return within_session(*pairs[0], margin=margin, alpha=ALPHA)


Decide = Callable[[list[Pair], float], TimingDecision]


def rates(drawn: Iterator[list[Pair]], decide: Decide, margin: float, conclusion: str) -> str:
    """Share of sessions with a conclusion, with 95 % limits; no data is none."""
    found = []
    for pairs in drawn:
        try:
            found.append(decide(pairs, margin).conclusion is Conclusion(conclusion))
        except NoData:
            found.append(False)
    hits, number = sum(found), len(found)
    limits = (1 - upper_limit(number - hits, number, 0.975), upper_limit(hits, number, 0.975))
    return f"{hits / number:.1%} [{limits[0]:.1%}, {limits[1]:.1%}]"


def report(options: argparse.Namespace) -> None:
    """The fit, and simulated sessions with it, and with other offsets at the same noise."""
    found = fit(read(Path(options.file)))
    print(
        f"{found.pairs} pairs of starts, {found.rounds} rounds each: new / old "
        f"{math.expm1(found.mean):+.2%} ± {found.error:.2%}; sd of the offset of a pair "
        f"{found.offset:.2%}, of a round {found.noise:.2%}\n"
    )
    margin = options.margin
    print(f"margin {margin:.0%}, α {ALPHA:.0%}, {options.sessions:,} sessions a cell\n")
    print("| offset / noise | unit | starts × rounds | false fail | false pass | pass, no change |")
    print("| --- | --- | --- | --- | --- | --- |")
    fitted = found.offset / found.noise
    for name, ratio in ((f"{fitted:.2f}, fitted", fitted), ("0", 0), ("1", 1), ("2", 2)):
        drawn = replace(found, offset=ratio * found.noise)
        cells: list[tuple[str, Decide, int, int]] = [
            *(("start", by_start, starts, 1) for starts in (3, 5, 10, 20)),
            *(("round", by_round, 1, rounds) for rounds in (40, 100)),
        ]
        for unit, decide, starts, rounds in cells:
            shares = [
                rates(
                    sessions(drawn, starts, rounds, change, options.sessions),
                    decide,
                    margin,
                    conclusion,
                )
                for change, conclusion in ((-margin, "fail"), (-margin, "pass"), (0.0, "pass"))
            ]
            print(f"| {name} | {unit} | {starts} × {rounds} | {' | '.join(shares)} |", flush=True)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("file")
    measuring.add_argument("--pairs", type=int, default=40)
    measuring.add_argument("--engine", default="transformers")
    measuring.add_argument("--model", default="demo")
    measuring.add_argument("--python", default="")
    measuring.add_argument(
        "--engine-arg", type=lambda text: argument(text, True), action="append", default=[]
    )
    measuring.add_argument("--samples", type=int, default=2)
    measuring.add_argument("--tokens", type=int, default=24)
    measuring.add_argument("--rounds", type=int, default=4)
    measuring.set_defaults(run=measure)
    reporting = commands.add_parser("report")
    reporting.add_argument("file")
    reporting.add_argument("--sessions", type=int, default=1000)
    reporting.add_argument("--margin", type=float, default=0.05)
    reporting.set_defaults(run=report)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
