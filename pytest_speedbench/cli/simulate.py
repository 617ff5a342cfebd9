"""``speedbench plan --simulate``: false alarms and power of a gate, on simulated sessions.

The acceptance process is that of the simulated engine, fitted to a saved run if there is one; the
fit is shown beside the observed values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_speedbench.cli.arguments import find_run, report_skipped
from pytest_speedbench.cli.output import NOTHING, Lines
from pytest_speedbench.errors import CliError, NoData, count_of
from pytest_speedbench.report.tables import Column

if TYPE_CHECKING:
    from pytest_speedbench.baselines.schema import Record
    from pytest_speedbench.baselines.storage import SavedRun, Store
    from pytest_speedbench.stats import Rule, StepTrace
    from pytest_speedbench.stats.data import Floats, Ints
    from pytest_speedbench.stats.simulation import Category, Session, Tally, Walk

# Without a saved run: the defaults of the simulated engine, over the bundled split.
DEFAULT_CHANCE, DEFAULT_SPREAD, DEFAULT_DL, DEFAULT_LENGTH, DEFAULT_SAMPLES = 0.6, 0.5, 3, 127, 8
_FIT_DRAWS = 20

_FIT_COLUMNS: tuple[Column, ...] = (
    ("category", "left"),
    ("n", "right"),
    ("AL", "right"),
    ("fit", "right"),
    ("spread", "right"),
    ("fit", "right"),
    ("% of 1, 2, …", "left"),
    ("% in the fit", "left"),
)


@dataclass(frozen=True, slots=True)
class Simulation:
    """What to simulate. ``samples`` per category; 0: as many as the saved run has. ``diverging`` is
    the share of outputs that diverge; at 1 they have nothing in common, as at a temperature."""

    margin: float
    alpha: float
    loss: float
    sessions: int
    samples: int
    diverging: float
    reach: float


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A category: the observations of each sample, over all its turns, and the fitted process."""

    category: Category
    steps: Ints
    shares: Floats


def saved_or_none(store: Store, reference: str) -> SavedRun | None:
    """The run that ``reference`` names, by default the latest; None if nothing is saved."""
    if reference:
        return find_run(store, reference)
    runs = store.runs()
    report_skipped(store)
    return runs[-1] if runs else None


def simulate_plan(
    out: Lines,
    run: SavedRun | None,
    groups: Mapping[str, Sequence[Record]],
    cases: int,
    asked: Simulation,
) -> None:
    """False alarms and power of the gate on sessions drawn from each measured run of ``run``.

    ``groups`` are its runs with SD by title; ``cases`` how many comparisons α is divided over,
    0 for all of them.
    """
    from pytest_speedbench.splits import split_slices
    from pytest_speedbench.stats import Rule, divide_alpha

    if asked.loss >= 1:
        raise CliError(f"--margin {_short(asked.margin)}: give the loss to detect with --loss")
    names = list(split_slices("qualitative"))
    count = cases or (len(run.keys) if run else len(names))
    part = divide_alpha(asked.alpha, [1.0] * count)[0]
    rule = Rule(asked.margin, asked.alpha, fail_alpha=part, reach=asked.reach)
    out.line(
        f"margin {_short(rule.margin)}, α = {rule.alpha:g} for a false pass, "
        f"{rule.fail_level:.2g} for a false fail of each of {count}; "
        f"{count_of(asked.sessions, 'session')}"
    )
    if run is None:
        _show_declared(out, names, rule, asked)
        return
    out.line(f"fitted to {run}")
    for title, records in groups.items():
        out.line()
        out.line(title, "bold")
        fitted = _fit(records)
        out.line(
            "The fit: observed AL, its spread over samples, and the share of steps with 1, 2, … "
            "tokens, each beside the value of the fitted process."
        )
        rows = [_fit_row(name, fit) for name, fit in fitted.items()]
        out.table(_FIT_COLUMNS, rows)
        out.line()
        slices = [record.case.slice for record in records]
        sampled = records[0].sampling.temperature > 0
        own = replace(asked, diverging=1.0) if sampled else asked
        _show_sessions(out, {n: fit.category for n, fit in fitted.items()}, slices, rule, own)


def _show_declared(out: Lines, names: Sequence[str], rule: Rule, asked: Simulation) -> None:
    import numpy as np

    from pytest_speedbench.stats.acceptance import AcceptanceProcess
    from pytest_speedbench.stats.simulation import Category

    process = AcceptanceProcess((DEFAULT_CHANCE,) * DEFAULT_DL, DEFAULT_SPREAD)
    samples = asked.samples or DEFAULT_SAMPLES
    lengths = np.full(samples, DEFAULT_LENGTH)
    out.line(
        f"no saved run to fit: {len(names)} categories of {samples} samples of "
        f"{DEFAULT_LENGTH} tokens, DL {DEFAULT_DL}, acceptance {DEFAULT_CHANCE:g} at every "
        f"position, spread {DEFAULT_SPREAD:g} in logits"
    )
    out.line()
    categories = dict.fromkeys(names, Category.declared(process, lengths))
    _show_sessions(out, categories, names, rule, asked)


def _fit(records: Sequence[Record]) -> dict[str, _Fitted]:
    """The fitted process of each category of a run, from any record that holds it."""
    from pytest_speedbench.baselines.records import traces_of
    from pytest_speedbench.stats.data import step_traces

    traces: dict[str, dict[tuple[str, int], StepTrace]] = {}
    for record in records:
        for trace in step_traces(traces_of(record), "a simulation fitted to a saved run"):
            if trace.steps.size:
                traces.setdefault(trace.stratum, {})[trace.sample, trace.turn] = trace
    draft_length = records[0].spec.draft_length
    if not traces or not draft_length:
        raise NoData(f"{records[0].case}: no decoding step to fit")
    return {name: _fitted(list(own.values()), draft_length) for name, own in traces.items()}


def _fitted(traces: Sequence[StepTrace], draft_length: int) -> _Fitted:
    import numpy as np

    from pytest_speedbench.stats.acceptance import fit_process, shifts_of, step_shares
    from pytest_speedbench.stats.data import clusters
    from pytest_speedbench.stats.simulation import Category

    samples = clusters(traces).values()
    process = fit_process(traces, draft_length)
    lengths = np.array([sum(turn.decode_tokens for turn in turns) for turns in samples])
    return _Fitted(
        Category(process, lengths, *shifts_of(traces, process)),
        np.array([sum(len(turn.steps) for turn in turns) for turns in samples]),
        step_shares(np.concatenate([trace.steps for trace in traces]), draft_length),
    )


# -- the fit ------------------------------------------------------------------------------------


def _fit_row(name: str, fit: _Fitted) -> tuple[str, ...]:
    import numpy as np

    observed = fit.category.lengths
    drawn = [_decoded(fit.category, seed) for seed in range(_FIT_DRAWS)]
    shares = np.mean([walk.histogram[1:] / walk.histogram.sum() for _, walk in drawn], axis=0)
    return (
        name,
        str(len(observed)),
        f"{observed.sum() / fit.steps.sum():.2f}",
        f"{np.mean([lengths.sum() / walk.steps.sum() for lengths, walk in drawn]):.2f}",
        f"{(observed / fit.steps).std():.2f}",
        f"{np.mean([(lengths / walk.steps).std() for lengths, walk in drawn]):.2f}",
        _percents(fit.shares),
        _percents(shares),
    )


def _decoded(category: Category, seed: int) -> tuple[Ints, Walk]:
    import numpy as np

    from pytest_speedbench.stats.simulation import walk

    draws = np.random.default_rng(seed)
    lengths, chance = category.drawn(len(category.lengths), draws)
    shape = (len(lengths), int(lengths.max()), chance.shape[1])
    return lengths, walk(chance, lengths, draws.random(shape, dtype=np.float32))


def _percents(shares: Floats) -> str:
    return " ".join(f"{100 * share:.0f}" for share in shares)


# -- the sessions ---------------------------------------------------------------------------------


def _show_sessions(
    out: Lines,
    categories: Mapping[str, Category],
    slices: Sequence[str],
    rule: Rule,
    asked: Simulation,
) -> None:
    from pytest_speedbench.stats.simulation import Session

    unknown = [name for name in slices if name not in categories and name != "all"]
    if unknown:
        raise CliError(f"no decoding step of {', '.join(unknown)} in the saved run")
    samples = {name: asked.samples or len(c.lengths) for name, c in categories.items()}
    session = Session(categories, samples, slices, rule, asked.diverging)
    losses = (0.0, asked.margin, asked.loss)
    tallies = [_tally(session, loss, asked.sessions) for loss in losses]
    out.table(_SESSION_COLUMNS, list(_rows(session, tallies)))
    out.line()
    for text in _summary(tallies, asked):
        out.line(text)


def _tally(session: Session, loss: float, sessions: int) -> Tally:
    from pytest_speedbench.stats.simulation import Tally

    tally = Tally()
    for seed in range(sessions):
        tally.add(session.verdicts(loss, seed))
    return tally


_SESSION_COLUMNS: tuple[Column, ...] = (
    ("slice", "left"),
    ("n", "right"),
    ("healthy: pass", "right"),
    ("fail", "right"),
    ("edge: pass", "right"),
    ("fail", "right"),
    ("loss: fail", "right"),
)


def _rows(session: Session, tallies: Sequence[Tally]) -> Iterator[tuple[str, ...]]:
    from pytest_speedbench.stats import Conclusion

    good = (Conclusion.PASS, Conclusion.IMPROVED)
    healthy, edge, lost = tallies
    for name in session.slices:
        samples = session.samples.get(name, sum(session.samples.values()))
        yield (
            name,
            str(samples),
            _rate(healthy, healthy.count(name, *good)),
            _rate(healthy, healthy.count(name, Conclusion.FAIL)),
            _rate(edge, edge.count(name, *good)),
            _rate(edge, edge.count(name, Conclusion.FAIL)),
            _rate(lost, lost.count(name, Conclusion.FAIL)),
        )


def _summary(tallies: Sequence[Tally], asked: Simulation) -> Iterator[str]:
    from pytest_speedbench.stats.simulation import upper_limit

    healthy, edge, lost = tallies
    for what, tally in (("healthy", healthy), ("edge", edge)):
        limit = upper_limit(tally.with_fail, tally.sessions)
        yield (
            f"{what}: {tally.with_fail} of {tally.sessions} sessions have a false fail "
            f"(at most {_short(limit)}, with 95% confidence)"
        )
    yield f"loss: {lost.with_fail} of {lost.sessions} sessions fail"
    diverging = (
        f"{_short(asked.diverging)} do: --diverging" if asked.diverging < 1 else "sampled ones do"
    )
    yield (
        f"healthy: nothing changed. edge: AL fell by {_short(asked.margin)} everywhere, where pass "
        f"and fail are both wrong. loss: AL fell by {_short(asked.loss)} everywhere, unevenly over "
        f"the samples. Random: the prompts, the drafts, and where outputs diverge "
        f"({diverging})."
    )


def _rate(tally: Tally, count: int) -> str:
    return NOTHING if not tally.sessions else f"{100 * count / tally.sessions:.1f}%"


def _short(value: float) -> str:
    return f"{100 * value:.2g}%"
