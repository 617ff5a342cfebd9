"""Two saved runs against each other: which cases belong together, and the verdict on each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_speedbench.baselines.case_key import KEY_FIELDS, CaseKey
from pytest_speedbench.baselines.outcome import GateRecord
from pytest_speedbench.baselines.schema import Record, problem_of
from pytest_speedbench.baselines.storage import SavedRun
from pytest_speedbench.compare.family import Family
from pytest_speedbench.compare.judge import DEFAULT_MARGINS, Judge, JudgedCase
from pytest_speedbench.compare.match import Match, identity_of, match_in
from pytest_speedbench.compare.sessions import before
from pytest_speedbench.compare.side_by_side import match_side
from pytest_speedbench.compare.verdict import Verdict
from pytest_speedbench.errors import UsageError, did_you_mean
from pytest_speedbench.escapes import html_table, text_table
from pytest_speedbench.quantities import change_of
from pytest_speedbench.stats.rule import REACH

DEFAULT_ALPHA = 0.01


@dataclass(frozen=True, slots=True)
class AxisMap:
    """Pairs different values of one part of the key on purpose: ``dl=3:5``."""

    axis: str
    old: object
    new: object


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two saved runs, case by case.

    Attributes:
        old: the baseline.
        new: the run under test.
        cases: every case of ``new`` with its verdicts; *no baseline* where ``old`` has no record of
            it.
        only_old: cases of ``old`` that have no partner in ``new``.
        judge: margins and error rates.
    """

    old: SavedRun
    new: SavedRun
    cases: tuple[JudgedCase, ...]
    only_old: tuple[CaseKey, ...]
    judge: Judge

    @property
    def paired(self) -> tuple[JudgedCase, ...]:
        """The cases that both runs have."""
        return tuple(case for case in self.cases if case.old is not None)

    @property
    def only_new(self) -> tuple[CaseKey, ...]:
        """Cases of NEW that have no partner in OLD."""
        return tuple(case.new.case for case in self.cases if case.old is None)

    @property
    def compared(self) -> bool:
        """Whether any metric of any case was compared."""
        return any(case.compared for case in self.cases)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All verdicts, case by case."""
        return tuple(verdict for case in self.cases for verdict in case.verdicts)

    def fails(self, inconclusive: str = "warn") -> bool:
        """Whether any verdict fails; *no baseline* does not."""
        return any(verdict.fails(inconclusive, require_baseline=False) for verdict in self.verdicts)

    def _cells(self) -> Iterator[tuple[str, ...]]:
        """The verdict on each case."""
        yield "case", "metric", "change", "verdict", "reason"
        for verdict in self.verdicts:
            shown = ", ".join(filter(None, (verdict.outcome.value, verdict.certainty)))
            yield verdict.case, verdict.metric, _change(verdict), shown, verdict.reason

    def __repr__(self) -> str:
        return text_table(self._cells())

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        head, *rows = self._cells()
        return html_table(head, rows)

    def runs(self) -> list[tuple[JudgedCase, ...]]:
        """The paired cases, those of one run together, in the order of NEW."""
        groups: dict[tuple[object, ...], list[JudgedCase]] = {}
        for case in self.paired:
            groups.setdefault(_run_of(case), []).append(case)
        return [tuple(group) for group in groups.values()]


def _change(verdict: Verdict) -> str:
    return "–" if verdict.ratio is None else change_of(verdict.ratio)


def _run_of(case: JudgedCase) -> tuple[object, ...]:
    assert case.old is not None
    return tuple(
        getattr(record.case, name)
        for record in (case.old, case.new)
        for name in KEY_FIELDS
        if name != "slice"
    )


def compare_runs(
    old: SavedRun,
    new: SavedRun,
    margins: Mapping[str, float] = DEFAULT_MARGINS,
    alpha: float | None = None,
    maps: Sequence[AxisMap] = (),
    reach: float | None = None,
    saved: Callable[[], Sequence[SavedRun]] = tuple,
) -> Comparison:
    """Pairs the cases of two runs and judges each.

    A side-by-side session compared with itself: each case with that of the reference build.

    The family of comparisons is that of NEW, as its records say; a run saved by an early version
    has its own cases as the family.

    Args:
        old: the baseline.
        new: the run under test.
        margins: ``METRIC`` or ``METRIC/SLICE`` → loss that is still accepted, as a share.
        alpha: P(any false *fail*), and P(false *pass*) of each single case; None: that of the
            session that measured NEW, else 1%.
        maps: pairs different cases on purpose.
        reach: smallest share of samples that a loss is assumed to affect; None: as NEW's, else 12%.
        saved: lists the saved runs, oldest first, among which a timing's earlier sessions are.

    Raises:
        UsageError: a map names what the runs do not have.
    """
    partners = _partners(old, new, maps)
    records = new.measured
    judge = _judge(margins, alpha, reach, records)
    earlier = before(new, saved)
    matches = (replace(_match(old, record, partners), earlier=earlier) for record in records)
    cases = tuple(map(judge.judge, records, matches))
    paired = {case.old.case for case in cases if case.old is not None}
    return Comparison(
        old, new, cases, tuple(key for key in old.records if key not in paired), judge
    )


def _judge(
    margins: Mapping[str, float],
    alpha: float | None,
    reach: float | None,
    records: Sequence[Record],
) -> Judge:
    """The judge of the session that measured ``records``, but with the given error rates."""
    gate = next((record.gate for record in records if record.gate), None)
    if gate is None:
        gate = GateRecord(alpha=DEFAULT_ALPHA, cases=len(records), reach=REACH)
    family = Family(gate.alpha if alpha is None else alpha, gate.cases)
    return Judge(margins, family, gate.reach if reach is None else reach)


def _match(old: SavedRun, new: Record, partners: Mapping[CaseKey, CaseKey]) -> Match:
    identity = identity_of(new)
    if new.side and (beside := match_side(identity, new.side, old.reference_build)):
        return beside
    mapped = partners.get(new.case)
    if mapped is not None:
        across = frozenset(n for n in KEY_FIELDS if getattr(mapped, n) != getattr(new.case, n))
        identity = replace(identity, case=mapped, across=across)
    elif new.case in partners.values():  # its own partner is taken by another case
        return Match()
    return match_in(old, identity)


def _partners(old: SavedRun, new: SavedRun, maps: Sequence[AxisMap]) -> dict[CaseKey, CaseKey]:
    """New case → old case, for those that a map pairs; the others have equal keys."""
    for axis_map in maps:
        _check_map(axis_map, old.records, new.records)
    pairs = ((key, _mapped(key, maps)) for key in old.records)
    return {target: key for key, target in pairs if target != key and target in new.records}


def _mapped(key: CaseKey, maps: Sequence[AxisMap]) -> CaseKey:
    """The key that the maps lead to; of several maps for one axis, the one of its value counts."""
    changed = {m.axis: m.new for m in maps if getattr(key, m.axis) == m.old}
    return key.model_copy(update=changed)


def _check_map(axis_map: AxisMap, old: Iterable[CaseKey], new: Iterable[CaseKey]) -> None:
    for side, value, keys in (("OLD", axis_map.old, old), ("NEW", axis_map.new, new)):
        known = list(dict.fromkeys(getattr(key, axis_map.axis) for key in keys))
        if value not in known:
            raise UsageError(
                f"--map {axis_map.axis}={axis_map.old}:{axis_map.new}: {side} has no case with "
                f"{axis_map.axis}={value}; it has: {', '.join(map(str, known))}"
            )


def parse_map(text: str) -> AxisMap:
    """``dl=3:5`` → the axis and its two values, in the type of the axis.

    Raises:
        ValueError: not of this form, an unknown axis, or twice the same value.
    """
    axis, equals, values = text.partition("=")
    old, colon, new = values.partition(":")
    if not (equals and colon and old and new) or ":" in new:
        raise ValueError("expected AXIS=OLD:NEW, such as dl=3:5")
    if axis not in KEY_FIELDS:
        raise ValueError(
            f"no axis {axis!r}{did_you_mean(axis, KEY_FIELDS)}; a case has: {', '.join(KEY_FIELDS)}"
        )
    pair = AxisMap(axis, _axis_value(axis, old), _axis_value(axis, new))
    if pair.old == pair.new:
        raise ValueError("both values are the same: such cases are paired without a map")
    return pair


def _axis_value(axis: str, text: str) -> object:
    from pydantic import TypeAdapter, ValidationError

    try:
        kind: Any = CaseKey.model_fields[axis].annotation
        return TypeAdapter(kind).validate_python(text)
    except ValidationError as error:
        raise ValueError(f"{axis}: {problem_of(error.errors()[0])}") from None
