"""The HTML report: one page that needs no network, no script and no other file."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pytest_speedbench._version import __version__
from pytest_speedbench.baselines.schema import MetricRecord, Record
from pytest_speedbench.compare.changes import flat
from pytest_speedbench.compare.results import CaseResult, SessionResults, merged
from pytest_speedbench.compare.verdict import COMPARED, Outcome
from pytest_speedbench.errors import ReportError
from pytest_speedbench.escapes import printable
from pytest_speedbench.report.plots import (
    Axis,
    Point,
    RangeBar,
    Scatter,
    length_axis,
    range_bar,
    scatter,
)
from pytest_speedbench.report.view import NOTHING, Row, RunTable, run_tables
from pytest_speedbench.splits import ALL

if TYPE_CHECKING:
    import jinja2


def render_html(results: SessionResults, *, now: datetime | None = None) -> str:
    """The whole page; ``now`` is the time printed at its foot.

    Raises:
        ReportError: jinja2 is not installed.
    """
    page = _Page(results.cases)
    return template("report.html").render(
        headline=_headline(results),
        tables=page.sections(),
        matrices=page.matrices(),
        chart=page.chart(),
        environments=page.environments(),
        family=results.family if results.verdicts else "",
        saved=results.saved,
        problems=results.problems,
        version=__version__,
        written=(now or datetime.now(UTC)).strftime("%Y-%m-%d %H:%M %Z").strip(),
        nothing=NOTHING,
    )


def template(name: str) -> jinja2.Template:
    """A page's template, everything put into it escaped; ReportError without jinja2."""
    try:
        import jinja2
    except ImportError as error:
        raise ReportError(
            "no HTML report without jinja2: pip install 'pytest-speedbench[report]' "
            "(--speed-summary=PATH.md needs nothing)"
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_speedbench.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _plain(value: Any) -> Any:
    """Text without control characters; what the template itself has made stays as it is."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return printable(value)
    return value


# -- the verdict ----------------------------------------------------------------------------

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
_SIGNS = {"bad": "✗", "open": "?", "good": "✓", "plain": "–"}
_HEADLINES = {
    Outcome.SPECULATION_OFF: "Speculation is off",
    Outcome.DEGENERATE: "Degenerate answers",
    Outcome.FAIL: "Regression",
    Outcome.INCOMPARABLE: "Incomparable with the baseline",
    Outcome.UNDECIDED: "Undecided",
    Outcome.PASS: "No regression",
    Outcome.IMPROVED: "Improved",
    Outcome.NO_BASELINE: "No baseline yet",
    Outcome.NOT_GATED: "Measured, not gated",
}


@dataclass(frozen=True, slots=True)
class Chip:
    """One outcome of the gate with its colour and its sign."""

    text: str
    tone: str
    sign: str


@dataclass(frozen=True, slots=True)
class Headline:
    """What the page says first."""

    title: str
    text: str
    tone: str
    counts: tuple[Chip, ...]
    against: tuple[str, ...]


def _chip(outcome: Outcome, text: str = "") -> Chip:
    tone = TONES[outcome]
    return Chip(text or outcome.value, tone, _SIGNS[tone])


def _headline(results: SessionResults) -> Headline:
    verdicts = results.verdicts
    counts = Counter(verdict.outcome for verdict in verdicts)
    chips = tuple(
        _chip(outcome, f"{counts[outcome]} {outcome.value}")
        for outcome in _HEADLINES
        if counts[outcome]
    )
    against = tuple(dict.fromkeys(o.baseline for o in verdicts if o.baseline))
    if results.failure:
        return Headline("Nothing could be compared", results.failure, "bad", chips, against)
    if not verdicts:
        text = "--speed-compare compares with the latest saved run."
        if results.comparing:
            text = "No test came as far as its comparison."
        return Headline("Measured, nothing compared", text, "plain", (), ())
    gravest = next(outcome for outcome in _HEADLINES if counts[outcome])
    if gravest is Outcome.PASS and counts[Outcome.IMPROVED]:
        return Headline("No regression, some improved", "", "good", chips, against)
    tone = TONES[gravest]
    text = "" if counts.keys() & COMPARED or tone == "bad" else "No case was compared."
    return Headline(_HEADLINES[gravest], text, tone, chips, against)


# -- the runs -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PageRow:
    """One slice with its drawing."""

    row: Row
    bar: RangeBar | None
    chip: Chip | None
    positions: tuple[Share | None, ...]


@dataclass(frozen=True, slots=True)
class Share:
    """A probability as text and as a width of 0 to 100."""

    text: str
    width: float


@dataclass(frozen=True, slots=True)
class Section:
    """One run of the page."""

    anchor: str
    label: str
    table: RunTable
    rows: tuple[PageRow, ...]
    drafter: str
    axis: Axis
    positions: range
    gated: bool
    verdicts: tuple[tuple[Chip, str], ...]
    command: str


@dataclass(frozen=True, slots=True)
class Cell:
    """Speedup at one draft length and batch size."""

    text: str
    interval: str
    words: str
    tone: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """Speedups of one method, draft lengths down and batch sizes across."""

    title: str
    batches: tuple[int, ...]
    rows: tuple[tuple[int, tuple[Cell | None, ...]], ...]


@dataclass(frozen=True, slots=True)
class Environment:
    """What some of the runs were measured with."""

    runs: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


class _Page:
    """The runs of a summary, in the order of :func:`run_tables`."""

    def __init__(self, results: Sequence[CaseResult]) -> None:
        groups: dict[str, list[Record]] = {}
        for case in merged(results):
            groups.setdefault(case.group, []).append(case.record)
        self.records = list(groups.values())
        self.tables = run_tables(results)
        self.heads = [records[0] for records in self.records]
        self.arms = _arms(self.heads)

    def sections(self) -> list[Section]:
        axis = length_axis(
            metric.value if metric.high is None else metric.high
            for records in self.records
            for record in records
            if (metric := record.metric("acceptance_length"))
        )
        titles = Counter(table.title for table in self.tables)
        runs = zip(self.tables, self.records, self.arms, strict=True)
        return [
            _section(number, table.title, table, records, axis)
            if titles[table.title] == 1
            else _section(number, f"{table.title} ({arm})", table, records, axis)
            for number, (table, records, arm) in enumerate(runs, start=1)
        ]

    def matrices(self) -> list[Matrix]:
        """One a method, where more than one point of it was measured."""
        found: dict[str, dict[tuple[int, int], MetricRecord]] = {}
        for name, record in zip(self.arms, self.heads, strict=True):
            speedup = record.metric("speedup")
            if speedup is not None:
                point = (record.spec.draft_length, record.case.bs)
                found.setdefault(name, {})[point] = speedup
        return [_matrix(title, points) for title, points in found.items() if len(points) > 1]

    def chart(self) -> Scatter | None:
        """Throughput against what one user sees; None for a single point."""
        points = []
        runs = zip(self.arms, self.heads, strict=True)
        for name, record in sorted(runs, key=lambda run: run[1].case.bs):
            output, user = record.metric("output_tps"), record.metric("user_tps")
            if output is not None and user is not None and output.value > 0 < user.value:
                if record.spec.draft_length:
                    name += f" DL {record.spec.draft_length}"
                points.append((name, Point(user.value, output.value, f"BS {record.case.bs}")))
        return scatter(points) if len(points) > 1 else None

    def environments(self) -> list[Environment]:
        runs: dict[tuple[tuple[str, str], ...], list[str]] = {}
        for table, record in zip(self.tables, self.heads, strict=True):
            runs.setdefault(tuple(_facts(record)), []).append(table.title)
        return [Environment(tuple(titles), facts) for facts, titles in runs.items()]


def _section(
    number: int, label: str, table: RunTable, records: Sequence[Record], axis: Axis
) -> Section:
    rows = tuple(
        _page_row(row, record, axis) for row, record in zip(table.rows, records, strict=True)
    )
    return Section(
        f"run-{number}",
        label,
        table,
        rows,
        records[0].spec.drafter.name if records[0].spec.drafter else "",
        axis,
        range(1, 1 + max((len(row.positions) for row in rows), default=0)),
        any(row.outcome for row in table.rows),
        tuple((_chip(outcome), text) for text, outcome in table.verdicts),
        _command(records),
    )


def _page_row(row: Row, record: Record, axis: Axis) -> PageRow:
    length = record.metric("acceptance_length")
    positions = record.metrics.get("acceptance_by_position")
    return PageRow(
        row,
        None if length is None else range_bar(axis, length.value, length.low, length.high),
        None if row.outcome is None else _chip(row.outcome),
        tuple(_share(p) for p in positions) if isinstance(positions, list) else (),
    )


def _share(metric: MetricRecord | None) -> Share | None:
    if metric is None:
        return None
    return Share(f"{metric.value:.0%}", Axis(0.0, 1.0).at(metric.value))


_AXES: tuple[Callable[[Record], str], ...] = (
    lambda record: record.engine.name,
    lambda record: record.model.name,
    lambda record: record.split.name,
    lambda record: "no SD" if record.spec.method == "none" else record.spec.method,
    lambda record: record.spec.drafter.name if record.spec.drafter else "",
    lambda record: f"max_tokens {record.sampling.max_tokens}",
    lambda record: f"temperature {record.sampling.temperature:g}",
    lambda record: f"{record.split.samples or 'all'} samples",
)
_METHOD = 3


def _arms(heads: Sequence[Record]) -> list[str]:
    """What each run is called beside the others: its method, and whatever else they differ in."""
    columns = [[axis(record) for record in heads] for axis in _AXES]
    shown = [c for n, c in enumerate(columns) if n == _METHOD or len(set(c) - {""}) > 1]
    return [" · ".join(filter(None, words)) for words in zip(*shown, strict=True)]


def _matrix(title: str, points: dict[tuple[int, int], MetricRecord]) -> Matrix:
    batches = tuple(sorted({bs for _, bs in points}))
    lengths = sorted({dl for dl, _ in points})
    return Matrix(
        title,
        batches,
        tuple((dl, tuple(_cell(points.get((dl, bs))) for bs in batches)) for dl in lengths),
    )


def _cell(speedup: MetricRecord | None) -> Cell | None:
    if speedup is None:
        return None
    interval, tone = "", "open"
    words = "looks slower" if speedup.value < 1 else "looks faster"
    if speedup.low is not None and speedup.high is not None:
        interval = f"{speedup.low:.2f}–{speedup.high:.2f}"
        if speedup.low > 1:
            words, tone = "faster", "good"
        elif speedup.high < 1:
            words, tone = "slower", "bad"
    return Cell(f"{speedup.value:.2f}x", interval, words, tone)


# -- what was measured on what --------------------------------------------------------------


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    engine, machine, sampling, split = (
        record.engine,
        record.machine,
        record.sampling,
        record.split,
    )
    yield "engine", f"{engine.name} {engine.version}, {engine.dtype} on {engine.device}"
    if engine.args:
        yield "engine arguments", _pairs(engine.args)
    if engine.details:
        yield "engine settings", _pairs(flat(engine.details))
    if engine.packages:
        yield "packages", _pairs(engine.packages)
    yield "model", _model(record.model.name, record.model.weights, record.model.revision)
    if drafter := record.spec.drafter:
        yield "drafter", _model(drafter.name, drafter.weights, drafter.revision)
    count = str(split.samples) if split.samples else "all"
    yield (
        "split",
        f"{split.name} {split.version}, digest {split.digest}, {count} samples a category",
    )
    yield (
        "sampling",
        f"max_tokens {sampling.max_tokens}, temperature {sampling.temperature:g}, "
        f"seed {sampling.seed}",
    )
    yield "prompts", f"{record.prompt_form.replace('_', ' ')}, chat template {record.template}"
    words = [machine.cpu, f"{machine.cores} cores", f"{machine.memory_gib} GiB", *machine.gpus]
    if machine.driver:
        words.append(f"driver {machine.driver}")
    yield "machine", ", ".join([*words, machine.system])
    yield "machine fingerprint", machine.fingerprint


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)


def _model(name: str, weights: str, revision: str) -> str:
    parts = [name]
    if weights:
        parts.append(f"weights {weights}")
    if revision:
        parts.append(f"revision {revision}")
    return ", ".join(parts)


def _command(records: Sequence[Record]) -> str:
    """The ready-made suite with this run's options; secrets were hidden when it was recorded."""
    record = records[0]
    sampling, spec = record.sampling, record.spec
    slices = [r.case.slice for r in records]
    alone = spec.method != "none" and not record.reference_rounds
    options = {
        "engine": record.engine.name,
        "model": record.model.name,
        "method": spec.method,
        "drafter": spec.drafter.name if spec.drafter else None,
        "dl": spec.draft_length or None,
        "bs": record.case.bs,
        "split": record.split.name,
        "category": ALL if ALL in slices else ",".join(slices),
        "samples": record.split.samples or "all",
        "max-tokens": sampling.max_tokens,
        "temperature": f"{sampling.temperature:g}",
        "seed": sampling.seed,
        "rounds": 0 if alone else len(record.rounds),
    }
    words = [f"--speed-{name}={value}" for name, value in options.items() if value is not None]
    for name, value in record.engine.args.items():
        text = value if isinstance(value, str) else json.dumps(value)
        words.append(f"--speed-engine-arg={name}={text}")
    return shlex.join(["pytest", "--pyargs", "pytest_speedbench.suites", *words])
