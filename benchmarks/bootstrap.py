"""CPU seconds of the stratified cluster bootstrap, beside its closed-form twin.

    python benchmarks/bootstrap.py

Prints the CPU seconds of 10,000 resamples of 880 requests in eleven strata (the median of seven
measurements), those of the delta method, and both 95 % intervals of a paired AL ratio.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from pytest_speedbench.stats import delta
from pytest_speedbench.stats.bootstrap import ratio_of_ratios_interval

STRATA, EACH = 11, 80
REPEATS = 7


def measured(work: Callable[[], tuple[float, float]]) -> tuple[float, tuple[float, float]]:
    """Median CPU seconds of `work`, and what it returns."""
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        found = work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), found


def main() -> None:
    """Print one row for each method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--resamples", type=int, default=10_000)
    resamples = parser.parse_args().resamples
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(STRATA), EACH)
    tokens = rng.integers(20, 192, len(codes)).astype(float)
    old = (tokens, tokens / rng.normal(2.2, 0.3, len(codes)).clip(1, 4))
    new = (tokens, old[1] * rng.normal(1.0, 0.02, len(codes)))

    def bootstrap() -> tuple[float, float]:
        return ratio_of_ratios_interval(new, old, codes, resamples=resamples)

    def closed_form() -> tuple[float, float]:
        value, error = delta.log_ratio_of_ratios(new, old, codes)
        half = delta.t_quantile(0.95, delta.degrees_of_freedom(codes)) * error
        return float(np.exp(value - half)), float(np.exp(value + half))

    closed_form()  # imports scipy
    print(f"{len(codes)} requests, {STRATA} strata, {resamples:,} resamples")
    for name, work in (("bootstrap", bootstrap), ("delta method", closed_form)):
        seconds, (low, high) = measured(work)
        print(f"{name:<13} {seconds:8.4f} s   [{low:.5f}, {high:.5f}]")


if __name__ == "__main__":
    main()
