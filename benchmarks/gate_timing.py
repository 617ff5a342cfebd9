"""Error rates and power of the timing gate against saved sessions, by simulation.

A session has an offset that all its cases share, and rounds that follow a first-order
autoregressive process; all standard deviations are of log tokens/s. The decision is the shipped one
(``stats.timing.against_sessions``), vectorised; ``check`` holds it against the shipped function.
Beside it the rule that it replaced: Welch's interval over the rounds of two sessions.

    python benchmarks/gate_timing.py > benchmarks/results/gate_timing.md
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pytest_speedbench.stats import against_sessions
from pytest_speedbench.stats.data import Floats
from pytest_speedbench.stats.decision import Conclusion
from pytest_speedbench.stats.delta import t_quantile
from pytest_speedbench.stats.simulation import upper_limit

ROUND_SD = 0.01
CASES = 3
RATIOS, PHIS = (0, 1, 2), (0.0, 0.5, 0.8)
CHUNK = 2000


@dataclass(frozen=True, slots=True)
class Setting:
    """What is simulated: standard deviations of sessions over rounds, and their number."""

    ratio: float
    phi: float
    earlier: int
    rounds: int
    margin: float
    alpha: float


def draw(setting: Setting, change: float, number: int, seed: int) -> Iterator[Floats]:
    """Logs of tokens/s, shape (repetitions, cases, sessions, rounds), the new session last."""
    rng = np.random.default_rng(seed)
    shape = CASES, setting.earlier + 1, setting.rounds
    for start in range(0, number, CHUNK):
        count = min(CHUNK, number - start)
        logs = np.empty((count, *shape))
        innovations = rng.normal(0.0, 1.0, logs.shape)
        logs[..., 0] = innovations[..., 0]
        rest = math.sqrt(1 - setting.phi**2)
        for step in range(1, setting.rounds):
            logs[..., step] = setting.phi * logs[..., step - 1] + rest * innovations[..., step]
        logs *= ROUND_SD
        offsets = rng.normal(0.0, setting.ratio * ROUND_SD, (count, 1, setting.earlier + 1, 1))
        logs += offsets
        logs[:, :, -1] += math.log1p(change)
        yield logs


def verdicts(logs: Floats, setting: Setting) -> tuple[Floats, Floats]:
    """Whether the first case passes, and whether it fails, as `against_sessions` decides."""
    means = logs.mean(axis=-1)
    earlier, k = means[..., :-1], setting.earlier
    own = earlier.var(axis=-1, ddof=1)
    variance = np.maximum(own[:, 0], own.mean(axis=-1))
    change = means[:, 0, -1] - earlier[:, 0].mean(axis=-1)
    half = t_quantile(1 - 2 * setting.alpha, k - 1) * np.sqrt(variance * (1 + 1 / k))
    floor = math.log1p(-setting.margin)
    return change - half > floor, change + half < floor


def by_rounds(logs: Floats, setting: Setting) -> tuple[Floats, Floats]:
    """The rule that was replaced: rounds of the last two sessions as if they were independent."""
    old, new = logs[:, 0, -2], logs[:, 0, -1]
    error = np.sqrt((old.var(axis=-1, ddof=1) + new.var(axis=-1, ddof=1)) / setting.rounds)
    change = new.mean(axis=-1) - old.mean(axis=-1)
    half = t_quantile(1 - 2 * setting.alpha, 2 * (setting.rounds - 1)) * error
    floor = math.log1p(-setting.margin)
    return change - half > floor, change + half < floor


def check(setting: Setting) -> None:
    """Fails where the vectorised decision is not the shipped one."""
    for logs in draw(setting, -setting.margin, 20, 9):
        passed, failed = verdicts(logs, setting)
        for one, passes, fails in zip(np.exp(logs), passed, failed, strict=True):
            found = against_sessions(
                {str(case): list(one[case, :-1]) for case in range(CASES)},
                list(one[0, -1]),
                "0",
                margin=setting.margin,
                alpha=setting.alpha,
            ).conclusion
            assert passes == (found in (Conclusion.PASS, Conclusion.IMPROVED))
            assert fails == (found is Conclusion.FAIL)


def rates(setting: Setting, number: int) -> list[str]:
    """One row: false fail and false pass at the margin, power where nothing changed, and where
    twice the margin was lost; false pass of the former rule."""
    false_fail = false_pass = former = power = found = 0
    for logs in draw(setting, -setting.margin, number, 1):
        passed, failed = verdicts(logs, setting)
        false_pass, false_fail = false_pass + int(passed.sum()), false_fail + int(failed.sum())
        former += int(by_rounds(logs, setting)[0].sum())
    for logs in draw(setting, 0.0, number, 2):
        power += int(verdicts(logs, setting)[0].sum())
    for logs in draw(setting, -2 * setting.margin, number, 3):
        found += int(verdicts(logs, setting)[1].sum())
    return [
        str(setting.ratio),
        str(setting.phi),
        str(setting.earlier),
        str(setting.rounds),
        f"{false_fail / number:.2%} (≤ {upper_limit(false_fail, number):.2%})",
        f"{false_pass / number:.2%} (≤ {upper_limit(false_pass, number):.2%})",
        f"{power / number:.0%}",
        f"{found / number:.0%}",
        f"{former / number:.1%}",
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--margin", type=float, default=0.05)
    parser.add_argument("--alpha", type=float, default=0.01)
    options = parser.parse_args()
    print("# The timing gate against saved sessions\n")
    print(
        f"`python benchmarks/gate_timing.py`: {options.sessions:,} sessions a cell, margin "
        f"{options.margin:.0%}, α {options.alpha:.0%}, {CASES} cases that share the offset of a "
        f"session, sd of a round {ROUND_SD:.0%}. False verdicts at a loss of exactly the margin, "
        "with one-sided 95 % limits; power to pass where nothing changed, and to fail at twice the "
        "margin. The last column is the false pass of Welch's interval over rounds, the rule "
        "before.\n"
    )
    print(
        "| sd of sessions / rounds | φ | earlier sessions | rounds | false fail | false pass "
        "| pass, no change | fail, twice the margin | false pass by rounds |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for ratio in RATIOS:
        for phi in PHIS:
            for earlier, rounds in ((3, 5), (5, 5), (10, 5), (20, 5), (10, 20)):
                setting = Setting(ratio, phi, earlier, rounds, options.margin, options.alpha)
                check(setting)
                print(f"| {' | '.join(rates(setting, options.sessions))} |", flush=True)


if __name__ == "__main__":
    main()
