"""Two saved runs against each other: which cases belong together, and how each has done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_speedbench.baselines.schema import KEY_FIELDS, CaseKey, Record
from pytest_speedbench.baselines.storage import SavedRun
from pytest_speedbench.compare.gate import (
    Levels,
    check_same_samples,
    gate,
    margin_for,
    same_rounds,
    tps,
)
from pytest_speedbench.compare.match import (
    Match,
    compare_identity,
    identity_of,
    records_under_another_key,
)
from pytest_speedbench.compare.verdict import Verdict
from pytest_speedbench.errors import CliError
from pytest_speedbench.stats import (
    Attribution,
    NoData,
    SpeedRounds,
    attribute_change,
    divide_alpha,
)
from pytest_speedbench.stats.rule import REACH


@dataclass(frozen=True, slots=True)
class AxisMap:
    """Pairs different values of one part of the key on purpose: ``dl=3:5``."""

    axis: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Pair:
    """One case of both runs; ``match`` says what of it may be compared."""

    old: Record
    new: Record
    match: Match


@dataclass(frozen=True, slots=True)
class Judged:
    """A pair with an verdict for every gated metric."""

    pair: Pair
    verdicts: tuple[Verdict, ...]

    @property
    def acceptance(self) -> Verdict | None:
        return next((o for o in self.verdicts if o.metric == "acceptance_length"), None)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All pairs judged, what only one side has, and the error rates of it all."""

    judged: tuple[Judged, ...]
    only_old: tuple[CaseKey, ...]
    only_new: tuple[CaseKey, ...]
    levels: Levels
    count: int

    @property
    def verdicts(self) -> list[Verdict]:
        return [verdict for judged in self.judged for verdict in judged.verdicts]

    def regressed(self, inconclusive: str) -> bool:
        """Exit 1: a failing verdict, or nothing in common."""
        if not self.judged:
            return True
        return any(verdict.fails(inconclusive, require_baseline=False) for verdict in self.verdicts)

    def runs(self) -> list[tuple[Judged, ...]]:
        """The judged cases, those of one run together, in the new run's order."""
        groups: dict[tuple[object, ...], list[Judged]] = {}
        for judged in self.judged:
            groups.setdefault(_run_of(judged.pair), []).append(judged)
        return [tuple(group) for group in groups.values()]


def _run_of(pair: Pair) -> tuple[object, ...]:
    return tuple(
        getattr(record.case, name)
        for record in (pair.old, pair.new)
        for name in KEY_FIELDS
        if name != "slice"
    )


def judge_runs(
    old: SavedRun,
    new: SavedRun,
    margins: Mapping[str, float],
    alpha: float,
    maps: Sequence[AxisMap] = (),
    reach: float = REACH,
) -> Comparison:
    """Pairs the cases of two runs and gates each, α divided over all of it.

    Raises:
        CliError: a mapping names what the runs do not have.
    """
    partners = _partners(old, new, maps)
    pairs = [_pair(old, new, ours, theirs) for ours, theirs in partners.items()]
    metrics = list(dict.fromkeys(name.partition("/")[0] for name in margins))
    wanted = [[m for m in metrics if _gated(pair, m, margins)] for pair in pairs]
    count = sum(map(len, wanted))
    levels = Levels(alpha, divide_alpha(alpha, [1.0] * max(1, count))[0], reach)
    judged = tuple(
        Judged(pair, tuple(_judge(pair, metric, margins, levels) for metric in own))
        for pair, own in zip(pairs, wanted, strict=True)
    )
    paired = set(partners.values())
    return Comparison(
        judged,
        tuple(key for key in old.records if key not in paired),
        tuple(key for key in new.records if key not in partners),
        levels,
        count,
    )


def _gated(pair: Pair, metric: str, margins: Mapping[str, float]) -> bool:
    if metric == "speedup" and pair.new.spec.method == "none":
        return False
    return margin_for(dict(margins), metric, pair.new.case.slice) is not None


def _judge(pair: Pair, metric: str, margins: Mapping[str, float], levels: Levels) -> Verdict:
    margin = margin_for(dict(margins), metric, pair.new.case.slice)
    assert margin is not None
    return gate(str(pair.new.case), pair.new, pair.match, metric, margin, levels)


def _pair(old: SavedRun, new: SavedRun, ours: CaseKey, theirs: CaseKey) -> Pair:
    before, after = old.records[theirs], new.records[ours]
    match = compare_identity(before, old, identity_of(after))
    return Pair(match.record or before, after, match)


def _partners(old: SavedRun, new: SavedRun, maps: Sequence[AxisMap]) -> dict[CaseKey, CaseKey]:
    """New case → old case: the mapped ones first, the others by the same key."""
    mapped = {}
    for axis_map in maps:
        _check_map(axis_map, old.records, new.records)
    for key in old.records:
        target = _mapped(key, maps)
        if target != key and target in new.records:
            mapped[target] = key
    taken = set(mapped.values())
    same = {
        key: key
        for key in new.records
        if key in old.records and key not in mapped and key not in taken
    }
    both = mapped | same
    both |= _other_split_keys(old, new, both)
    return {key: both[key] for key in new.records if key in both}


def _other_split_keys(
    old: SavedRun, new: SavedRun, known: Mapping[CaseKey, CaseKey]
) -> dict[CaseKey, CaseKey]:
    """Cases of one split that was named, or changed in some rows, between the runs."""
    taken, found = set(known.values()), {}
    for key in (key for key in new.records if key not in known):
        others = records_under_another_key(old, identity_of(new.records[key]))
        free = [record.case for record in others if record.case not in taken]
        if free:
            found[key] = free[0]
            taken.add(free[0])
    return found


def _mapped(key: CaseKey, maps: Sequence[AxisMap]) -> CaseKey:
    """Where the maps lead: of several for one axis, the one that names the key's own value."""
    changed = {
        m.axis: int(m.new) if m.axis in ("dl", "bs") else m.new
        for m in maps
        if str(getattr(key, m.axis)) == m.old
    }
    return key.model_copy(update=changed)


def _check_map(axis_map: AxisMap, old: Iterable[CaseKey], new: Iterable[CaseKey]) -> None:
    for side, value, keys in (("OLD", axis_map.old, old), ("NEW", axis_map.new, new)):
        known = list(dict.fromkeys(str(getattr(key, axis_map.axis)) for key in keys))
        if value not in known:
            raise CliError(
                f"--map {axis_map.axis}={axis_map.old}:{axis_map.new}: {side} has no case with "
                f"{axis_map.axis}={value}; it has: {', '.join(known)}"
            )


def parse_map(text: str) -> AxisMap:
    """``dl=3:5`` → the axis and its two values.

    Raises:
        ValueError: not of this form, or an unknown axis.
    """
    axis, equals, values = text.partition("=")
    old, colon, new = values.partition(":")
    if not (equals and colon and old and new) or ":" in new:
        raise ValueError("want AXIS=OLD:NEW, such as dl=3:5")
    if axis not in KEY_FIELDS:
        raise ValueError(f"no axis {axis!r}; a case has: {', '.join(KEY_FIELDS)}")
    return AxisMap(axis, old, new)


def change_of_speed(pair: Pair) -> Attribution:
    """What a change of the run's speedup is due to.

    Raises:
        NoData: the timings cannot be compared, or the rounds do not tell; the reason says which.
    """
    if pair.match.timing:
        raise NoData("; ".join(pair.match.timing))
    check_same_samples(pair.old, pair.new)
    paired = same_rounds(pair.old, pair.new)
    return attribute_change(_rounds(pair.old), _rounds(pair.new), paired=paired)


def alternated(pair: Pair) -> bool:
    """Whether both runs measured their arms in turns; where not, intervals mean nothing."""
    found = [record.metric("speedup") for record in (pair.old, pair.new)]
    return all(metric is not None and metric.low is not None for metric in found)


def _rounds(record: Record) -> SpeedRounds:
    if not record.reference_rounds:
        raise NoData("no arm without SD on one side (--speed-rounds=0)")
    lengths = [r.acceptance_length for r in record.rounds]
    steps = [r.step_time for r in record.rounds]
    plain = [r.step_time for r in record.reference_rounds]
    if None in lengths or None in steps or None in plain:
        raise NoData("one side was saved without the step times of its rounds; measure it again")
    if len(record.rounds) != len(record.reference_rounds):
        raise NoData("the arms with and without SD have unequal numbers of rounds")
    return SpeedRounds(
        al=_known(lengths),
        sd_step_s=_known(steps),
        plain_step_s=_known(plain),
        sd_tps=tuple(tps(r) for r in record.rounds),
        plain_tps=tuple(tps(r) for r in record.reference_rounds),
    )


def _known(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(value for value in values if value is not None)
