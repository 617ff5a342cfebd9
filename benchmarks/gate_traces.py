"""Recorded traces as populations of paired samples, healthy or with an injected regression."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.stats.data import Floats, StepTrace
from pytest_speedbench.stats.pairing import PairedSums, Pairs, merge, pair
from pytest_speedbench.stats.rule import Scale, scale_of

RUNS = {
    "EAGLE-3 full vocabulary, DL 3": "eagle3-v49152-dl3",
    "EAGLE-3 4096 tokens, DL 3": "eagle3-v4096-dl3",
    "EAGLE-3 8192 tokens, DL 5": "eagle3-v8192-dl5",
    "n-gram, DL 3": "ngram3",
}
CHAT = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")

Run = dict[str, StepTrace]
Losses = Callable[[np.random.Generator, Sequence[StepTrace]], Floats]


@dataclass(frozen=True, slots=True)
class Population:
    """Paired samples that sessions are drawn from; each prompt appears once in either order."""

    name: str
    pairs: Pairs
    scale: Scale
    output_tokens: Floats

    @property
    def prefix(self) -> PairedSums:
        """Sums over common prefixes; these traces have token ids."""
        assert self.pairs.prefix is not None
        return self.pairs.prefix


def load(folder: Path, tag: str) -> dict[int, Run]:
    """Batch size → sample id → trace."""
    path = folder / f"vllm0.24-h100-smollm2-{tag}.json.gz"
    with gzip.open(path, "rt") as file:
        record = json.load(file)
    return {run["bs"]: _run(run["rows"]) for run in record["runs"]}


def _run(rows: list[dict[str, object]]) -> Run:
    traces: Run = {}
    for number, row in enumerate(rows):
        steps = np.array(row["steps"], dtype=np.int64)
        traces[str(row["id"])] = StepTrace(
            sample=str(row["id"]),
            stratum=_category(str(row["cat"]), number),
            turn=0,
            prefill_tokens=int(steps[0]),
            steps=steps[1:],
            token_ids=np.array(row["toks"], dtype=np.int64),
        )
    return traces


def _category(name: str, number: int) -> str:
    """Eleven categories out of Spec-Bench's six: each of the five large ones in two halves."""
    return "chat" if name in CHAT else f"{name}-{number // 2 % 2}"


def healthy(name: str, old: Run, new: Run) -> Population:
    """Two runs of one build, in either order, so that the true ratio is exactly 1."""
    return _both_orders(name, old, new, list(old.values()), list(new.values()))


def injected(name: str, old: Run, new: Run, losses: Losses, seed: int = 0) -> Population:
    """A healthy pair whose second run has been re-walked with lowered acceptance."""
    worse = [rewalk(list(run.values()), losses, seed) for run in (old, new)]
    return _both_orders(name, old, new, *worse)


def only(population: Population, stratum: str) -> Population:
    """The slice of one category."""
    inside = np.flatnonzero(np.asarray(population.prefix.strata) == stratum)
    prefix, whole = (_rows(s, inside) for s in (population.prefix, population.pairs.whole))
    scale = replace(population.scale, al=float(whole.old_tokens.sum() / whole.old_steps.sum()))
    scale = replace(scale, steps=float(whole.old_steps.mean()))
    scale = replace(scale, max_extra=float((whole.old_tokens - whole.old_steps).max()))
    scale = replace(scale, max_steps=float(whole.old_steps.max()))
    pairs = replace(population.pairs, prefix=prefix, whole=whole)
    return Population(stratum, pairs, scale, population.output_tokens[inside])


def _rows(sums: PairedSums, rows: NDArray[np.intp]) -> PairedSums:
    return replace(
        sums,
        samples=tuple(sums.samples[row] for row in rows),
        strata=tuple(sums.strata[row] for row in rows),
        old_tokens=sums.old_tokens[rows],
        old_steps=sums.old_steps[rows],
        new_tokens=sums.new_tokens[rows],
        new_steps=sums.new_steps[rows],
    )


def one_way(name: str, old: Run, new: Run) -> Population:
    """Two different builds: old against new only."""
    return _population(name, [pair(list(old.values()), list(new.values()))], list(old.values()))


def _both_orders(
    name: str, old: Run, new: Run, worse_old: list[StepTrace], worse_new: list[StepTrace]
) -> Population:
    common = [sample for sample in old if sample in new]
    a = [old[sample] for sample in common]
    b = [new[sample] for sample in common]
    there = [t for t in worse_new if t.sample in old]
    back = [t for t in worse_old if t.sample in new]
    return _population(name, [pair(a, there), pair(b, back)], a)


def _population(name: str, parts: list[Pairs], baseline: list[StepTrace]) -> Population:
    pairs = merge(parts)
    return Population(name, pairs, scale_of(baseline), pairs.whole.new_tokens + 1)


def rewalk(traces: Sequence[StepTrace], losses: Losses, seed: int) -> list[StepTrace]:
    """Walk each output again, with each accepted draft token rejected with a chance of its own.

    `losses` gives that chance per sample. After a rejection the next step starts inside an old
    one, where the drafts that were accepted there are taken to be proposed again; the walk falls
    into step with the old one at its next boundary.
    """
    rng = np.random.default_rng(seed)
    chances = losses(rng, traces)
    return [_rewalk_one(t, float(q), rng) for t, q in zip(traces, chances, strict=True)]


def _rewalk_one(trace: StepTrace, chance: float, rng: np.random.Generator) -> StepTrace:
    if chance <= 0 or not len(trace.steps):
        return trace
    ends = np.cumsum(trace.steps)
    total, position = int(ends[-1]), 0
    steps: list[int] = []
    # Tokens kept before the first rejection, for as many steps as there can be.
    kept = rng.geometric(min(chance, 1.0), size=total) - 1
    while position < total:
        end = int(ends[np.searchsorted(ends, position, side="right")])
        size = min(end - position, int(kept[len(steps)]) + 1)
        steps.append(size)
        position += size
    return StepTrace(
        trace.sample,
        trace.stratum,
        trace.turn,
        trace.prefill_tokens,
        np.array(steps, dtype=np.int64),
        trace.token_ids,
    )


def uneven(mean: float, variation: float) -> Losses:
    """Chances drawn per sample from a gamma distribution with this coefficient of variation."""

    def draw(rng: np.random.Generator, traces: Sequence[StepTrace]) -> Floats:
        shape = variation**-2
        return np.minimum(1.0, rng.gamma(shape, mean / shape, size=len(traces)))

    return draw


def rare(chance: float, share: float) -> Losses:
    """The same chance for a random `share` of the samples, none for the others."""

    def draw(rng: np.random.Generator, traces: Sequence[StepTrace]) -> Floats:
        return np.asarray(np.where(rng.random(len(traces)) < share, chance, 0.0))

    return draw


def confined(mean: float, stratum: str, variation: float = 1.0) -> Losses:
    """Uneven losses in one category only."""

    def draw(rng: np.random.Generator, traces: Sequence[StepTrace]) -> Floats:
        inside = np.array([float(trace.stratum == stratum) for trace in traces])
        return np.asarray(uneven(mean, variation)(rng, traces) * inside)

    return draw


def calibrated(
    name: str,
    old: Run,
    new: Run,
    losses: Callable[[float], Losses],
    target: float,
    seed: int = 0,
) -> Population:
    """The regression whose loss over common prefixes of the population is nearest `target`."""
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        if 1 - prefix_ratio(injected(name, old, new, losses(middle), seed)) < target:
            low = middle
        else:
            high = middle
    return injected(name, old, new, losses(high), seed)


def prefix_ratio(population: Population) -> float:
    """True ρ over common prefixes of a population."""
    return ratio(population.prefix)


def ratio(sums: PairedSums) -> float:
    """ρ of paired sums with every category weighing the same, as it does in a session."""
    _, codes, counts = np.unique(sums.strata, return_inverse=True, return_counts=True)
    weights = 1 / counts[codes]
    old = float(weights @ sums.old_tokens / (weights @ sums.old_steps))
    return float(weights @ sums.new_tokens / (weights @ sums.new_steps)) / old
