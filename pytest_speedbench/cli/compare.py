"""``speedbench compare OLD NEW``: has anything fallen by more than its margin?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pytest_speedbench.cli.arguments import (
    DEFAULT_REACH,
    DEFAULT_STORAGE,
    Reach,
    Storage,
    find_run,
    margins,
    reach_share,
    read,
    share,
    store_at,
)
from pytest_speedbench.cli.output import (
    NOTHING,
    WORD_STYLES,
    Justify,
    Lines,
    change,
    change_interval,
)

if TYPE_CHECKING:
    from pytest_speedbench.baselines.schema import CaseKey, Record
    from pytest_speedbench.baselines.storage import SavedRun
    from pytest_speedbench.compare.comparison import Comparison, Judged, Pair
    from pytest_speedbench.compare.verdict import Verdict
    from pytest_speedbench.stats import Estimate

REGRESSION = 1
"""Exit code for a regression, or for runs that cannot be compared."""

_COLUMNS: tuple[tuple[str, Justify], ...] = (
    ("slice", "left"),
    ("AL old", "right"),
    ("AL new", "right"),
    ("change", "right"),
    ("95 %", "right"),
    ("over", "right"),
    ("verdict", "left"),
)
_MOST_NAMED = 6
_MOST_OPEN = 3


def compare(
    old: Annotated[
        str, typer.Argument(metavar="OLD", help="Number, name, file, commit or branch.")
    ],
    new: Annotated[
        str, typer.Argument(metavar="NEW", help="Number, name, file, commit or branch.")
    ],
    fail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC:MARGIN",
            help="Loss that is still accepted; METRIC/SLICE for one slice. "
            "[default: acceptance_length:2%]",
        ),
    ] = None,
    alpha: Annotated[str, typer.Option(metavar="SHARE", help="Error rate of the gate.")] = "1%",
    inconclusive: Annotated[
        Literal["pass", "warn", "fail"], typer.Option(help="What undecided does.")
    ] = "warn",
    axis_map: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="AXIS=OLD:NEW", help="Pair different cases: dl=3:5."),
    ] = None,
    reach: Reach = DEFAULT_REACH,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Compare two saved runs, case by case.

    Exit code 0: no regression; 1: fail, speculation off, incomparable or nothing in common (and
    undecided under --inconclusive=fail); 2: unreadable input or wrong usage.
    """
    from pytest_speedbench.compare.comparison import judge_runs, parse_map

    allowed = margins(fail or [])
    level = share("--alpha", alpha)
    maps = [read("--map", text, parse_map) for text in axis_map or []]
    store = store_at(storage)
    before, after = find_run(store, old), find_run(store, new)
    comparison = judge_runs(before, after, allowed, level, maps, reach_share(reach))
    _show(Lines(), before, after, comparison)
    if comparison.regressed(inconclusive):
        raise typer.Exit(REGRESSION)


def _show(out: Lines, old: SavedRun, new: SavedRun, comparison: Comparison) -> None:
    out.line(f"OLD  {old}")
    out.line(f"NEW  {new}")
    out.line()
    for group in comparison.runs():
        _show_run(out, group)
    _show_reasons(out, comparison)
    for side, run, keys in (
        ("OLD", old, comparison.only_old),
        ("NEW", new, comparison.only_new),
    ):
        if keys:
            out.line(f"only in {side} ({run.number}): {_named(keys)}", "yellow")
    if not comparison.judged:
        out.line(
            "nothing in common: no case of NEW has a record in OLD "
            "(--map AXIS=OLD:NEW pairs different cases on purpose)",
            "red",
        )
        return
    out.line(_verdicts(comparison), "bold")
    levels = comparison.levels
    out.line(
        f"α = {levels.alpha:g} for false fails of this comparison, {levels.fail_alpha:.2g} for "
        f"each of {comparison.count}; {levels.alpha:g} for a false pass of any one case"
    )


def _show_run(out: Lines, group: Sequence[Judged]) -> None:
    pair = group[0].pair
    out.line(_title(pair), "bold")
    rows = [_row(judged) for judged in group]
    styles = [WORD_STYLES.get(row[-1], "") for row in rows]
    out.table(_COLUMNS, rows, styles)
    for text in (*_notes(pair), *_timing(group), *_attribution(group)):
        out.line(f"  {text}")
    out.line()


def _title(pair: Pair) -> str:
    old, new = pair.old.case, pair.new.case

    def word(axis: str, head: str = "") -> str:
        before, after = getattr(old, axis), getattr(new, axis)
        return f"{head}{before}" if before == after else f"{head}{before} → {after}"

    words = [word("engine"), word("model"), word("method")]
    if new.method != "none" or old.method != "none":
        words.append(word("dl", "DL "))
    return " · ".join([*words, word("bs", "BS "), word("split")])


def _row(judged: Judged) -> tuple[str, ...]:
    pair, verdict = judged.pair, judged.acceptance
    old, new = (r.metric("acceptance_length") for r in (pair.old, pair.new))
    slices = pair.old.case.slice, pair.new.case.slice
    return (
        slices[1] if slices[0] == slices[1] else " → ".join(slices),
        NOTHING if old is None else f"{old.value:.2f}",
        NOTHING if new is None else f"{new.value:.2f}",
        change(verdict.ratio if verdict else None),
        change_interval(verdict.low, verdict.high) if verdict else NOTHING,
        f"{verdict.coverage:.0%}" if verdict and verdict.coverage is not None else NOTHING,
        verdict.outcome.value if verdict else "not gated",
    )


def _notes(pair: Pair) -> Iterator[str]:
    for side, record in (("OLD", pair.old), ("NEW", pair.new)):
        if record.partial:
            yield f"note: {side} was stopped early, as soon as its own gate was decided"
    if pair.old.engine.version != pair.new.engine.version:
        yield (
            f"{pair.new.engine.name} {pair.old.engine.version} there, "
            f"{pair.new.engine.version} here"
        )


def _timing(group: Sequence[Judged]) -> Iterator[str]:
    """Outcomes that belong to the whole run, each told once."""
    told: dict[str, Verdict] = {}
    for judged in group:
        for verdict in judged.verdicts:
            if verdict.metric != "acceptance_length":
                told.setdefault(verdict.metric, verdict)
    for verdict in told.values():
        interval = change_interval(verdict.low, verdict.high)
        ends = "" if interval == NOTHING else f" [{interval}]"
        value = "" if verdict.ratio is None else f" {change(verdict.ratio)}{ends}"
        yield f"{verdict.metric}: {verdict.outcome}{value}; {verdict.reason}"


def _attribution(group: Sequence[Judged]) -> Iterator[str]:
    """How much of a changed speedup is AL, step time, and the engine without SD."""
    from pytest_speedbench.compare.comparison import alternated, change_of_speed

    pair = group[0].pair
    if pair.match.incomparable or "none" in (pair.old.case.method, pair.new.case.method):
        return
    try:
        found = change_of_speed(pair)
    except ValueError as error:  # NoData, or rounds that no engine can produce
        told = any(o.outcome == "not gated" for judged in group for o in judged.verdicts)
        if not told:
            yield f"speedup not compared: {error}"
        return
    certain = alternated(pair)
    yield f"speedup {_speedups(pair.old, pair.new)}: {_factor(found.total, certain)}, of it"
    parts = (
        ("AL, the drafter's", found.drafter),
        ("step time, drafting and verifying", found.step),
        ("step time of the engine without SD", found.engine),
        ("the rest: batching, queueing, prefill", found.scheduling),
    )
    for name, factor in parts:
        if factor is not None:
            yield f"  {name:38}{_factor(factor, certain)}"
    if not certain:
        yield "  no intervals: the arms did not take turns, or had fewer than 3 rounds"


def _speedups(old: Record, new: Record) -> str:
    values = [record.metric("speedup") for record in (old, new)]
    return " → ".join(NOTHING if v is None else f"{v.value:.2f}x" for v in values)


def _factor(factor: Estimate, certain: bool) -> str:
    interval = change_interval(factor.low, factor.high) if certain else NOTHING
    return f"{change(factor.value):>9}" + ("" if interval == NOTHING else f" [{interval}]")


def _show_reasons(out: Lines, comparison: Comparison) -> None:
    """Why, for whatever is not simply a pass; equal reasons once."""
    from pytest_speedbench.compare.verdict import Outcome

    told: dict[tuple[Outcome, str], list[str]] = {}
    for verdict, key in _acceptance_verdicts(comparison):
        if verdict.outcome is not Outcome.PASS and verdict.reason:
            told.setdefault((verdict.outcome, verdict.reason), []).append(
                f"{key.slice} bs{key.bs} dl{key.dl}"
            )
    grave = [entry for entry in told.items() if entry[0][0] is not Outcome.UNDECIDED]
    open_ = [entry for entry in told.items() if entry[0][0] is Outcome.UNDECIDED]
    for (outcome, reason), cases in (*grave, *open_[:_MOST_OPEN]):
        out.line(f"{outcome}: {_some(cases)}: {reason}", WORD_STYLES.get(outcome.value, ""))
    if len(open_) > _MOST_OPEN:
        out.line(f"… and {len(open_) - _MOST_OPEN} more undecided", WORD_STYLES["undecided"])


def _acceptance_verdicts(comparison: Comparison) -> Iterator[tuple[Verdict, CaseKey]]:
    for judged in comparison.judged:
        if judged.acceptance is not None:
            yield judged.acceptance, judged.pair.new.case


def _verdicts(comparison: Comparison) -> str:
    from pytest_speedbench.compare.verdict import Outcome

    counts = {
        outcome: sum(o.outcome is outcome for o in comparison.verdicts) for outcome in Outcome
    }
    return "gate: " + ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)


def _named(keys: Sequence[CaseKey]) -> str:
    """Cases by run, each run's slices behind it."""
    runs: dict[str, list[str]] = {}
    for key in keys:
        runs.setdefault(str(key).removesuffix(f":{key.slice}"), []).append(key.slice)
    return "; ".join(f"{run}: {_some(slices)}" for run, slices in runs.items())


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown
