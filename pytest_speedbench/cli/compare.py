"""``speedbench compare OLD NEW``: has anything fallen by more than its margin?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pytest_speedbench.cli.arguments import (
    DEFAULT_STORAGE,
    Storage,
    find_run,
    margins,
    reach_share,
    read,
    run_names,
    share,
    store_at,
)
from pytest_speedbench.cli.output import (
    NOTHING,
    WORD_STYLES,
    Lines,
    shared_words,
)
from pytest_speedbench.errors import CliError, did_you_mean
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH
from pytest_speedbench.quantities import change_of, some_of
from pytest_speedbench.report.tables import Column

if TYPE_CHECKING:
    from pytest_speedbench.baselines.case_key import CaseKey
    from pytest_speedbench.baselines.schema import Record
    from pytest_speedbench.baselines.storage import SavedRun
    from pytest_speedbench.compare.comparison import Comparison
    from pytest_speedbench.compare.judge import JudgedCase
    from pytest_speedbench.compare.verdict import Verdict

REGRESSION = 1
"""Exit code for a regression, or for records that are incomparable."""

_COLUMNS: tuple[Column, ...] = (
    ("slice", "left"),
    ("AL old", "right"),
    ("AL new", "right"),
    ("change", "right"),
    ("over", "right"),
    ("verdict", "left"),
)
_MOST_NAMED = 6


def compare(
    old: Annotated[
        str,
        typer.Argument(
            metavar="OLD", autocompletion=run_names, help="Number, name, file, commit or branch."
        ),
    ],
    new: Annotated[
        str,
        typer.Argument(
            metavar="NEW", autocompletion=run_names, help="Number, name, file, commit or branch."
        ),
    ],
    fail: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC:MARGIN",
            help="Loss that is still accepted; METRIC/SLICE for one slice. "
            "[default: acceptance_length:2%]",
        ),
    ] = None,
    alpha: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="Error rate of the gate. [default: that of NEW, or 1%]"),
    ] = None,
    inconclusive: Annotated[
        Literal["pass", "warn", "fail"], typer.Option(help="What undecided does.")
    ] = "warn",
    axis_map: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="AXIS=OLD:NEW", help="Pair different cases: dl=3:5."),
    ] = None,
    reach: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="Smallest share of samples that a loss is assumed to affect. [default: that of "
            "NEW, or 12%]",
        ),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Compare two saved runs, case by case.

    Exit code 0: no regression; 1: fail, speculation off, degenerate or incomparable (and undecided
    under --inconclusive=fail); 2: nothing was compared, unreadable input or wrong usage.
    """
    from pytest_speedbench.compare.comparison import compare_runs, parse_map

    allowed = margins(fail or [])
    maps = [read("--map", text, parse_map) for text in axis_map or []]
    store = store_at(storage)
    before, after = find_run(store, old), find_run(store, new)
    _check_slices(allowed, after)
    comparison = compare_runs(
        before,
        after,
        allowed,
        share("--alpha", alpha) if alpha else None,
        maps,
        reach_share(reach) if reach else None,
        store.runs,
    )
    _show(Lines(), comparison)
    if comparison.fails(inconclusive):
        raise typer.Exit(REGRESSION)
    if not comparison.compared:
        raise CliError(_why_not(comparison))


def _check_slices(margins: Mapping[str, float], run: SavedRun) -> None:
    """Refuses a margin for a slice that NEW does not have.

    Raises:
        CliError: the message lists those that it has.
    """
    known = list(dict.fromkeys(key.slice for key in run.records))
    for name in margins:
        _, slash, wanted = name.partition("/")
        if slash and wanted not in known:
            raise CliError(
                f"--fail {name}: NEW has no slice {wanted!r}; it has: {', '.join(known)}"
                f"{did_you_mean(wanted, known)}"
            )


def _show(out: Lines, comparison: Comparison) -> None:
    out.line(f"OLD  {comparison.old}")
    out.line(f"NEW  {comparison.new}")
    out.line()
    runs = comparison.runs()
    changes = [dict.fromkeys(str(c) for case in group for c in case.changes) for group in runs]
    shared = [text for text in changes[0] if all(text in own for own in changes)] if changes else []
    own = [[text for text in texts if len(runs) == 1 or text not in shared] for texts in changes]
    if len(runs) > 1 and all(len(group) == 1 for group in runs):
        _show_points([case for (case,) in runs], own, out)
    else:
        for group, texts in zip(runs, own, strict=True):
            _show_run(out, group)
            _show_changes(out, texts)
            out.line()
    if len(runs) > 1:
        _show_changes(out, shared)
    _show_reasons(out, comparison)
    for side, run, keys in (
        ("OLD", comparison.old, comparison.only_old),
        ("NEW", comparison.new, comparison.only_new),
    ):
        if keys:
            out.line(f"only in {side} ({run.number}){_named(keys)}", "yellow")
    if not comparison.paired:
        return
    out.line(_verdicts(comparison), "bold")
    out.line(comparison.judge.family.describe())


def _why_not(comparison: Comparison) -> str:
    """Why nothing was tested, although nothing fails."""
    from pytest_speedbench.compare.verdict import Outcome

    if not comparison.paired:
        return (
            "nothing was compared: no case of NEW has a record in OLD (--map AXIS=OLD:NEW pairs "
            "different cases on purpose)"
        )
    verdicts = [verdict for case in comparison.paired for verdict in case.verdicts]
    if any(v.outcome is Outcome.NOT_GATED and v.ratio is not None for v in verdicts):
        return "nothing was gated: the samples of NEW decide none of its cases, see above"
    reasons = dict.fromkeys(verdict.reason for verdict in comparison.verdicts if verdict.reason)
    return f"nothing was compared: {next(iter(reasons), 'no metric of any case was tested')}"


def _show_run(out: Lines, group: Sequence[JudgedCase]) -> None:
    out.line(_title(group[0]), "bold")
    rows = [_row(case) for case in group]
    out.table(_COLUMNS, rows, list(map(_style, group)))
    for text in (*_notes(group[0]), *_other_verdicts(group)):
        out.line(f"  {text}")
    for number, text in enumerate(_attribution(group)):
        out.line(f"  {text}" if number == 0 else f"    {text}")


def _show_points(cases: Sequence[JudgedCase], changes: Sequence[Sequence[str]], out: Lines) -> None:
    """Runs of one slice each, as the points of a sweep are: one table, and what they share once."""
    from pytest_speedbench.report.titles import joined, shared_axes, short_titles

    titles = [_title(case) for case in cases]
    names = short_titles(titles)
    out.line(joined(shared_axes(titles)), "bold")
    rows = [(name, *_row(case)) for name, case in zip(names, cases, strict=True)]
    out.table((("run", "left"), *_COLUMNS), rows, list(map(_style, cases)))
    said: dict[str, list[str]] = {}
    for name, case, own in zip(names, cases, changes, strict=True):
        texts = (*_notes(case), *_other_verdicts([case]), *_attribution([case], one_line=True))
        for text in (*texts, *(f"changed: {change}" for change in own)):
            said.setdefault(text, []).append(name)
    for text, of in said.items():
        if len(of) == 1:
            out.item(f"  {of[0]}: ", text)
        else:
            out.item("  ", f"{_some(of)}: {text}")
    out.line()


def _style(case: JudgedCase) -> str:
    return "" if case.acceptance is None else WORD_STYLES.get(case.acceptance.outcome, "")


def _show_changes(out: Lines, changes: Sequence[str]) -> None:
    for text in changes:
        out.item("  changed: ", text)


def _sides(case: JudgedCase) -> tuple[Record, Record]:
    """The baseline and the new record of a case that has both."""
    assert case.old is not None
    return case.old, case.new


def _title(case: JudgedCase) -> str:
    old, new = (record.case for record in _sides(case))

    def axis(name: str, head: str = "") -> str:
        before, after = getattr(old, name), getattr(new, name)
        return f"{head}{before}" if before == after else f"{head}{before} → {after}"

    parts = [axis("engine"), axis("model"), axis("method")]
    if new.method != "none" or old.method != "none":
        parts.append(axis("dl", "DL "))
    # The key of a user's split is a digest; its file has a name.
    splits = dict.fromkeys(record.split.name for record in _sides(case))
    return " · ".join([*parts, axis("bs", "BS "), *_extras(old, new), " → ".join(splits)])


def _extras(old: CaseKey, new: CaseKey) -> Iterator[str]:
    """The rarer axes that both have, and the change of those in which they differ."""
    before, after = list(old.extras()), list(new.extras())
    yield from (text for text in after if text in before)
    only_old = [text for text in before if text not in after]
    only_new = [text for text in after if text not in before]
    if only_old or only_new:
        yield f"{' '.join(only_old) or 'default'} → {' '.join(only_new) or 'default'}"


def _row(case: JudgedCase) -> tuple[str, ...]:
    old, new = _sides(case)
    lengths = [record.metric(ACCEPTANCE_LENGTH) for record in (old, new)]
    slices = old.case.slice, new.case.slice
    verdict = case.acceptance
    return (
        slices[1] if slices[0] == slices[1] else " → ".join(slices),
        *(NOTHING if length is None else f"{length.value:.2f}" for length in lengths),
        NOTHING if verdict is None or verdict.ratio is None else change_of(verdict.ratio),
        f"{verdict.coverage:.0%}" if verdict and verdict.coverage is not None else NOTHING,
        ", ".join(filter(None, (verdict.outcome.value, verdict.shown)))
        if verdict
        else "AL not gated",
    )


def _notes(case: JudgedCase) -> Iterator[str]:
    old, new = _sides(case)
    for side, record in (("OLD", old), ("NEW", new)):
        if record.partial:
            yield f"note: {side} was stopped early, as soon as its own gate was decided"


def _other_verdicts(group: Sequence[JudgedCase]) -> Iterator[str]:
    """Verdicts that belong to the whole run, each once."""
    found: dict[str, Verdict] = {}
    for case in group:
        for verdict in case.verdicts:
            if verdict.metric != ACCEPTANCE_LENGTH:
                found.setdefault(verdict.metric, verdict)
    for verdict in found.values():
        yield str(verdict)


def _attribution(group: Sequence[JudgedCase], *, one_line: bool = False) -> Iterator[str]:
    """How much of a changed speedup is AL, step time, and the engine without SD."""
    from pytest_speedbench.report.view import causes_text, factor_text

    case = group[0]
    old, new = _sides(case)
    if case.match.incomparable or "none" in (old.case.method, new.case.method):
        return
    if case.attribution is None:
        if not any(v.outcome == "not gated" for c in group for v in c.verdicts):
            yield f"speedup not compared: {case.no_attribution}"
        return
    found = case.attribution
    total = f"speedup {_speedups(old, new)}: {factor_text(found.total)}"
    without = "no intervals: the arms did not alternate, or had fewer than 3 rounds"
    unknown = [without] if found.total.low is None else []
    if one_line:
        causes = [causes_text(found)] if found.causes else []
        yield ", ".join((total, *causes, *unknown))
        return
    yield total
    for factor in found.causes:
        yield f"of which {factor.name:20}{factor_text(factor)}"
    yield from unknown


def _speedups(old: Record, new: Record) -> str:
    values = [record.metric("speedup") for record in (old, new)]
    return " → ".join(NOTHING if v is None else f"{v.value:.2f}x" for v in values)


def _show_reasons(out: Lines, comparison: Comparison) -> None:
    """Why, for whatever is not simply a pass; equal reasons once, a few of what decides nothing."""
    from pytest_speedbench.compare.verdict import Outcome
    from pytest_speedbench.report.reasons import each_once

    names = dict(_names(comparison.runs()))
    open_cases = [
        (names[case.new.case], verdict.reason, verdict.outcome)
        for case in sorted(comparison.paired, key=_rank)
        if (verdict := case.acceptance) is not None
        and verdict.outcome is not Outcome.PASS
        and verdict.reason
    ]
    for reason in each_once(open_cases):
        out.line(str(reason), WORD_STYLES.get(reason.outcome.value, ""))


def _names(runs: Sequence[Sequence[JudgedCase]]) -> Iterator[tuple[CaseKey, str]]:
    """What each case is called beside the others: by its run, by its slice, or by both."""
    from pytest_speedbench.report.titles import short_titles

    titles = [_title(group[0]) for group in runs]
    titles = short_titles(titles) if len(titles) > 1 else [""] * len(titles)
    for title, group in zip(titles, runs, strict=True):
        for case in group:
            of_several = len(group) > 1 or not title
            yield case.new.case, f"{title} {case.new.case.slice}".strip() if of_several else title


def _rank(case: JudgedCase) -> tuple[bool, float]:
    """The whole split comes first, whose numbers stand for reasons alike, then the largest loss."""
    from pytest_speedbench.splits import ALL

    verdict = case.acceptance
    ratio = 1.0 if verdict is None or verdict.ratio is None else verdict.ratio
    return case.new.case.slice != ALL, ratio


def _verdicts(comparison: Comparison) -> str:
    from pytest_speedbench.compare.verdict import Outcome

    found = [verdict.outcome for verdict in comparison.verdicts]
    counts = ", ".join(f"{found.count(o)} {o}" for o in Outcome if o in found)
    return f"gate: {counts}"


def _named(keys: Sequence[CaseKey]) -> str:
    """What the runs share once; then those with the same slices, and the slices."""
    slices: dict[tuple[str, str], list[str]] = {}
    for key in keys:
        run = str(key).removesuffix(f" {key.split}:{key.slice}")
        slices.setdefault((run, key.split), []).append(key.slice)
    shared, names = shared_words([run for run, _ in slices])
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, ((_, split), own) in zip(names, slices.items(), strict=True):
        alike.setdefault((split, tuple(own)), []).append(name)
    groups = (f"{_some(runs)} ({split}: {_some(own)})" for (split, own), runs in alike.items())
    return f"{f', {shared}' if shared else ''}: {'; '.join(groups)}"


def _some(names: Sequence[str]) -> str:
    return some_of(names, _MOST_NAMED)
