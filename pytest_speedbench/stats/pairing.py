"""Pair two runs by sample and turn: whole outputs, length-matched, and over the common prefix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats import delta
from pytest_speedbench.stats.data import (
    Floats,
    Ints,
    RequestTrace,
    StepTrace,
    clusters,
    steps_of,
    stratum_codes,
)
from pytest_speedbench.stats.estimates import MIN_CLUSTERS, Estimate, check_level

Evidence = Literal["whole", "matched", "prefix"]


@dataclass(frozen=True, slots=True, eq=False)
class PairedSums:
    """Tokens and decoding steps of each paired sample in both runs.

    The four arrays have shape (clusters,). `coverage` is the share of both runs' decoded tokens
    (of the paired turns) that the sums rest on. Steps may be fractions, where a cut straddles one.
    """

    evidence: Evidence
    samples: tuple[str, ...]
    strata: tuple[str, ...]
    old_tokens: Floats
    old_steps: Floats
    new_tokens: Floats
    new_steps: Floats
    coverage: float

    @property
    def codes(self) -> NDArray[np.intp]:
        """Stratum numbers, shape (clusters,)."""
        return stratum_codes(self.strata)

    def al_ratio(self, level: float = 0.95) -> Estimate:
        """ρ = AL new / AL old, with a delta-method interval on the log scale.

        Raises:
            NoData: no tokens or steps in one of the runs.
        """
        check_level(level)
        codes = self.codes
        log_value, error = delta.log_ratio_of_ratios(
            (self.new_tokens, self.new_steps), (self.old_tokens, self.old_steps), codes
        )
        value, n = float(np.exp(log_value)), len(codes)
        if n < MIN_CLUSTERS:
            return Estimate(value, None, None, n, level)
        factor = float(np.exp(delta.t_quantile(level, delta.degrees_of_freedom(codes)) * error))
        return Estimate(value, value / factor, value * factor, n, level)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Two runs, paired.

    `parted` of `compared` outputs differ in a token or in length; a turn is compared only while
    the conversation so far is the same. `prefix` is None where there is none to find, and
    `no_prefix` says why; `matched` is None where an engine tells no steps.
    Turns of one run without a partner in the other are listed as "sample" or "sample#turn".
    """

    whole: PairedSums
    matched: PairedSums | None
    prefix: PairedSums | None
    parted: int
    compared: int
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    no_prefix: str = ""

    @property
    def parting_rate(self) -> float | None:
        """Share of compared outputs that part; None without token ids."""
        return self.parted / self.compared if self.compared else None


@dataclass(slots=True)
class _Cluster:
    whole: Floats
    matched: Floats | None
    prefix: Floats
    parted: int = 0
    compared: int = 0


def no_prefix(traces: Iterable[RequestTrace]) -> str:
    """Why no greedy output has a prefix to compare over; empty where one has."""
    steps = [trace for trace in traces if isinstance(trace, StepTrace)]
    if not steps:
        return "the engine tells totals of a request and no steps"
    if any(trace.token_ids is None for trace in steps):
        return "without a common prefix of tokens"
    return ""


def pair(old: Sequence[RequestTrace], new: Sequence[RequestTrace], *, greedy: bool = True) -> Pairs:
    """Pair by sample id and turn; sampled outputs (not `greedy`) have no meaningful prefix.

    A request of which one run has totals alone adds nothing to the prefix, and lowers its coverage.

    Raises:
        NoData: the runs have no sample in common, or an engine does not tell its number of steps.
        ValueError: a turn twice in one run, or a sample whose stratum differs between the runs.
    """
    olds, news = clusters(old), clusters(new)
    common = [sample for sample in olds if sample in news]
    sums: list[_Cluster] = []
    samples: list[str] = []
    strata: list[str] = []
    why = next(
        filter(None, (no_prefix(t for s in common for t in run[s]) for run in (olds, news))), ""
    )
    if not greedy:
        why = why or "without a common prefix of tokens"
    for sample in common:
        turns = _common_turns(olds[sample], news[sample])
        if turns:
            sums.append(_cluster(turns, not why))
            samples.append(sample)
            strata.append(turns[0][0].stratum)
    if not sums:
        raise NoData(f"the runs have no sample in common ({len(olds)} and {len(news)} samples)")
    return _assemble(sums, samples, strata, why, _unmatched(olds, news), _unmatched(news, olds))


def common_prefix(old: Ints, new: Ints) -> int:
    """Length of the common prefix of two token or running-digest arrays, in tokens."""
    n = min(len(old), len(new))
    differs = np.flatnonzero(old[:n] != new[:n])
    return int(differs[0]) if len(differs) else n


def steps_until(trace: StepTrace, cut: int) -> float:
    """Decoding steps within the first `cut` output tokens, a straddling step by its fraction.

    Dropping or keeping the straddling step would favour long or short steps. With its fraction the
    expected count is cut/AL wherever the cut falls, up to a tenth of a step that comes from
    starting at a boundary and that both arms share (renewal theory, Cox 1962, 4.2).
    """
    ends = trace.prefill_tokens + np.cumsum(trace.steps)
    whole = int(np.searchsorted(ends, cut, side="right"))
    if whole == len(ends):
        return float(whole)
    start = int(ends[whole]) - int(trace.steps[whole])
    return whole + max(0, cut - start) / int(trace.steps[whole])


def _common_turns(
    old: list[RequestTrace], new: list[RequestTrace]
) -> list[tuple[RequestTrace, RequestTrace]]:
    partners = {trace.turn: trace for trace in new}
    turns = [(trace, partners[trace.turn]) for trace in old if trace.turn in partners]
    for before, after in turns:
        if before.stratum != after.stratum:
            raise ValueError(
                f"sample {before.sample!r} is {before.stratum!r} in the old run"
                f" and {after.stratum!r} in the new"
            )
    return turns


def _cluster(turns: list[tuple[RequestTrace, RequestTrace]], has_ids: bool) -> _Cluster:
    result = _Cluster(np.zeros(4), np.zeros(4), np.zeros(4))
    same_so_far, expected_turn = has_ids, 0
    for old, new in turns:
        result.whole += np.array(
            [old.decode_tokens, steps_of(old), new.decode_tokens, steps_of(new)], dtype=np.float64
        )
        if not (isinstance(old, StepTrace) and isinstance(new, StepTrace)):
            result.matched, same_so_far = None, False
            continue
        if result.matched is not None:
            result.matched += _until(old, new, min(old.output_tokens, new.output_tokens))
        # A missing turn breaks the conversation as a differing one does.
        if not same_so_far or old.turn != expected_turn:
            same_so_far = False
            continue
        assert old.token_ids is not None
        assert new.token_ids is not None
        cut = common_prefix(old.token_ids, new.token_ids)
        same_so_far = cut == old.output_tokens == new.output_tokens
        result.prefix += _until(old, new, cut)
        result.compared += 1
        result.parted += not same_so_far
        expected_turn += 1
    return result


def _until(old: StepTrace, new: StepTrace, cut: int) -> Floats:
    """(old tokens, old steps, new tokens, new steps) within the first `cut` output tokens."""
    numbers: list[float] = []
    for trace in (old, new):
        tokens = min(cut, trace.output_tokens) - trace.prefill_tokens
        numbers += [float(max(0, tokens)), steps_until(trace, cut)]
    return np.array(numbers)


def _unmatched(
    mine: dict[str, list[RequestTrace]], theirs: dict[str, list[RequestTrace]]
) -> tuple[str, ...]:
    lonely: list[str] = []
    for sample, turns in mine.items():
        if sample not in theirs:
            lonely.append(sample)
            continue
        known = {trace.turn for trace in theirs[sample]}
        lonely += [f"{sample}#{trace.turn}" for trace in turns if trace.turn not in known]
    return tuple(lonely)


def _assemble(
    sums: list[_Cluster],
    samples: list[str],
    strata: list[str],
    why_no_prefix: str,
    only_old: tuple[str, ...],
    only_new: tuple[str, ...],
) -> Pairs:
    whole = np.array([cluster.whole for cluster in sums])
    everything = float(whole[:, [0, 2]].sum())

    def columns(evidence: Evidence, table: Floats) -> PairedSums:
        covered = float(table[:, [0, 2]].sum()) / everything if everything else 0.0
        return PairedSums(evidence, tuple(samples), tuple(strata), *_columns(table), covered)

    lengths = [cluster.matched for cluster in sums if cluster.matched is not None]
    stepwise = len(lengths) == len(sums)
    prefix = None if why_no_prefix else np.array([cluster.prefix for cluster in sums])
    return Pairs(
        whole=columns("whole", whole),
        matched=columns("matched", np.array(lengths)) if stepwise else None,
        prefix=None if prefix is None else columns("prefix", prefix),
        parted=sum(cluster.parted for cluster in sums),
        compared=sum(cluster.compared for cluster in sums),
        only_old=only_old,
        only_new=only_new,
        no_prefix=why_no_prefix,
    )


def merge(parts: Sequence[Pairs]) -> Pairs:
    """Join pairings of disjoint sets of samples, in order.

    Raises:
        NoData: nothing to join.
    """
    if not parts:
        raise NoData("no blocks of samples yet")
    return Pairs(
        whole=_merge_sums([part.whole for part in parts]),
        matched=_merge_known([part.matched for part in parts]),
        prefix=_merge_known([part.prefix for part in parts]),
        parted=sum(part.parted for part in parts),
        compared=sum(part.compared for part in parts),
        only_old=tuple(name for part in parts for name in part.only_old),
        only_new=tuple(name for part in parts for name in part.only_new),
        no_prefix=next((part.no_prefix for part in parts if part.no_prefix), ""),
    )


def _columns(table: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


def _merge_known(parts: Sequence[PairedSums | None]) -> PairedSums | None:
    known = [part for part in parts if part is not None]
    return _merge_sums(known) if len(known) == len(parts) else None


def _merge_sums(parts: Sequence[PairedSums]) -> PairedSums:
    tokens = [float(part.old_tokens.sum() + part.new_tokens.sum()) for part in parts]
    everything = sum(t / part.coverage for t, part in zip(tokens, parts, strict=True) if t)
    return PairedSums(
        evidence=parts[0].evidence,
        samples=tuple(name for part in parts for name in part.samples),
        strata=tuple(name for part in parts for name in part.strata),
        old_tokens=np.concatenate([part.old_tokens for part in parts]),
        old_steps=np.concatenate([part.old_steps for part in parts]),
        new_tokens=np.concatenate([part.new_tokens for part in parts]),
        new_steps=np.concatenate([part.new_steps for part in parts]),
        coverage=sum(tokens) / everything if everything else 0.0,
    )
