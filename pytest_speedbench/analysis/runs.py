"""What the analyses read from records: their estimates, and names for what varies among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from pytest_speedbench.baselines.measured import MetricRecord
from pytest_speedbench.baselines.records import traces_of
from pytest_speedbench.baselines.schema import Record, RecordSummary
from pytest_speedbench.errors import NoData
from pytest_speedbench.quantities import exact, some_of
from pytest_speedbench.splits import ALL
from pytest_speedbench.stats import Estimate
from pytest_speedbench.stats.contrast import ratio_of

R = TypeVar("R", bound=RecordSummary)
_MOST_NAMED = 3
_PARALLEL = (
    ("tensor_parallel_size", "tp_size"),
    ("pipeline_parallel_size", "pp_size"),
    ("data_parallel_size", "dp_size"),
)
_NAMED: dict[str, Callable[[RecordSummary], str]] = {
    "engine": lambda record: record.case.engine,
    "model": lambda record: record.case.model,
    "method": lambda record: record.case.method,
    "drafter": lambda record: record.spec.drafter.name if record.spec.drafter else "",
    "temperature": lambda record: f"T={exact(record.sampling.temperature)}",
    "settings": lambda record: " ".join(record.case.rarer()),
    "template": lambda record: f"template {record.template[:8]}" if record.template else "",
    "split": lambda record: record.case.split,
}


def names_of(
    records: Sequence[RecordSummary], but: Sequence[str] = ()
) -> Callable[[RecordSummary], str]:
    """Names a record by its method and whatever else varies among ``records``, ``but`` these."""
    shown = [
        read
        for part, read in _NAMED.items()
        if part not in but
        and (part == "method" or len({value for r in records if (value := read(r))}) > 1)
    ]

    def name(record: RecordSummary) -> str:
        return " ".join(filter(None, (read(record) for read in shown)))

    return name


def latest(
    records: Iterable[R], key: Callable[[R], object] = lambda record: record.case
) -> tuple[list[R], list[str]]:
    """The last record of each case, and a note on those that it replaces, if any.

    Two runs of one case would stand beside each other unnamed, or count its samples twice.
    """
    records = list(records)
    last = {key(record): record for record in records}
    again = [record for record in records if last[key(record)] is not record]
    names = list(dict.fromkeys(f"{record.case.engine} {run_text(record)}" for record in again))
    shown = some_of(names, _MOST_NAMED)
    return list(last.values()), [f"measured again, the last is shown: {shown}"] if names else []


def run_text(record: RecordSummary) -> str:
    """``eagle3 DL 3 BS 32``; without SD ``none BS 32``."""
    case = record.case
    return f"{case.method} DL {case.dl} BS {case.bs}" if case.dl else f"{case.method} BS {case.bs}"


def metric(record: RecordSummary, name: str) -> Estimate | None:
    """A metric of a record with its interval; None where it has no value."""
    found = record.metric(name)
    return None if found is None else estimate(found)


def estimate(saved: MetricRecord) -> Estimate:
    """A saved metric as an estimate."""
    return Estimate(saved.value, saved.low, saved.high, saved.n, saved.level, saved.unit)


def ratio(new: Estimate | None, old: Estimate | None) -> Estimate | None:
    """new / old of two independent estimates; None where one is missing."""
    return None if new is None or old is None else ratio_of(new, old)


def differs(found: Estimate, margin: float) -> bool:
    """Whether a ratio is shown to lie more than ``margin`` away from 1, by its interval."""
    if found.low is None or found.high is None:
        return False
    return found.low > 1 + margin or found.high < 1 - margin


def timing_notes(records: Iterable[RecordSummary]) -> list[str]:
    """What a reader of their times must know."""
    simulated = any(record.engine.simulated for record in records)
    return ["times are simulated: no engine was timed"] if simulated else []


def whole(records: Iterable[Record]) -> list[Record]:
    """One record a run: that of ``all``, or of its only slice."""
    runs: dict[tuple[object, ...], list[Record]] = {}
    for record in records:
        runs.setdefault(run_of(record), []).append(record)
    return [
        next((r for r in group if r.case.slice == ALL), group[0])
        for group in runs.values()
        if len(group) == 1 or any(r.case.slice == ALL for r in group)
    ]


def run_of(record: RecordSummary) -> tuple[object, ...]:
    """What the records of one run have in common."""
    case = record.case
    return tuple(value for name, value in case.model_dump().items() if name != "slice")


def gpus(record: RecordSummary) -> int:
    """GPUs that the engine was given: the product of its parallel sizes, 1 where it names none."""
    count = 1
    for spellings in _PARALLEL:
        sizes = [_size(record.engine.args.get(name)) for name in spellings]
        sizes += [_size(record.engine.details.get(name)) for name in spellings]
        count *= max([1, *sizes])
    return count


def _size(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 1


def paired_ratio(new: Record, old: Record) -> Estimate | None:
    """AL new / AL old over the samples that both have, paired; None where there are none.

    Raises:
        RecordError: a request of a record is damaged.
    """
    from pytest_speedbench.stats import pair

    try:
        return pair(traces_of(old), traces_of(new), greedy=False).whole.al_ratio()
    except (NoData, ValueError):  # no sample in common, or one in another category
        return None
