"""``speedbench plan``: the samples and tokens that a margin needs, and what a split can detect."""

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
    reach_share,
    refuse_unused,
    run_names,
    saved_runs,
    share,
    store_at,
)
from pytest_speedbench.cli.output import NOTHING, Lines
from pytest_speedbench.cli.plan_drafter import SecondRun
from pytest_speedbench.cli.simulate import Simulation, saved_or_none, simulate_plan
from pytest_speedbench.errors import CliError, NoData
from pytest_speedbench.report.tables import Column

if TYPE_CHECKING:
    from pytest_speedbench.baselines.schema import Record
    from pytest_speedbench.baselines.storage import SavedRun, Store
    from pytest_speedbench.compare.planning import Outlook
    from pytest_speedbench.stats import Plan, Rule

_COLUMNS: tuple[Column, ...] = (
    ("slice", "left"),
    ("n", "right"),
    ("to pass", "right"),
    ("tokens", "right"),
    ("to fail", "right"),
    ("tokens", "right"),
    ("finds", "right"),
    ("passes at", "right"),
)

# What a plan that is estimated depends on, and a simulated one does not.
_ESTIMATED = ("power", "rebuild", "replay", "purpose", "against")


def plan(
    context: typer.Context,
    margin: Annotated[str, typer.Option(metavar="SHARE", help="Accepted loss.")] = "2%",
    baseline: Annotated[
        str,
        typer.Option(
            metavar="REF", autocompletion=run_names, help="Saved run; by default the latest."
        ),
    ] = "",
    power: Annotated[float, typer.Option(help="Probability of the wanted verdict.")] = 0.9,
    alpha: Annotated[str, typer.Option(metavar="SHARE", help="Error rate of the gate.")] = "1%",
    cases: Annotated[
        int, typer.Option(min=0, help="Comparisons to divide α over; 0: those of the baseline.")
    ] = 0,
    loss: Annotated[
        str, typer.Option(metavar="SHARE", help="Loss to detect; by default twice the margin.")
    ] = "",
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Measure false alarms and power on simulated runs.")
    ] = False,
    sessions: Annotated[int, typer.Option(min=1, help="Simulated sessions of each kind.")] = 200,
    samples: Annotated[
        int, typer.Option(min=0, help="Simulated samples per category; 0: as in the baseline.")
    ] = 0,
    rebuild: Annotated[
        str,
        typer.Option(
            metavar="REF",
            autocompletion=run_names,
            help="Second run of the same build: how samples differ is measured, not modelled.",
        ),
    ] = "",
    replay: Annotated[
        bool, typer.Option(help="Whether later runs replay the baseline's text.")
    ] = True,
    diverging: Annotated[
        str,
        typer.Option(
            metavar="SHARE",
            help="Outputs that diverge between healthy builds; by default as many as diverge from "
            "the arm without SD, or 46%.",
        ),
    ] = "",
    purpose: Annotated[
        Literal["engine", "drafter"],
        typer.Option("--for", help="What changes between the runs to compare."),
    ] = "engine",
    against: Annotated[
        str,
        typer.Option(
            metavar="REF",
            autocompletion=run_names,
            help="For a drafter: a run with another checkpoint.",
        ),
    ] = "",
    reach: Reach = DEFAULT_REACH,
    storage: Storage = DEFAULT_STORAGE,
) -> None:
    """Estimate how many samples a margin needs, from a saved run."""
    from pytest_speedbench.compare.planning import Outlook
    from pytest_speedbench.stats import Rule, divide_alpha
    from pytest_speedbench.stats.power import DIVERGENCE

    allowed, level = share("--margin", margin), share("--alpha", alpha)
    wanted = share("--loss", loss) if loss else None
    if not 0.5 <= power < 1:
        raise CliError(f"--power {power:g}: expected at least 0.5 and less than 1, such as 0.9")
    if wanted is not None and wanted <= allowed:
        raise CliError(f"--loss {loss}: expected a loss above the margin of {margin}")
    if simulate:
        refuse_unused(context, "with --simulate", *_ESTIMATED)
    else:
        refuse_unused(context, "without --simulate", "sessions", "samples")
    if rebuild and purpose == "drafter":
        raise CliError("--rebuild names a run of the same drafter: with --for drafter, --against")
    if against and purpose != "drafter":
        raise CliError("--against names another checkpoint of a drafter: add --for drafter")
    if rebuild or purpose == "drafter":
        refuse_unused(
            context,
            "with --rebuild or --for drafter: how two runs differ is measured",
            *("replay", "diverging"),
        )
    rare = reach_share(reach)
    parted = share("--diverging", diverging) if diverging else None
    if simulate:
        asked = Simulation(
            allowed,
            level,
            wanted or 2 * allowed,
            sessions,
            samples,
            DIVERGENCE if parted is None else parted,
            rare,
        )
        runs = saved_or_none(store_at(storage), baseline)
        simulate_plan(Lines(), runs, _groups(runs) if runs else {}, cases, asked)
        return
    store = store_at(storage)
    run = _run(store, baseline)
    count = cases or len(run.keys)
    part = divide_alpha(level, [1.0] * count)[0]
    rule = Rule(allowed, level, fail_alpha=part, reach=rare)
    second = None
    if purpose == "drafter" or rebuild:
        second = SecondRun.of(store, against or rebuild, retrained=purpose == "drafter")
    if not _show(Lines(), run, rule, count, Outlook(replay, parted, power, wanted), second):
        raise CliError(f"run {run.number}: no slice can be planned; see the reasons above")


def _run(store: Store, reference: str) -> SavedRun:
    return find_run(store, reference) if reference else saved_runs(store)[-1]


def _show(
    out: Lines,
    run: SavedRun,
    rule: Rule,
    count: int,
    outlook: Outlook,
    second: SecondRun | None,
) -> bool:
    """Prints the plan of every run; whether any slice has one."""
    from pytest_speedbench.stats.power import LARGEST, MOST

    planned = False
    asked = min(0.999, 2 * rule.margin) if outlook.loss is None else outlook.loss
    beside = f", paired with {second.other}" if second and second.other else ""
    out.line(f"from the spread of {run}{beside}")
    out.line(
        f"margin {_short(rule.margin)}, α = {rule.alpha:g} for a false pass, "
        f"{rule.fail_level:.2g} for a false fail of each of {count}, power {outlook.power:.0%}"
    )
    out.line()
    for title, records in _groups(run).items():
        out.line(title, "bold")
        reasons: dict[str, list[str]] = {}
        out.table(_COLUMNS, list(_rows(records, rule, outlook, second, reasons)))
        planned |= sum(map(len, reasons.values())) < len(records)
        for reason, slices in reasons.items():
            out.line(f"  no plan for {', '.join(slices)}: {reason}", "yellow")
        if second is None:
            out.line(f"  {_basis(records[-1], outlook)}")
        out.line()
        for text in second.explain(largest(records)) if second and second.retrained else ():
            out.line(text)
            out.line()
    out.line(
        "n: samples measured. to pass: samples with which an unchanged engine passes with a "
        f"probability of {outlook.power:.0%}. An undecided case asks for fewer, since it assumes "
        f"that further samples are like its own. to fail: samples with which a loss of "
        f"{_short(asked)} fails. finds: the smallest loss that n samples fail. "
        "passes at: the smallest margin at which an unchanged engine passes with n samples. "
        f"{NOTHING}: more than {MOST:,} samples, or no loss or margin below {_short(LARGEST)}."
    )
    out.line("A category verdict needs at least 8 samples; set it with --speed-samples N.")
    return planned


def _basis(record: Record, outlook: Outlook) -> str:
    """What a pass rests on in this plan, and how many outputs diverge."""
    from pytest_speedbench.compare.planning import expected_divergence, why_no_replay

    share = f"{expected_divergence(record, outlook):.0%} of the outputs diverge"
    refused = why_no_replay(record)
    if outlook.replay and not refused:
        return f"with replay along the baseline's text; {share}"
    return f"without replay ({refused or '--no-replay'}): a pass rests on whole outputs; {share}"


def _groups(run: SavedRun) -> dict[str, list[Record]]:
    groups: dict[str, list[Record]] = {}
    for record in run.records.values():
        if record.spec.method != "none":
            groups.setdefault(_title(record), []).append(record)
    if not groups:
        raise CliError(f"{run.path} holds only runs without SD, which have no AL to plan for")
    return groups


def _title(record: Record) -> str:
    key, split = record.case, record.split.name  # the key of an unnamed file is a digest
    axes = [key.engine, key.model, key.method, f"DL {key.dl}", f"BS {key.bs}", *key.extras()]
    return " · ".join([*axes, split])


def _rows(
    records: Sequence[Record],
    rule: Rule,
    outlook: Outlook,
    second: SecondRun | None,
    reasons: dict[str, list[str]],
) -> Iterator[tuple[str, ...]]:
    """One row per slice; the reason why one has no numbers is added to ``reasons``."""
    from pytest_speedbench.compare.planning import plan_case

    for record in records:
        try:
            pairs = second.pairs(record) if second else None
            found = plan_case(record, rule, outlook, pairs)
        except NoData as error:
            reasons.setdefault(error.reason, []).append(record.case.slice)
            yield (record.case.slice, *(NOTHING,) * (len(_COLUMNS) - 1))
            continue
        yield _row(record, found)


def largest(records: Sequence[Record]) -> Record:
    """The record with the most samples: that of ``all``, where there is one."""
    return max(records, key=lambda record: len({r.sample for r in record.requests}))


def _row(record: Record, found: Plan) -> tuple[str, ...]:
    return (
        record.case.slice,
        str(found.split_samples),
        _count(found.pass_samples),
        _count(found.pass_tokens),
        _count(found.fail_samples),
        _count(found.fail_tokens),
        _share(found.detectable_loss),
        _share(found.passable_margin),
    )


def _count(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.1%}"


def _short(value: float) -> str:
    return f"{100 * value:.3g}%"
