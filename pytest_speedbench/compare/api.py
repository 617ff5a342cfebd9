"""``pytest_speedbench.compare``: two runs against each other, as ``speedbench compare`` does it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias, TypeVar

from pytest_speedbench.baselines.reading import find_run, run_of
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import SavedRun, Store
from pytest_speedbench.compare.comparison import Comparison, compare_runs
from pytest_speedbench.compare.judge import DEFAULT_MARGINS
from pytest_speedbench.errors import UsageError
from pytest_speedbench.plan import values

T = TypeVar("T")
Run: TypeAlias = str | Path | Record | Iterable[Record]
"""A saved run: its file, or its number, name, commit, tag or branch; or its records."""


def compare(
    old: Run,
    new: Run,
    margins: Mapping[str, float | str] = DEFAULT_MARGINS,
    *,
    alpha: float | None = None,
    reach: float | None = None,
    storage: str | Path = ".benchmarks",
) -> Comparison:
    """Compare two runs, sample by sample: has a metric fallen by more than its margin?

    The verdicts are those of a pytest session and of ``speedbench compare`` on the same runs. The
    family of comparisons, over which α is divided, is that of the session which measured ``new``.
    docs/gate-statistics.md names the tests and their sources.

        comparison = compare("main", "0007", {"acceptance_length": "1%", "speedup": "5%"})
        for verdict in comparison.verdicts:
            print(verdict.case, verdict)

    Args:
        old: the baseline: a saved run, or records.
        new: the run under test.
        margins: ``METRIC`` or ``METRIC/SLICE`` → loss that is still accepted, as a share: 0.02 or
            ``"2%"``. The metrics are ``acceptance_length``, ``speedup`` and ``output_tps``.
        alpha: P(any false *fail*), and P(false *pass*) of each single case; None: that of the
            session that measured ``new``, else 0.01.
        reach: smallest share of samples that a loss is assumed to affect; None: as in that session,
            else 0.12.
        storage: folder or address of saved runs; as pytest-benchmark's ``--benchmark-storage``.
            Timings are compared with the earlier sessions there.

    Raises:
        UsageError: an unknown metric, or a number that is not a share.
        BaselineError: a named run does not exist or cannot be read.
    """
    return compare_runs(
        _run(old, storage),
        _run(new, storage),
        read_margins(margins),
        None if alpha is None else _read("alpha", values.share, alpha),
        reach=None if reach is None else _read("reach", values.share_or_zero, reach),
        saved=Store(storage, option="").runs,
    )


def read_margins(margins: Mapping[str, float | str]) -> dict[str, float]:
    """Margins that Python code gives, as shares.

    Raises:
        UsageError: an unknown metric, or what is not a share.
    """
    __tracebackhide__ = True
    found = {}
    for metric, share in margins.items():
        try:
            found[metric] = values.margin((metric, share), True)[1]
        except ValueError as error:
            raise UsageError(f"margins: cannot read {metric}={share!r}: {error}") from None
    return found


def read_share(name: str, value: float | str) -> float:
    """A share that Python code gives, such as ``"2%"``.

    Raises:
        UsageError: it is none; the message has ``name``.
    """
    __tracebackhide__ = True
    share: float = _read(name, values.share, value)
    return share


def _run(run: Run, storage: str | Path) -> SavedRun:
    if isinstance(run, str | Path):
        return find_run(run, storage)
    return run_of([run] if isinstance(run, Record) else run)


def _read(name: str, read: Callable[[object, bool], T], value: object) -> T:
    __tracebackhide__ = True
    try:
        return read(value, True)
    except ValueError as error:
        raise UsageError(f"{name}: cannot read {value!r}: {error}") from None
