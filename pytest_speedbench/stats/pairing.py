"""Pair two runs by sample and turn: whole outputs, and the common prefix of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from pytest_speedbench.errors import NoData, RecordError
from pytest_speedbench.stats.data import (
    Floats,
    Ints,
    RequestTrace,
    StepTrace,
    clusters,
    steps_of,
)
from pytest_speedbench.stats.sums import (
    Evidence,
    PairedSums,
    ReplayedSums,
    merge_replayed,
    merge_sums,
)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Two runs, paired.

    `diverged` of `compared` outputs differ in a token or in length; a turn is compared only while
    the conversation so far is the same. `prefix` is None where there is none to find, and
    `no_prefix` says why. `replay` is None where nothing was replayed.
    Turns of one run without a partner in the other are listed as "sample" or "sample#turn".
    """

    whole: PairedSums
    prefix: PairedSums | None
    diverged: int
    compared: int
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]
    no_prefix: str = ""
    replay: ReplayedSums | None = None

    @property
    def divergence_rate(self) -> float | None:
        """Share of compared outputs that differ; None without token ids."""
        return self.diverged / self.compared if self.compared else None


Counts: TypeAlias = tuple[int, int, int, int]
"""Old tokens, old steps, new tokens, new steps."""
_NOTHING: Counts = (0, 0, 0, 0)


@dataclass(slots=True)
class _Cluster:
    """One sample: what each of its turns adds."""

    whole: list[Counts] = field(default_factory=list)
    prefix: list[Counts] = field(default_factory=list)
    diverged: int = 0
    compared: int = 0


def no_prefix(traces: Iterable[RequestTrace]) -> str:
    """Why no greedy output has a prefix to compare over; empty where one has."""
    steps = [trace for trace in traces if isinstance(trace, StepTrace)]
    if not steps:
        return "the engine reports totals of a request and no steps"
    if any(trace.token_ids is None for trace in steps):
        return "without a common prefix of tokens"
    return ""


def pair(old: Sequence[RequestTrace], new: Sequence[RequestTrace], *, greedy: bool = True) -> Pairs:
    """Pair by sample id and turn; sampled outputs (not `greedy`) have no meaningful prefix.

    A request of which one run has totals alone adds nothing to the prefix, and lowers its coverage.

    Raises:
        NoData: the runs have no sample in common, or an engine does not report its number of steps.
        ValueError: a turn twice in one run.
        RecordError: a sample whose stratum differs between the runs.
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


def _common_turns(
    old: list[RequestTrace], new: list[RequestTrace]
) -> list[tuple[RequestTrace, RequestTrace]]:
    partners = {trace.turn: trace for trace in new}
    turns = [(trace, partners[trace.turn]) for trace in old if trace.turn in partners]
    for before, after in turns:
        if before.stratum != after.stratum:
            raise RecordError(
                f"sample {before.sample!r} has category {before.stratum!r} in the old run and "
                f"{after.stratum!r} in the new: one of the two records was changed"
            )
    return turns


def _cluster(turns: list[tuple[RequestTrace, RequestTrace]], has_ids: bool) -> _Cluster:
    result = _Cluster()
    same_so_far, expected_turn = has_ids, 0
    for old, new in turns:
        result.whole.append((old.decode_tokens, steps_of(old), new.decode_tokens, steps_of(new)))
        if not (isinstance(old, StepTrace) and isinstance(new, StepTrace)):
            same_so_far = False
            continue
        # A missing turn breaks the conversation as a differing one does.
        if not same_so_far or old.turn != expected_turn:
            same_so_far = False
            continue
        assert old.token_ids is not None
        assert new.token_ids is not None
        same = common_prefix(old.token_ids, new.token_ids)
        same_so_far = same == old.output_tokens == new.output_tokens
        result.prefix.append(_whole_steps(old, new, None if same_so_far else same))
        result.compared += 1
        result.diverged += not same_so_far
        expected_turn += 1
    return result


def starts_of(trace: StepTrace) -> Ints:
    """Position in the output, from 0, of the first token of every decoding step."""
    return np.asarray(trace.prefill_tokens + np.cumsum(trace.steps) - trace.steps)


def last_common_start(old: Ints, new: Ints, divergence: int) -> int | None:
    """Last position up to the divergence where both runs start a step; None if there is none.

    Args:
        old: where the old run's steps start, rising.
        new: where the new run's steps start, rising.
        divergence: position of the first token that differs.
    """
    if not len(new):
        return None
    before = old[: np.searchsorted(old, divergence, side="right")]
    # Of each the nearest at or before it; where there is none, the last of all, which is no match.
    nearest = new[np.searchsorted(new, before, side="right") - 1]
    common = before[nearest == before]
    return int(common[-1]) if len(common) else None


def _whole_steps(old: StepTrace, new: StepTrace, divergence: int | None) -> Counts:
    """Tokens and steps up to the cut, all of both runs without one.

    Cutting where both start a step treats the two runs alike, so that the difference of their
    steps has mean zero where they are exchangeable, whatever the law of the steps; a cut at the
    divergence itself lies within a step of one, and favours long or short steps however it counts.
    """
    if divergence is None:
        return old.decode_tokens, old.step_count, new.decode_tokens, new.step_count
    starts = starts_of(old), starts_of(new)
    cut = last_common_start(*starts, divergence)
    if cut is None:
        return _NOTHING
    before, after = (int(np.searchsorted(where, cut)) for where in starts)
    return cut - old.prefill_tokens, before, cut - new.prefill_tokens, after


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
    whole = _totals(cluster.whole for cluster in sums)
    everything = float(whole[:, [0, 2]].sum())

    def columns(evidence: Evidence, table: Floats) -> PairedSums:
        covered = float(table[:, [0, 2]].sum()) / everything if everything else 0.0
        return PairedSums(evidence, tuple(samples), tuple(strata), *_columns(table), covered)

    prefix = None if why_no_prefix else _totals(cluster.prefix for cluster in sums)
    return Pairs(
        whole=columns("whole", whole),
        prefix=None if prefix is None else columns("prefix", prefix),
        diverged=sum(cluster.diverged for cluster in sums),
        compared=sum(cluster.compared for cluster in sums),
        only_old=only_old,
        only_new=only_new,
        no_prefix=why_no_prefix,
    )


def _totals(samples: Iterable[Sequence[Counts]]) -> Floats:
    """The sum over the turns of each sample; shape (samples, 4)."""
    sums = [[sum(column) for column in zip(_NOTHING, *turns, strict=True)] for turns in samples]
    return np.array(sums, dtype=np.float64)


def merge(parts: Sequence[Pairs]) -> Pairs:
    """Join pairings of disjoint sets of samples, in order.

    Raises:
        NoData: nothing to join.
    """
    if not parts:
        raise NoData("no blocks of samples yet")
    return Pairs(
        whole=merge_sums([part.whole for part in parts]),
        prefix=_merge_known([part.prefix for part in parts]),
        diverged=sum(part.diverged for part in parts),
        compared=sum(part.compared for part in parts),
        only_old=tuple(name for part in parts for name in part.only_old),
        only_new=tuple(name for part in parts for name in part.only_new),
        no_prefix=next((part.no_prefix for part in parts if part.no_prefix), ""),
        replay=_merge_replayed([part.replay for part in parts]),
    )


def _columns(table: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


def _merge_known(parts: Sequence[PairedSums | None]) -> PairedSums | None:
    known = [part for part in parts if part is not None]
    return merge_sums(known) if len(known) == len(parts) else None


def _merge_replayed(parts: Sequence[ReplayedSums | None]) -> ReplayedSums | None:
    known = [part for part in parts if part is not None]
    return merge_replayed(known) if len(known) == len(parts) else None
