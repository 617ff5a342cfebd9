"""A session, ``speedbench compare`` and the Python API give the same verdicts on the same runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from simulated_runs import measure, record_of
from typer.testing import CliRunner

from pytest_speedbench.baselines.outcome import GateRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import SavedRun, Store, read_run
from pytest_speedbench.cli import app
from pytest_speedbench.compare.comparison import Comparison, compare_runs
from pytest_speedbench.compare.match import identity_of
from pytest_speedbench.compare.results import CaseResult
from pytest_speedbench.compare.verdict import Outcome, Verdict
from pytest_speedbench.errors import GateFailure
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.quantities import change_of
from pytest_speedbench.session.baselines import Baselines
from pytest_speedbench.session.gate import SessionGate

from .saved_runs import record, save, unpack

AL = {"acceptance_length": 0.05}
ALL_METRICS = {**AL, "speedup": 0.1, "output_tps": 0.1}
Records = list[Record]
REAL = sorted(Path("benchmarks/results/h100-transformers").glob("*.json.xz"))
NOW = [pair for pair in pairwise(REAL) if all("dl3" in path.name for path in pair)]
SLICES = ("math", "coding", "qa")


class Compared(NamedTuple):
    """Two saved files, and what the Python API says of them."""

    old: Path
    new: Path
    margins: dict[str, float]
    by_api: Comparison


def _of(slices: tuple[str, ...] = SLICES, **how: object) -> Records:
    return [record(name, **how) for name in slices]  # type: ignore[arg-type]


def _drafted_by(name: str) -> dict[str, object]:
    return {"method": "eagle3", "draft_length": 3, "drafter": {"name": name}}


@cache
def _replayed() -> Records:
    """A baseline, two builds that followed its outputs (an equal one and a worse one), and another
    run that nobody has followed."""
    old = record_of(measure())
    ties = {"divergence": 0.02, "build": 1}
    runs = measure(old, **ties), measure(old, acceptance=0.3, **ties)
    return [old, *map(record_of, (*runs, measure(divergence=0.5, build=7)))]


# Made by the test: collecting it takes no time.
SIMULATED: Mapping[str, Callable[[], tuple[Records, Records, dict[str, float]]]] = {
    "equal": lambda: (_of(), _of(), AL),
    "equal, all metrics": lambda: (_of(), _of(), ALL_METRICS),
    "worse": lambda: (_of(), _of(accept=0.4), AL),
    "worse and slower": lambda: (_of(), _of(accept=0.4, speed=0.7), ALL_METRICS),
    "better": lambda: (_of(accept=0.4), _of(), AL),
    "faster": lambda: (_of(), _of(speed=1.4), ALL_METRICS),
    "other samples": lambda: (_of(), _of(samples=range(20, 60)), AL),
    "no sample in common": lambda: (_of(), _of(samples=range(40, 60)), AL),
    "few samples": lambda: (_of(samples=range(5)), _of(samples=range(5)), AL),
    "fewer cases here": lambda: (_of(), _of(("qa",)), ALL_METRICS),
    "fewer cases there": lambda: (_of(("qa",)), _of(), ALL_METRICS),
    "no case in common": lambda: (_of(("qa",)), _of(("math",)), AL),
    "another batch size": lambda: (_of(bs=8), _of(), AL),
    "other weights": lambda: (_of(), _of(model={"name": "m", "weights": "w2"}), ALL_METRICS),
    "another machine": lambda: (
        _of(),
        _of(machine={"fingerprint": "f2", "cpu": "C", "cores": 1, "memory_gib": 1}),
        ALL_METRICS,
    ),
    "two rounds": lambda: (_of(rounds=2), _of(rounds=2), ALL_METRICS),
    "no SD": lambda: (_of(method="none"), _of(method="none"), ALL_METRICS),
    "a margin for one category": lambda: (_of(), _of(accept=0.4), {"acceptance_length/math": 0.5}),
    "margins for categories": lambda: (
        _of(),
        _of(accept=0.4),
        {"acceptance_length/math": 0.5, "acceptance_length": 0.05, "output_tps/qa": 0.2},
    ),
    "speculation off": lambda: (_of(), _of(accept=0.01, speculation_off="no draft"), AL),
    "a session of many cases": lambda: (
        _of(),
        _of(gate=GateRecord(alpha=0.02, cases=50, reach=0.2)),
        ALL_METRICS,
    ),
    "answers became loops": lambda: (_of(), _of(loops=0.6), AL),
    "replayed, equal": lambda: (_replayed()[:1], _replayed()[1:2], AL),
    "replayed along another run": lambda: (_replayed()[3:], _replayed()[1:2], AL),
    "replayed, worse": lambda: (_replayed()[:1], _replayed()[2:3], AL),
    "two drafters in one file": lambda: (
        [*_of(), record(spec=_drafted_by("b"))],
        [*_of(), record(spec=_drafted_by("b"), accept=0.5)],
        AL,
    ),
}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pairs")


@cache
def simulated(pairs: Path, name: str) -> Compared:
    """A pair, saved in a folder of its own and compared."""
    old, new, margins = SIMULATED[name]()
    saved = save(pairs / name / "saved" / "0001_old.json", old)
    return compare(saved, save(pairs / name / "new" / "0002_new.json", new, day=3), margins)


@pytest.mark.parametrize("name", SIMULATED)
def test_simulated_pairs(name: str, pairs: Path) -> None:
    agree(simulated(pairs, name))


def test_the_pairs_reach_every_outcome(pairs: Path) -> None:
    """The equality is worth something only if the pairs are of all kinds."""
    found = [simulated(pairs, name).by_api for name in SIMULATED]
    assert {verdict.outcome for api in found for verdict in api.verdicts} == set(Outcome)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(*pair, marks=() if pair in NOW else pytest.mark.nightly)
        for pair in combinations(REAL, 2)
        if pair[0].name[:9] == pair[1].name[:9]
    ],
    ids=lambda path: path.name.removesuffix(".json.xz"),
)
def test_real_pairs(old: Path, new: Path, tmp_path: Path) -> None:
    agree(
        compare(
            unpack(old, tmp_path / "saved" / "0001_old.json"),
            unpack(new, tmp_path / "new" / "0002_new.json"),
            ALL_METRICS,
        )
    )


TIMING = {"speedup": 0.1, "output_tps": 0.1}
SESSIONS: Mapping[str, tuple[float, Outcome]] = {
    "equal": (1.0, Outcome.PASS),
    "slower": (0.7, Outcome.FAIL),
    "faster": (1.4, Outcome.IMPROVED),
    "a little slower": (0.91, Outcome.UNDECIDED),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_timing_against_earlier_sessions(name: str, tmp_path: Path) -> None:
    speed, outcome = SESSIONS[name]
    for day in range(2, 8):
        earlier = _of(("math", "qa"), speed=1 + 0.005 * (day % 3))
        old = save(tmp_path / "saved" / f"000{day}_night.json", earlier, day=day)
    new = _of(("math", "qa"), speed=speed)
    found = agree(compare(old, save(tmp_path / "new" / "0009_new.json", new, day=9), TIMING))
    assert {verdict.outcome for verdict in found.verdicts} == {outcome}
    assert "6 earlier sessions" in found.verdicts[0].reason


def test_timing_is_not_gated_without_three_sessions_at_this_level(tmp_path: Path) -> None:
    """Of another machine, failed ones, and those before the last that improved do not count."""
    other = {"fingerprint": "f2", "cpu": "C", "cores": 1, "memory_gib": 1}
    runs = [
        _of(("math",)),
        _of(("math",)),
        _of(("math",), speed=1.5, verdicts=[_verdict("output_tps", Outcome.IMPROVED)]),
        _of(("math",), speed=1.5, verdicts=[_verdict("acceptance_length", Outcome.FAIL)]),
        _of(("math",), machine=other),
        _of(("math",), speed=1.5),
    ]
    for number, records in enumerate(runs):
        old = save(tmp_path / "saved" / f"000{number}_night.json", records, day=2 + number)
    new = save(tmp_path / "new" / "0009_new.json", _of(("math",), speed=1.5), day=9)
    found = agree(compare(old, new, {"output_tps": 0.1}))
    assert [verdict.outcome for verdict in found.verdicts] == [Outcome.NOT_GATED]
    assert found.verdicts[0].reason.startswith("2 earlier sessions of this machine; timing needs")


def _verdict(metric: str, outcome: Outcome) -> dict[str, object]:
    return {"metric": metric, "outcome": outcome.value}


def compare(old: Path, new: Path, margins: dict[str, float]) -> Compared:
    by_api = compare_runs(read_run(old), read_run(new), margins, saved=Store(old.parent).runs)
    return Compared(old, new, margins, by_api)


def agree(compared: Compared) -> Comparison:
    """Fails where the three ways differ in a verdict, its α, its interval or its wording."""
    old, new, margins, api = compared
    assert by_session(old, read_run(new), margins) == [list(case.verdicts) for case in api.cases]
    printed, code = by_command(old, new, margins)
    for text in printed_of(api):
        assert text in printed
    assert code == (1 if api.fails() else 0 if api.compared else 2)
    return api


def by_session(old: Path, new: SavedRun, margins: dict[str, float]) -> list[list[Verdict]]:
    """What a session says that has just measured ``new``."""
    records = [*new.records.values(), *new.twins]
    measured = records[0].gate or GateRecord(alpha=0.01, cases=len(records), reach=0.12)
    settings = Settings(
        compare=str(old),
        compare_fail=margins,
        alpha=measured.alpha,
        reach=measured.reach,
        inconclusive="pass",
    )
    gate = SessionGate(settings, measured.cases)
    baselines = Baselines(Store(old.parent), old.parent, settings.compare)
    return [session_verdicts(gate, baselines, record) for record in records]


def session_verdicts(gate: SessionGate, baselines: Baselines, new: Record) -> list[Verdict]:
    case = CaseResult("t", "t", str(new.case), "run", new)
    for metric, margin in gate.margins(new.spec.method, new.case.slice).items():
        try:
            gate.compare(case, baselines.match(identity_of(new)), metric, margin)
        except GateFailure:
            continue
    gate.guard(case, baselines.match(identity_of(new)))
    return case.verdicts


def by_command(old: Path, new: Path, margins: dict[str, float]) -> tuple[str, int]:
    """The output of ``speedbench compare``, free of line breaks, and its exit code."""
    options = [word for name, margin in margins.items() for word in ("--fail", f"{name}:{margin}")]
    command = ["compare", str(old), str(new), "--storage", str(old.parent), *options]
    done = CliRunner(env={"COLUMNS": "110"}).invoke(app, command)
    return " ".join((done.output + done.stderr).split()), done.exit_code


def printed_of(comparison: Comparison) -> list[str]:
    """What the command must show of every verdict on a case that both runs have."""
    if not comparison.paired:
        return ["nothing was compared"]
    texts = [comparison.judge.family.describe()]
    for case in comparison.paired:
        for verdict in case.verdicts:
            numbers = [] if verdict.ratio is None else [change_of(verdict.ratio)]
            if verdict.metric == "acceptance_length":
                numbers.append(verdict.shown)
            elif verdict.low is not None:
                numbers.append(verdict.certainty)
            texts += [*numbers, verdict.outcome.value]
    return texts


def test_a_verdict_says_where_replay_went_along_another_run(tmp_path: Path) -> None:
    files = [
        save(tmp_path / f"{n}.json", [record])
        for n, record in enumerate((_replayed()[3], _replayed()[1]))
    ]
    (verdict,) = compare_runs(*map(read_run, files), AL).verdicts
    assert verdict.reason.endswith("since replay followed another run's text")
