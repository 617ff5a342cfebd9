"""``pytest_speedbench.measure``: the measurement of a test, without pytest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from pytest_speedbench.baselines.entries import benchmark_entry, run_document, run_head
from pytest_speedbench.baselines.numbering import save_new
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import Store
from pytest_speedbench.errors import BaselineError, NoData, UsageError
from pytest_speedbench.escapes import html_table, text_table
from pytest_speedbench.plan.grid import build_grid
from pytest_speedbench.plan.precedence import settings_of_keywords
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.session.result import SpeedResult
from pytest_speedbench.session.speed_session import SpeedSession
from pytest_speedbench.splits import ALL

ONLY_SESSION = ("compare", "compare_fail", "require_baseline", "report", "summary", "disable")
"""Options of a pytest session that a measurement by itself has no use for."""


class Measurement(Sequence[SpeedResult]):
    """Measured cases, in the order of the grid: categories, then ``all``, at every point.

    Attributes:
        records: shape (cases,), as they are saved; ``pytest_speedbench.compare`` takes them.
    """

    def __init__(self, results: Sequence[SpeedResult], records: Sequence[Record]) -> None:
        self._results = list(results)
        self.records = list(records)

    @overload
    def __getitem__(self, index: int) -> SpeedResult: ...

    @overload
    def __getitem__(self, index: slice) -> list[SpeedResult]: ...

    def __getitem__(self, index: int | slice) -> SpeedResult | list[SpeedResult]:
        return self._results[index]

    def __len__(self) -> int:
        return len(self._results)

    def select(self, **case: str | int) -> SpeedResult:
        """The one result whose case has the given values, such as ``slice="math", dl=3``.

        Raises:
            UsageError: no case has them, or more than one.
        """
        found = [
            result
            for result, record in zip(self._results, self.records, strict=True)
            if all(getattr(record.case, name, None) == value for name, value in case.items())
        ]
        if len(found) != 1:
            asked = ", ".join(f"{name}={value!r}" for name, value in case.items())
            raise UsageError(f"expected one case with {asked}, found {len(found)}")
        return found[0]

    @property
    def whole(self) -> SpeedResult:
        """The result over all samples, where one point of the grid was measured.

        Raises:
            UsageError: several points were measured.
        """
        return self[0] if len(self) == 1 else self.select(slice=ALL)

    def save(self, name: str, storage: str | Path = ".benchmarks") -> str:
        """Saves the records as a run, as ``--benchmark-save=NAME`` does; returns where it is.

        Raises:
            BaselineError: it cannot be written.
        """
        from pytest_benchmark.utils import get_commit_info, get_machine_id

        entries = []
        for record in self.records:
            case = str(record.case)
            entry = benchmark_entry(case, case, record)
            if entry is not None:
                entries.append(entry)
        head = run_head(get_commit_info())
        store = Store(storage)
        try:
            path = save_new(store.files, get_machine_id(), name, run_document(head, entries))
        except OSError as error:
            raise BaselineError(
                f"cannot save in {store.folder}: {error.strerror or error}"
            ) from error
        return store.files.shown(path)

    def _cells(self) -> Iterator[tuple[str, ...]]:
        """Case, requests, AL, speedup and tokens/s of every result."""
        yield "case", "requests", "AL", "speedup", "tokens/s"
        for result, record in zip(self._results, self.records, strict=True):
            yield (
                str(record.case),
                str(len(result.traces)),
                _cell(result, "acceptance_length", 2),
                _cell(result, "speedup", 2),
                _cell(result, "output_tps", 1),
            )

    def __repr__(self) -> str:
        return text_table(self._cells())

    def _repr_html_(self) -> str:
        """A table, for notebooks."""
        head, *rows = self._cells()
        return html_table(head, rows)


def measure(
    *,
    show: Callable[[str], None] = lambda text: None,
    unfinished: Callable[[Measurement], None] = lambda found: None,
    **options: Any,
) -> Measurement:
    """Measure speculative decoding here and now, with the results that the fixtures give.

        head = measure(model="org/model", engine="vllm", method="eagle3", drafter="head", bs=8)
        print(head.whole.acceptance_length, head.select(slice="math").acceptance_length)
        compare(before.records, head.records)

    Args:
        show: called with one line at every step of progress.
        unfinished: called with the cases that were measured before an error or Ctrl-C ended the
            measurement, if any: ``unfinished=lambda found: found.save("unfinished")``.
        **options: every option of docs/options.md by its name without ``speed_``, one value or a
            list; lists span the grid. Engine arguments are a dict: ``engine_arg={"dtype": "…"}``.

    Raises:
        UsageError: an unknown option, a value that cannot be read, or one of a pytest session, such
            as ``compare``.
        EngineUnavailable: the engine is not installed.
        CannotRun: the engine cannot run one of the cases.
        EngineError: the engine failed.
    """
    return measure_settings(settings_of_keywords(options), show, unfinished)


def measure_settings(
    settings: Settings,
    show: Callable[[str], None],
    unfinished: Callable[[Measurement], None] = lambda found: None,
) -> Measurement:
    """What :func:`measure` does, with settings that are read already.

    Raises:
        SpeedbenchError: as :func:`measure`.
    """
    for name in ONLY_SESSION:
        if getattr(settings, name) != Settings.options[name].default:
            raise UsageError(
                f"{name} belongs to a pytest session; pytest_speedbench.compare compares "
                "measurements"
            )
    cases, ids = build_grid({}, settings)
    session = SpeedSession(settings, Path(".benchmarks"), Path.cwd(), show)
    session.plan(cases)
    results: list[SpeedResult] = []

    def found() -> Measurement:
        return Measurement(results, [result.final_record for result in session.results])

    try:
        for case, name in zip(cases, ids, strict=True):
            results.append(session.measure(case, name, name))
            session.finished(case)
    except BaseException:
        if results:
            unfinished(found())
        raise
    finally:
        session.close()
    return found()


def _cell(result: SpeedResult, metric: str, digits: int) -> str:
    """A metric with its interval; a dash where it has no value."""
    try:
        found = getattr(result, metric)
        value = f"{found.value:.{digits}f}"
    except NoData:
        return "–"
    if found.low is None:
        return value
    return f"{value} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
