"""The whole page: the verdict, the grid, the runs, and what they were measured with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from pytest_speedbench._version import __version__
from pytest_speedbench.analysis.pareto import pareto
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.results import SessionResults
from pytest_speedbench.errors import NoData
from pytest_speedbench.report import charts
from pytest_speedbench.report.grid import grids
from pytest_speedbench.report.headline import headline_of
from pytest_speedbench.report.html.drafters import drafter_figures
from pytest_speedbench.report.html.environment import environments
from pytest_speedbench.report.html.evidence import Figure, Numbers
from pytest_speedbench.report.html.runs import MOST_DRAWN, ReadTexts, chip, sections
from pytest_speedbench.report.html.templates import template
from pytest_speedbench.report.view import NOTHING, runs_of, widest


def render_html(
    results: SessionResults,
    *,
    texts: ReadTexts | None = None,
    now: datetime | None = None,
) -> str:
    """The whole page.

    Args:
        results: of a session or of a saved run.
        texts: reads the texts of a record; None shows outputs as token ids.
        now: the time printed at the foot of the page.

    Raises:
        ReportError: jinja2 or matplotlib is not installed.
        RecordError: a request of a record is damaged.
    """
    page = template("report.html")
    runs = runs_of(results.cases)
    heads = [widest(cases).record for cases in runs]
    headline = headline_of(results)
    return page.render(
        headline=headline,
        chips=[chip(outcome, f"{count} {outcome}") for outcome, count in headline.counts],
        sections=sections(runs, texts),
        drawn=MOST_DRAWN,
        grids=grids(heads),
        throughput=_throughput(heads),
        drafters=drafter_figures(runs),
        environments=environments(heads),
        family=results.family if results.verdicts else "",
        skipped=results.skipped,
        saved=results.saved,
        problems=results.problems,
        version=__version__,
        written=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M %Z").strip(),
        nothing=NOTHING,
    )


def _throughput(heads: Sequence[Record]) -> Figure | None:
    """Throughput against what one user sees; None for a single batch size and draft length."""
    heads = [record for record in heads if not record.of_reference_build]
    if len({(r.case.bs, r.case.dl) for r in heads}) < 2:
        return None
    try:
        points = pareto(heads).points
    except NoData:
        return None
    title = "Throughput against what one user sees"
    rows = tuple(
        (
            " ".join(filter(None, (p.run, f"DL {p.dl}" if p.dl else "", f"BS {p.bs}"))),
            (f"{p.user_tps:,.1f}", f"{p.output_tps:,.0f}"),
        )
        for p in points
    )
    return Figure(
        title,
        charts.throughput("throughput", title, points),
        "Up and to the right is better; dashed is no SD.",
        Numbers(("tokens/s of one user", "output tokens/s per GPU"), rows),
    )
