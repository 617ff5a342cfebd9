"""The first thing that a report says: one verdict for the whole session, and how many of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from pytest_speedbench.baselines.measured import MetricRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.results import CaseResult, SessionResults, merged
from pytest_speedbench.compare.verdict import COMPARED, FAILING, Outcome, Verdict
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH, GATED_METRICS
from pytest_speedbench.report.titles import title_of
from pytest_speedbench.report.view import SIMULATED, change_text, runs_of, widest

TONES = {
    Outcome.FAIL: "bad",
    Outcome.SPECULATION_OFF: "bad",
    Outcome.INCOMPARABLE: "bad",
    Outcome.DEGENERATE: "bad",
    Outcome.UNDECIDED: "open",
    Outcome.PASS: "good",
    Outcome.IMPROVED: "good",
    Outcome.NO_BASELINE: "plain",
    Outcome.NOT_GATED: "plain",
}
SIGNS = {"bad": "✗", "open": "?", "good": "✓", "plain": "–"}
_TITLES = {
    Outcome.SPECULATION_OFF: "Speculation is off",
    Outcome.DEGENERATE: "Degenerate answers",
    Outcome.FAIL: "Regression",
    Outcome.INCOMPARABLE: "Incomparable with the baseline",
    Outcome.UNDECIDED: "Undecided",
    Outcome.PASS: "No regression",
    Outcome.IMPROVED: "Improved",
}
SEVERITY = (*_TITLES, Outcome.NO_BASELINE, Outcome.NOT_GATED)
"""Outcomes, the worst first."""
_COMPARE = "--speed-compare compares with the latest saved run."


@dataclass(frozen=True, slots=True)
class Headline:
    """One sentence's worth of title, what it rests on, and how many cases had each outcome."""

    title: str
    text: str
    tone: str
    counts: tuple[tuple[Outcome, int], ...] = ()
    against: tuple[str, ...] = ()

    @property
    def sign(self) -> str:
        """A character for the tone, for where there is no colour."""
        return SIGNS[self.tone]


def headline_of(results: SessionResults) -> Headline:
    """The headline of a session or of a saved run."""
    verdicts = results.verdicts
    found = Counter(verdict.outcome for verdict in verdicts)
    of_cases = Counter(map(_worst_outcome, filter(_judged, merged(results.cases))))
    counts = tuple((outcome, of_cases[outcome]) for outcome in SEVERITY if of_cases[outcome])
    against = tuple(dict.fromkeys(v.baseline for v in verdicts if v.baseline))
    if results.failure:
        return Headline("Nothing could be compared", results.failure, "bad", counts, against)
    worst = next((outcome for outcome in _TITLES if found[outcome]), None)
    runs = runs_of(results.cases)
    if worst is None:
        return _measured(results, runs, counts, against)
    title = _title(worst, verdicts)
    if worst is Outcome.PASS and found[Outcome.IMPROVED]:
        title = "No regression, some improved"
    text = _sentence(worst, runs)
    if not found.keys() & COMPARED and TONES[worst] != "bad":
        text = "No case was compared."
    return Headline(title, text, TONES[worst], counts, against)


def _title(worst: Outcome, verdicts: Sequence[Verdict]) -> str:
    """What failed, where that is a check or an assert and no comparison with a baseline."""
    metrics = dict.fromkeys(v.metric for v in verdicts if v.outcome is worst)
    if worst is Outcome.FAIL and not metrics.keys() & {*GATED_METRICS}:
        return f"Failed: {', '.join(metrics)}"
    return _TITLES[worst]


def _judged(case: CaseResult) -> bool:
    return bool(case.verdicts)


def _worst_outcome(case: CaseResult) -> Outcome:
    """What a case counts as, whatever else was tested of it."""
    return min((verdict.outcome for verdict in case.verdicts), key=SEVERITY.index)


def severity(outcomes: Iterable[Outcome]) -> int:
    """The place of the worst outcome among all, 0 the worst; behind all where there is none."""
    return min((SEVERITY.index(outcome) for outcome in outcomes), default=len(SEVERITY))


def _measured(
    results: SessionResults,
    runs: Sequence[Sequence[CaseResult]],
    counts: tuple[tuple[Outcome, int], ...],
    against: tuple[str, ...],
) -> Headline:
    """The headline without a comparison: the numbers themselves."""
    every = [widest(cases).record for cases in runs if not cases[0].record.of_reference_build]
    heads = [record for record in every if record.spec.method != "none"] or every
    lengths = _range((r.metric(ACCEPTANCE_LENGTH) for r in heads), "")
    speedups = _range((r.metric("speedup") for r in heads), "x")
    numbers = [f"AL {lengths}" if lengths else "", speedups]
    title = ", ".join(filter(None, numbers)) or "Nothing was measured"
    if any(record.engine.simulated for record in heads):
        title += SIMULATED
    if any(outcome is Outcome.NO_BASELINE for outcome, _ in counts):
        text = "No baseline yet: later sessions can be compared with this one."
    elif results.comparing and not counts:
        text = "Every test ended before its comparison."
    else:
        text = f"Nothing was compared. {_COMPARE}" if not counts else "No case was gated."
    return Headline(title, " ".join(filter(None, (_best(heads), text))), "plain", counts, against)


def _range(metrics: Iterable[MetricRecord | None], unit: str) -> str:
    """The least and the largest value, one where they read the same; empty without any."""
    values = [metric.value for metric in metrics if metric is not None]
    if not values:
        return ""
    ends = (f"{value:.2f}{unit}" for value in (min(values), max(values)))
    return " to ".join(dict.fromkeys(ends))


def _best(heads: Sequence[Record]) -> str:
    """The fastest of several runs, in one sentence."""
    timed = [(m.value, r) for r in heads if (m := r.metric("speedup")) is not None]
    if len(timed) < 2:
        return ""
    speedup, record = max(timed, key=lambda pair: pair[0])
    return f"Highest speedup: {speedup:.2f}x, {title_of(record)}."


def _sentence(worst: Outcome, runs: Sequence[Sequence[CaseResult]]) -> str:
    """The worst verdict: old and new AL and speedup, or why there is none.

    A slice that is not the whole split stands for a run only where it fails.
    """
    whole = _with_verdict(map(widest, runs), worst) if worst is not Outcome.FAIL else []
    concerned = whole or _with_verdict(chain.from_iterable(runs), worst)
    if not concerned:
        return ""
    case, verdict = min(concerned, key=lambda pair: pair[1].ratio or 1.0)
    where = f"{case.record.case.slice}, {title_of(case.record)}"
    if worst in FAILING - {Outcome.FAIL}:  # for another reason than its numbers
        return f"{where}: {verdict.reason}." if verdict.reason else f"{where}."
    checked = "" if verdict.metric in (ACCEPTANCE_LENGTH, "speedup") else str(verdict)
    numbers = ", ".join(filter(None, (change_text(case, verdict), checked)))
    return f"{where}: {numbers}." if numbers else f"{where}."


def _with_verdict(
    cases: Iterable[CaseResult], outcome: Outcome
) -> list[tuple[CaseResult, Verdict]]:
    return [(case, v) for case in cases for v in case.verdicts if v.outcome is outcome]
