"""What is written is read back whole: a saved run and a fresh one are the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.provenance import MachineRecord
from pytest_speedbench.baselines.records import decode_run, write_record
from pytest_speedbench.baselines.schema import Record, parse_record
from pytest_speedbench.engines.protocol import (
    NO_SPECULATION,
    Counters,
    EngineInfo,
    RequestTotals,
    Sampling,
    Speculation,
    Trace,
)
from pytest_speedbench.errors import RecordError
from pytest_speedbench.measure.results import (
    ArmResult,
    Counted,
    EarlyStop,
    Emitted,
    Round,
    RunSetting,
    SoakRound,
    Turn,
)
from pytest_speedbench.measure.run import Run
from pytest_speedbench.splits import ALL

DL = 3
CATEGORIES = ("math", "coding")
ROWS = {f"{category}{sample}": f"d{sample}" for category in CATEGORIES for sample in range(3)}
MACHINE = MachineRecord(fingerprint="f", cpu="c", cores=1, memory_gib=1)
seconds = st.floats(0.001, 10, allow_nan=False)
counts = st.integers(0, 50)


@st.composite
def traces(draw: st.DrawFn, totals: bool) -> Trace:
    prefill = draw(st.integers(0, 1))
    steps = draw(st.lists(st.integers(1, DL + 1), max_size=6))
    chunks = ([1] if prefill else []) + steps
    sent = draw(seconds)
    gaps = [draw(seconds) for _ in chunks]
    times = [sent + sum(gaps[: n + 1]) for n in range(len(chunks))]
    ids = draw(st.sampled_from([list(range(sum(chunks))), []]))
    trace = Trace("r", draw(counts), sent, ids, chunks, times, prefill)
    trace.finish_reason = draw(st.sampled_from(["stop", "length"]))
    if totals:
        size, drafted = len(steps), DL * len(steps)
        numbers = (size, drafted, sum(steps) - size)
        trace.totals = RequestTotals(*[draw(st.sampled_from([n, None])) for n in numbers])
    elif draw(st.booleans()):
        trace.drafted, trace.accepted = [DL] * len(steps), [size - 1 for size in steps]
    return trace


@st.composite
def turns(draw: st.DrawFn, totals: bool) -> list[Turn]:
    return [
        Turn(f"{category}{sample}", category, turn, draw(traces(totals)))
        for category in draw(st.sampled_from([CATEGORIES, CATEGORIES[:1]]))
        for sample in range(draw(st.integers(1, 3)))
        for turn in range(draw(st.integers(1, 2)))
    ]


rounds = st.builds(
    Round,
    st.integers(1, 500),
    seconds,
    st.booleans(),
    st.integers(1, 9),
    st.none() | st.floats(1, 4),
    st.none() | seconds,
    counts,
)
counters = st.builds(Counters, counts, counts, counts, st.none() | counts)
counted = st.builds(Counted, *[st.integers(1, 99)] * 4, counts, counts, counts, counts)
emitted = st.builds(Emitted, counts, counts, st.none() | st.integers(1, 50))
settings = st.builds(
    RunSetting,
    st.builds(
        EngineInfo,
        st.just("simulated"),
        st.text(max_size=4),
        st.just("cpu"),
        st.just("float32"),
        st.dictionaries(st.text(max_size=9), st.text(max_size=9) | counts | st.none(), max_size=3),
        packages=st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    ),
    st.just({"name": "org/m", "weights": "w", "revision": ""}),
    st.none() | st.just({"name": "org/d", "weights": "v", "revision": "1"}),
    st.just(Speculation("eagle3", DL)),
    st.integers(1, 8),
    st.builds(Sampling, st.integers(1, 64), st.sampled_from([0.0, 0.7]), counts, st.booleans()),
    st.text(max_size=4),
    st.sampled_from(["token_ids", "chat"]),
    st.just({"name": "s", "version": "1", "digest": "d", "samples": 0, "rows": ROWS}),
    st.integers(1, 9),
)


@st.composite
def timed_runs(draw: st.DrawFn, totals: bool) -> Run:
    found = draw(st.lists(rounds, min_size=1, max_size=4))
    arm = ArmResult(
        Speculation("eagle3", DL),
        draw(turns(totals)),
        found,
        draw(st.none() | counters),
        draw(counts),
        draw(counts),
        draw(st.booleans()),
        hidden=draw(counts),
    )
    reference = None
    if draw(st.booleans()):
        others = [draw(rounds) for _ in found]
        reference = ArmResult(NO_SPECULATION, draw(turns(totals)), others)
    return Run(draw(settings), arm, reference)


def steps_runs() -> st.SearchStrategy[Run]:
    return timed_runs(totals=False)


def totals_runs() -> st.SearchStrategy[Run]:
    return timed_runs(totals=True)


@st.composite
def counted_runs(draw: st.DrawFn) -> Run:
    run = draw(timed_runs(totals=True))
    for turn in run.arm.turns:
        turn.trace.totals = RequestTotals()
    run.arm.counted = {name: draw(counted) for name in run.slices}
    run.arm.unknown = draw(st.sampled_from(["", "the engine emitted 9 tokens, our requests 8"]))
    return run


@st.composite
def soak_runs(draw: st.DrawFn) -> Run:
    run = draw(timed_runs(totals=draw(st.booleans())))
    run.reference = None
    run.arm.soak = [
        SoakRound(start, start + 1.5, round_.step_time, {n: draw(emitted) for n in run.slices})
        for start, round_ in enumerate(run.arm.rounds)
    ]
    return run


@st.composite
def early_runs(draw: st.DrawFn) -> Run:
    run = draw(timed_runs(totals=draw(st.booleans())))
    run.reference, run.arm.rounds = None, []
    run.arm.early = EarlyStop(draw(counts), 40, 50, draw(counts), draw(counts), draw(st.text()))
    return run


def encode(run: Run, slices: Sequence[str]) -> list[Record]:
    """As saved: through JSON and back."""
    found = []
    for name in slices:
        key = CaseKey(
            engine="simulated",
            model="m",
            method="eagle3",
            dl=DL,
            bs=run.setting.batch_size,
            split="s",
            slice=name,
        )
        record = write_record(run.view(name), key, MACHINE)
        found.append(parse_record(json.loads(record.model_dump_json(by_alias=True))))
    return found


KINDS: dict[str, Callable[[], st.SearchStrategy[Run]]] = {
    "steps": steps_runs,
    "totals": totals_runs,
    "counted": counted_runs,
    "soak": soak_runs,
    "early": early_runs,
}


@pytest.mark.parametrize("kind", KINDS)
@hypothesis.settings(max_examples=hypothesis.settings.default.max_examples // len(KINDS) * 2)
@given(data=st.data())
def test_a_saved_run_is_the_run_that_was_measured(kind: str, data: st.DataObject) -> None:
    run = data.draw(KINDS[kind]())
    every = [*run.slices, ALL]
    saved = encode(run, every)
    assert encode(decode_run(saved), every) == saved  # every number, its interval and the notes
    assert encode(decode_run(saved[-1:]), every) == saved  # the record of all suffices
    categories = saved[:-1]
    assert encode(decode_run(categories), run.slices) == categories


def test_nothing_is_not_a_run() -> None:
    with pytest.raises(RecordError, match="no records"):
        decode_run([])


@pytest.mark.parametrize("version", [1, 2])
def test_records_of_every_version_give_a_run(version: int) -> None:
    file = Path(__file__).parent / "data" / f"schema_{version}.json"
    raw: dict[str, Any] = json.loads(file.read_text())
    old = parse_record(raw["benchmarks"][0]["extra_info"]["speedbench"])
    (new,) = [write_record(decode_run([old]).view("math"), old.case, old.machine)]
    kept = ("acceptance_length", "acceptance_rate", "speedup", "ttft", "output_tps", "step_time")
    for name in kept:
        before, after = old.metric(name), new.metric(name)
        assert (before is None) == (after is None)
        if before is not None and after is not None:
            assert after.value == pytest.approx(before.value)
    assert new.requests[0].steps == old.requests[0].steps
    assert new.speculation_off == old.speculation_off
