"""Runs of the simulated engine in this process, with or without a baseline to follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.provenance import MachineRecord
from pytest_speedbench.baselines.records import write_record
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.replay import outputs_of
from pytest_speedbench.engines.process.child import RequestLoop
from pytest_speedbench.engines.protocol import (
    Counters,
    EngineConfig,
    Request,
    Sampling,
    Speculation,
    TokenScore,
    Trace,
)
from pytest_speedbench.engines.simulated import SimulatedBackend
from pytest_speedbench.measure.load import ClosedLoop
from pytest_speedbench.measure.passes import checked_pass
from pytest_speedbench.measure.replay import replay
from pytest_speedbench.measure.results import ArmResult, RunSetting
from pytest_speedbench.measure.run import Run
from pytest_speedbench.measure.tokenizer import WordTokenizer
from pytest_speedbench.splits import ALL, Sample

SD = Speculation("eagle3", 3)
SAMPLES = [Sample(f"s{n}", "math", (f"question {n}",)) for n in range(24)]
KEY = CaseKey(engine="simulated", model="org/m", method="eagle3", dl=3, bs=4, split="s", slice=ALL)
MACHINE = MachineRecord(fingerprint="f", cpu="c", cores=1, memory_gib=1)


@dataclass
class InProcess:
    """An engine without a child process; ``sent`` are the requests it was given."""

    args: dict[str, object] = field(default_factory=dict)
    speculation: Speculation = SD
    sent: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        args = tuple(self.args.items())
        config = EngineConfig("simulated", "org/m", self.speculation, 4, args=args)
        self.backend = SimulatedBackend(config)
        self.info = self.backend.info
        self._finished: list[Trace] = []
        self._loop = RequestLoop(self.backend, self)  # type: ignore[arg-type]

    def send(self, message: tuple[str, list[Trace]]) -> None:
        self._finished += message[1] if message[0] == "traces" else []

    def submit(self, requests: Sequence[Request], *, first: bool = False) -> None:
        self.sent += requests
        self._loop.on_submit(requests, first)

    def hold(self, batch_size: int) -> None:
        self._loop.on_hold(batch_size)

    def collect(self, timeout: float) -> list[Trace]:
        while not self._finished:
            self._loop.admit()
            self._loop.report(self.backend.step())
        found, self._finished = self._finished, []
        return found

    def cancel(self, request_ids: Sequence[str]) -> None:
        self._loop.on_cancel(request_ids)

    def counters(self) -> Counters | None:
        return self.backend.counters()

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        return self.backend.score(token_ids, position, candidates)

    def close(self) -> None:
        self.backend.close()


def loop_of(engine: InProcess, max_tokens: int = 64) -> ClosedLoop:
    return ClosedLoop(engine, WordTokenizer(), Sampling(max_tokens), engine.speculation, 1 << 20)


def measure(
    baseline: Record | None = None,
    samples: Sequence[Sample] = SAMPLES,
    max_tokens: int = 64,
    engine: InProcess | None = None,
    **args: object,
) -> Run:
    """One pass over ``samples``; with ``baseline`` its outputs are followed."""
    return measure_with(loop_of(engine or InProcess(args), max_tokens), samples, baseline)


def measure_with(
    loop: ClosedLoop,
    samples: Sequence[Sample],
    baseline: Record | None,
    batch_size: int = 4,
) -> Run:
    """The same with any engine."""
    arm = ArmResult(loop.speculation)
    arm.take(checked_pass(loop, samples, batch_size, lambda done, total: None), first=True)
    followed = None
    if baseline is not None:
        followed = replay(loop, samples, arm.turns, outputs_of(baseline), batch_size)
    rows = {sample.id: f"d{sample.id}" for sample in samples}
    setting = RunSetting(
        loop.engine.info,
        {"name": "org/m", "weights": "w", "revision": ""},
        None,
        loop.speculation,
        batch_size,
        loop.sampling,
        loop.tokenizer.template_digest,
        "token_ids",
        {"name": "s", "version": "1", "digest": "d", "samples": 0, "rows": rows},
        len(samples),
    )
    return Run(setting, arm, None, followed)


def record_of(run: Run) -> Record:
    return write_record(run.view(ALL), KEY, MACHINE)
