"""What every report shows, as text in rows; no number is computed here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_speedbench.baselines.measured import MetricRecord
from pytest_speedbench.baselines.provenance import EngineRecord, is_known
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.attribution import Attribution, Factor
from pytest_speedbench.compare.changes import Change
from pytest_speedbench.compare.gate import is_beside_all
from pytest_speedbench.compare.judge import verdict_on
from pytest_speedbench.compare.results import CaseResult, merged
from pytest_speedbench.compare.verdict import FAILING, Outcome, Verdict
from pytest_speedbench.errors import count_of
from pytest_speedbench.measure.metrics import METRICS
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH
from pytest_speedbench.quantities import change_of, exact, rate, span_of
from pytest_speedbench.report.reasons import Reason, each_once
from pytest_speedbench.report.titles import title_of
from pytest_speedbench.splits import ALL

NOTHING = "–"
SIMULATED = " (simulated)"
"""Behind times and rates of an engine that has measured none."""
_OF_THE_RUN = [metric.name for metric in METRICS.values() if metric.scope == "run"]
_VISIBLE = 0.005
"""Relative difference of two AL that shows in their two digits."""
_WITH_CAUSES = FAILING | {Outcome.UNDECIDED, Outcome.IMPROVED}


@dataclass(frozen=True, slots=True)
class Row:
    """One slice of a run; ``verdict`` and ``outcome`` are those of AL, the metric of the row.

    ``old`` is the baseline's AL, ``change`` the ratio of both and ``change_interval`` its limits,
    95%. ``shown`` is what the verdict states of the change; it is in ``verdict`` too.
    """

    slice: str
    n: str
    acceptance_length: str
    interval: str
    macro: str
    engine: str
    accepted: str
    old: str
    verdict: str
    change: str = NOTHING
    change_interval: str = NOTHING
    ratio: float | None = None
    shown: str = ""
    outcome: Outcome | None = None
    reason: str = ""
    beside_all: bool = False
    """Whether this is a category that has no verdict of its own beside the whole split."""


@dataclass(frozen=True, slots=True)
class RunTable:
    """One run: its slices, its speed, and what a reader must know."""

    title: str
    setting: str
    rows: tuple[Row, ...]
    speed: str
    slower: bool
    details: tuple[str, ...]
    verdicts: tuple[tuple[str, Outcome], ...] = ()
    """Verdicts on other metrics than AL, each once."""
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    """How the run differs from its baseline, the most likely causes first."""
    attribution: Attribution | None = None
    over: str = ""
    """What the changes of AL are over, where the AL beside them visibly give other ones."""

    @property
    def judged(self) -> bool:
        """Whether the verdicts say more of any slice than that it has no baseline."""
        return any(row.outcome not in (None, Outcome.NO_BASELINE) for row in self.rows)

    @property
    def outcomes(self) -> set[Outcome]:
        """Outcomes of all verdicts of the run."""
        found = {row.outcome for row in self.rows if row.outcome}
        return found | {outcome for _, outcome in self.verdicts}

    @property
    def worst_ratio(self) -> float:
        """New / old AL of the whole split, of the slice that lost most where it is none; 1 where
        nothing was compared."""
        ratios = {row.slice: row.ratio for row in self.rows if row.ratio is not None}
        return ratios.get(ALL, min(ratios.values(), default=1.0))

    @property
    def reasons(self) -> list[Reason]:
        """Reasons of the verdicts on AL, each once."""
        return reasons_of(self.rows)

    @property
    def calls_for_causes(self) -> bool:
        """Whether any verdict is neither a pass nor the lack of a comparison."""
        return bool(self.outcomes & _WITH_CAUSES)


def reasons_of(rows: Iterable[Row]) -> list[Reason]:
    """Why AL was judged as it was; of reasons alike, the numbers are those of the whole split."""
    whole_first = sorted(rows, key=lambda row: row.slice != ALL)
    return each_once((r.slice, r.reason, r.outcome) for r in whole_first if r.outcome and r.reason)


def runs_of(results: Sequence[CaseResult]) -> list[tuple[CaseResult, ...]]:
    """The cases of each run, in the order in which the runs were measured."""
    groups: dict[str, list[CaseResult]] = {}
    for case in merged(results):
        groups.setdefault(case.group, []).append(case)
    return [tuple(cases) for cases in groups.values()]


def widest(cases: Sequence[CaseResult]) -> CaseResult:
    """The case of the whole split where there is one, else that of the first slice."""
    return next((case for case in cases if case.record.case.slice == ALL), cases[0])


def run_table(cases: Sequence[CaseResult]) -> RunTable:
    """What is shown of the cases of one run."""
    record = cases[0].record
    speedup = record.metric("speedup")
    causes = [found for case in cases if (found := case.attribution) and found.causes]
    gated = any(case.verdicts for case in cases)
    return RunTable(
        title=title_of(record),
        setting=_setting(record),
        rows=tuple(_row(case, gated) for case in cases),
        speed=_speed(record, widest(cases).baseline),
        slower=speedup is not None and speedup.value < 1,
        details=(
            *_details(record),
            *_context(widest(cases).record),
            *_beside(cases),
        ),
        verdicts=tuple(_other_verdicts(cases)),
        notes=tuple(record.notes),
        changes=tuple(dict.fromkeys(change for case in cases for change in case.changes)),
        attribution=causes[0] if causes else None,
        over=_over(cases),
    )


def _over(cases: Sequence[CaseResult]) -> str:
    """What the changes of AL are over; empty unless the AL beside them visibly give other ones."""
    samples = tokens = False
    for case in cases:
        verdict = verdict_on(ACCEPTANCE_LENGTH, case.verdicts)
        new = case.record.metric(ACCEPTANCE_LENGTH)
        old = None if case.baseline is None else case.baseline.metric(ACCEPTANCE_LENGTH)
        if verdict is None or verdict.ratio is None or old is None or new is None:
            continue
        if abs(new.value / old.value / verdict.ratio - 1) > _VISIBLE:
            samples = samples or new.n != old.n
            tokens = tokens or (verdict.coverage is not None and verdict.coverage < 1)
    compared = []
    if samples:
        compared.append("the samples of both runs")
    if tokens:
        compared.append("the tokens that were compared")
    if not compared:
        return ""
    return f"change: over {' and '.join(compared)}; AL: over each run's own outputs"


def _beside(cases: Sequence[CaseResult]) -> Iterator[str]:
    """How the latest run compares, of the whole split where it is a case."""
    texts = {case.record.case.slice: case.beside for case in cases if case.beside}
    if texts:
        name = ALL if ALL in texts else next(iter(texts))
        yield f"{name}: {texts[name]}"


def _other_verdicts(cases: Sequence[CaseResult]) -> Iterator[tuple[str, Outcome]]:
    """Verdicts on speed, and of checks and asserts; one that several slices share stands once."""
    found = [
        (case.record.case.slice, str(verdict), verdict.outcome)
        for case in cases
        for verdict in case.verdicts
        if verdict.metric != ACCEPTANCE_LENGTH
    ]
    for reason in each_once(found):
        metric = reason.text.partition(":")[0]
        everywhere = len(reason.names) == len(cases) or metric in _OF_THE_RUN
        where = "" if everywhere else f"{', '.join(reason.names)}: "
        yield f"{where}{reason.text}{reason.likewise}", reason.outcome


def _setting(record: Record) -> str:
    sampling = record.sampling
    greedy = "greedy" if not sampling.temperature else f"temperature {exact(sampling.temperature)}"
    named = f"{record.split.name} {record.split.version}".rstrip()
    return (
        f"{engine_text(record.engine, _commit(record))}; "
        f"split {named} ({record.split.digest[:8]}), max_tokens {sampling.max_tokens}, {greedy}"
    )


def engine_text(engine: EngineRecord, commit: str = "") -> str:
    """Such as ``vllm 0.24.0, bfloat16 on NVIDIA H200``; what is unknown is left out."""
    hardware = [engine.known_dtype, f"on {engine.device}" if is_known(engine.device) else ""]
    parts = (
        [engine.name, engine.version if is_known(engine.version) else "", commit],
        ["in simulated time"] if engine.simulated else hardware,
    )
    texts = [" ".join(filter(None, part)) for part in parts]
    return ", ".join(filter(None, texts))


def _commit(record: Record) -> str:
    """The commit of the engine's build, where two builds are compared."""
    commit = record.engine.commit
    return f"(commit {commit[:12]})" if record.side and is_known(commit) else ""


def _row(case: CaseResult, gated: bool) -> Row:
    record = case.record
    length = record.metric(ACCEPTANCE_LENGTH)
    old = None if case.baseline is None else case.baseline.metric(ACCEPTANCE_LENGTH)
    verdict = verdict_on(ACCEPTANCE_LENGTH, case.verdicts)
    engine = record.engine_acceptance_length
    row = Row(
        slice=record.case.slice,
        n=NOTHING if length is None else str(length.n),
        acceptance_length=_value(length),
        interval=_interval(length),
        macro=_value(record.metric("acceptance_length_macro")),
        engine=NOTHING if engine is None else f"{engine:.2f}",
        accepted=_percent(record.metric("acceptance_rate")),
        old=_value(old),
        verdict="AL not gated" if gated else NOTHING,
    )
    if verdict is None:
        return row
    return replace(
        row,
        change=NOTHING if verdict.ratio is None else change_of(verdict.ratio),
        change_interval=span_of(verdict.low, verdict.high, 1) or NOTHING,
        ratio=verdict.ratio,
        shown=verdict.shown,
        verdict=", ".join(filter(None, (verdict.outcome.value, verdict.shown))),
        outcome=verdict.outcome,
        reason=verdict.reason,
        beside_all=verdict.outcome is Outcome.NOT_GATED and is_beside_all(record),
    )


def _interval(metric: MetricRecord | None) -> str:
    if metric is None or metric.low is None or metric.high is None:
        return NOTHING
    return f"{metric.low:.2f}–{metric.high:.2f}"


def change_text(case: CaseResult, verdict: Verdict) -> str:
    """Old and new AL and speedup of a case that was compared, each with the change."""
    record, old = case.record, case.baseline
    parts = []
    length = record.metric(ACCEPTANCE_LENGTH)
    if length is not None:
        before = None if old is None else old.metric(ACCEPTANCE_LENGTH)
        parts.append(f"AL {_arrow(before, f'{length.value:.2f}', '')}")
        if verdict.ratio is not None and verdict.metric == ACCEPTANCE_LENGTH:
            others = before is not None and before.n != length.n
            scope = " on the samples of both" if others else ""
            change = filter(None, (f"{change_of(verdict.ratio)}{scope}", verdict.shown))
            parts[-1] += f" ({', '.join(change)})"
    if speedup := speedup_text(record, old):
        parts.append(f"speedup {speedup}")
    return ", ".join(parts)


def speedup_text(record: Record, old: Record | None) -> str:
    """The speedup, behind that of a baseline of the same machine; empty where none was measured."""
    speedup = record.metric("speedup")
    if speedup is None:
        return ""
    same_machine = old is not None and old.machine.fingerprint == record.machine.fingerprint
    before = old.metric("speedup") if old is not None and same_machine else None
    interval = "" if speedup.low is None else f" [{speedup.low:.2f}, {speedup.high:.2f}]"
    return _arrow(before, f"{speedup.value:.2f}x{interval}", "x")


def _arrow(before: MetricRecord | None, now: str, unit: str) -> str:
    return now if before is None else f"{before.value:.2f}{unit} → {now}"


def _value(metric: MetricRecord | None) -> str:
    return NOTHING if metric is None else f"{metric.value:.2f}"


def _percent(metric: MetricRecord | None) -> str:
    return NOTHING if metric is None else f"{metric.value:.0%}"


def _speed(record: Record, baseline: Record | None) -> str:
    """Speedup in plain words, that of the baseline too, with the throughput of both arms."""
    own, plain = record.metric("output_tps"), record.metric("reference_tps")
    speedup = record.metric("speedup")
    if own is None:
        return "no throughput was measured"
    mark = SIMULATED if record.engine.simulated else ""
    if speedup is None or plain is None:
        return f"{rate(own.value)} tokens/s{mark}"
    both = f"{rate(own.value)} tokens/s with SD, {rate(plain.value)} without{mark}"
    return f"speedup {speedup_text(record, baseline)}, {_plainly(speedup)}: {both}"


def _plainly(speedup: MetricRecord) -> str:
    if speedup.low is not None and speedup.low > 1:
        return "SD is faster"
    if speedup.high is not None and speedup.high < 1:
        return "SD IS SLOWER than no SD"
    leaning = "slower" if speedup.value < 1 else "faster"
    return f"SD looks {leaning}, not certain"


def attribution_text(found: Attribution) -> str:
    """What the change of speedup is due to, in one line, without what did not change."""
    return f"{found.total.name} {factor_text(found.total)}, {causes_text(found)}"


def causes_text(found: Attribution) -> str:
    """The parts of a change of speedup."""
    causes = ", ".join(f"{cause.name} {factor_text(cause)}" for cause in found.causes)
    return f"of which {causes}"


def factor_text(factor: Factor) -> str:
    """The change of one factor, with its interval where it has one."""
    span = span_of(factor.low, factor.high, 1)
    return f"{change_of(factor.factor, 1)} {span}".rstrip()


def _context(record: Record) -> Iterator[str]:
    """What the prefix cache served, and AL by position in the context where there are several."""
    hits, cold = record.metric("cache_hit_rate"), record.metric("cold_acceptance_length")
    if record.case.prefix_caching and hits is not None:
        yield f"{record.case.slice}: prefix cache: {hits.value:.0%} of prompt tokens" + (
            "" if cold is None else f"; AL without it {cold.value:.2f}"
        )
    none, proposed = record.metric("draftless_share"), record.metric("proposed_length")
    if none is not None and none.value:
        yield f"{record.case.slice}: {none.value:.0%} of decoding steps without a draft" + (
            "" if proposed is None else f"; {proposed.value:.2f} draft tokens a step"
        )
    if len(record.depth) > 1 and record.spec.method != "none":
        lengths = (f"{_depth(d.end)} {d.acceptance_length.value:.2f}" for d in record.depth)
        yield f"{record.case.slice}: AL by position in the context: {', '.join(lengths)}"


def _depth(end: int) -> str:
    return f"below {end // 1024}k"


def _details(record: Record) -> Iterable[str]:
    user, ttft, step = record.metric("user_tps"), record.metric("ttft"), record.metric("step_time")
    parts = []
    if user is not None:
        parts.append(f"user {rate(user.value)} tokens/s")
    if ttft is not None:
        parts.append(f"TTFT {ttft.value * 1e3:.0f} ms")
    if step is not None:
        parts.append(f"step {step.value * 1e3:.1f} ms")
    if parts and record.engine.simulated:
        parts[-1] += SIMULATED
    if record.rounds:
        how = "steady" if all(r.steady for r in record.rounds) else "ramp and drain included"
        parts.append(f"{count_of(len(record.rounds), 'round')}, {how}")
    if warmup := record.warmup.get("requests", 0):
        parts.append(f"warm-up {count_of(warmup, 'request')}, left out")
    if parts:
        yield " · ".join(parts)
