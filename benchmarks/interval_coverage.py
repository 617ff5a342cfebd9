"""How often each shown interval covers the truth, for few samples of uneasy populations.

    python benchmarks/interval_coverage.py --out benchmarks/results/interval_coverage.md

Every cell draws so many samples from a population whose true value is known, and counts how often
the 95 % interval of the estimate holds it. Student's interval, which is not shown, stands beside.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_speedbench.stats import delta
from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.estimates import Estimate, positive_ratio, ratio_estimate
from pytest_speedbench.stats.speed import paired_speedup
from pytest_speedbench.stats.sums import PairedSums

TOP = 4.0  # tokens of a step at DL 3
LEVEL = 0.95
SAMPLES, ROUNDS = (5, 8, 20, 80), (3, 5, 10, 30)
LARGE = 400_000

Draw = Callable[[np.random.Generator, int], tuple[Floats, Floats]]
Judge = Callable[[Floats, Floats], Estimate]


@dataclass(frozen=True, slots=True)
class Population:
    """Numerator and denominator of each sample, and what is estimated from them."""

    metric: str
    name: str
    draw: Draw
    judge: Judge


# -- acceptance: tokens and steps -----------------------------------------------------------------


def _steps_at(tokens: Floats, al: Floats) -> tuple[Floats, Floats]:
    return tokens, np.maximum(1, np.ceil(tokens / al))


def skewed(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Log-normal lengths; few samples with a high AL."""
    tokens = np.maximum(2, rng.lognormal(3.5, 1.0, n)).round()
    return _steps_at(tokens, 1 + np.minimum(TOP - 1, rng.lognormal(-0.5, 0.9, n)))


def short(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Answers of one to five tokens."""
    tokens = rng.integers(1, 6, n).astype(float)
    fewest = np.ceil(tokens / TOP)
    return tokens, fewest + np.floor(rng.random(n) * (tokens - fewest + 1))


def bimodal(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """One sample in ten is easy, the others hardly ever accept."""
    tokens = rng.integers(50, 128, n).astype(float)
    return _steps_at(tokens, np.where(rng.random(n) < 0.1, 3.6, 1.1))


ACCEPTANCE = {"skewed": skewed, "short answers": short, "bimodal": bimodal}


def micro(tokens: Floats, steps: Floats) -> Estimate:
    """Micro AL."""
    most = float(tokens.max())
    return ratio_estimate(
        tokens, steps, _one(tokens), LEVEL, lowest=(most, most), highest=(most, most / TOP)
    )


def macro(tokens: Floats, steps: Floats) -> Estimate:
    """Macro AL."""
    ones = np.ones_like(tokens)
    return ratio_estimate(
        tokens / steps, ones, _one(tokens), LEVEL, lowest=(1.0, 1.0), highest=(TOP, 1.0)
    )


def rate(accepted: Floats, drafted: Floats) -> Estimate:
    """Acceptance rate."""
    most = float(drafted.max())
    return ratio_estimate(
        accepted, drafted, _one(drafted), LEVEL, lowest=(0.0, most), highest=(most, most)
    )


def paired(old: Floats, new: Floats) -> Estimate:
    """ρ over outputs of equal length, from the steps of both builds."""
    tokens = np.maximum(old, new) * 1.5
    names = tuple(map(str, range(len(old))))
    strata = ("all",) * len(old)
    return PairedSums("whole", names, strata, tokens, old, tokens, new, 1.0).al_ratio(LEVEL, TOP)


def _drafts(draw: Draw) -> Draw:
    """Accepted of the three draft tokens of each step."""

    def drafts(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        tokens, steps = draw(rng, n)
        return tokens - steps, (TOP - 1) * steps

    return drafts


def _rebuilt(draw: Draw) -> Draw:
    """Steps of two builds: one prompt in five diverges and has other steps."""

    def steps(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        _, old = draw(rng, n)
        other = np.maximum(1, (old * rng.lognormal(0, 0.3, n)).round())
        return old, np.where(rng.random(n) < 0.2, other, old)

    return steps


# -- timing: seconds ------------------------------------------------------------------------------


def _seconds(draw: Callable[[np.random.Generator, int], Floats]) -> Draw:
    return lambda rng, n: (draw(rng, n), np.ones(n))


TIMES: dict[str, Draw] = {
    "even (sd 5 %)": _seconds(lambda rng, n: rng.lognormal(0, 0.05, n)),
    "skewed (log-normal, sd 1)": _seconds(lambda rng, n: rng.lognormal(0, 1, n)),
    "exponential": _seconds(lambda rng, n: rng.exponential(1, n)),
    "bimodal (one in five takes 5 times)": _seconds(
        lambda rng, n: np.where(rng.random(n) < 0.2, 5, 1) * rng.lognormal(0, 0.1, n)
    ),
    "bimodal (one in ten takes 5 times)": _seconds(
        lambda rng, n: np.where(rng.random(n) < 0.1, 5, 1) * rng.lognormal(0, 0.1, n)
    ),
}


def step_times(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Seconds and steps; long outputs have slower steps."""
    steps = np.maximum(2, rng.lognormal(3, 1, n)).round()
    return steps * (1 + steps / 200) * rng.lognormal(0, 0.2, n), steps


def timing(top: Floats, bottom: Floats) -> Estimate:
    """TTFT, user TPS, step time."""
    return positive_ratio(top, bottom, _one(top), LEVEL)


def _one(values: Floats) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.zeros(len(values), dtype=np.intp)


# -- rounds ---------------------------------------------------------------------------------------


def _rounds(spread: float, *, slow: float = 0.0) -> Draw:
    """Tokens/s of both arms; a share of the rounds is disturbed and a tenth slower."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        arms = rng.lognormal(0, spread, (2, n)) * np.where(rng.random((2, n)) < slow, 0.9, 1.0)
        return arms[0], arms[1]

    return draw


def speedup(with_sd: Floats, without: Floats) -> Estimate:
    """Geometric mean of the ratio over rounds."""
    return paired_speedup(list(with_sd), list(without), LEVEL)


POPULATIONS = (
    *(Population("AL, micro", name, draw, micro) for name, draw in ACCEPTANCE.items()),
    *(Population("AL, macro", name, draw, macro) for name, draw in ACCEPTANCE.items()),
    *(
        Population("acceptance rate", name, _drafts(draw), rate)
        for name, draw in ACCEPTANCE.items()
    ),
    *(
        Population("ratio of AL, new / old", name, _rebuilt(draw), paired)
        for name, draw in ACCEPTANCE.items()
    ),
    *(Population("TTFT, user TPS", name, draw, timing) for name, draw in TIMES.items()),
    Population("step time", "skewed, long outputs slower", step_times, timing),
    *(
        Population("speedup, output TPS", name, _rounds(0.02, slow=share), speedup)
        for name, share in {"even rounds": 0.0, "one round in ten disturbed": 0.1}.items()
    ),
)


def truth(population: Population) -> float:
    """The true value, from very many samples."""
    top, bottom = population.draw(np.random.default_rng(1), LARGE)
    if population.judge is speedup:
        return float(np.exp(np.log(top).mean() - np.log(bottom).mean()))
    if population.judge is macro:
        return float((top / bottom).mean())
    return float(top.sum() / bottom.sum())


def student(top: Floats, bottom: Floats) -> tuple[float, float]:
    """The delta method with Student's quantile."""
    value, error = delta.ratio(top, bottom, _one(top))
    half = delta.t_quantile(LEVEL, len(top) - 1) * error
    return value - half, value + half


def rows(repeats: int) -> Iterator[str]:
    """One row for each population and number of samples."""
    for population in POPULATIONS:
        value, rng = truth(population), np.random.default_rng(0)
        by_rounds = population.judge is speedup
        for n in ROUNDS if by_rounds else SAMPLES:
            covered, other, widths = 0, 0, []
            for _ in range(repeats):
                top, bottom = population.draw(rng, n)
                found = population.judge(top, bottom)
                assert found.low is not None
                assert found.high is not None
                covered += found.low <= value <= found.high
                widths.append((found.high - found.low) / value)
                if not by_rounds and population.judge is not macro:
                    low, high = student(top, bottom)
                    other += low <= value <= high
            beside = "" if by_rounds or population.judge is macro else f"{other / repeats:.1%}"
            yield (
                f"| {population.metric} | {population.name} | {n} | {covered / repeats:.1%} | "
                f"{np.median(widths):.0%} | {beside} |"
            )


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--out", type=Path, help="file for the table; standard output otherwise")
    options = parser.parse_args()
    lines = [
        "# Coverage of the shown intervals, measured",
        "",
        f"    python benchmarks/interval_coverage.py {' '.join(sys.argv[1:])}",
        "",
        f"{options.repeats:,} draws a cell: how often the 95 % interval holds the true value, and "
        "its median width relative to it. *Student's* is the interval that is not shown. n counts "
        "samples, or rounds for speedup and output TPS. The populations are those of the script; "
        "one cell is wrong by at most "
        f"{196 * (0.05 * 0.95 / options.repeats) ** 0.5:.1f} percentage points at 95 %.",
        "",
        "| estimate | population | n | covers | width | Student's |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        *rows(options.repeats),
    ]
    text = "\n".join(lines) + "\n"
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
