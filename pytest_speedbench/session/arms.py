"""Measures arms on their engines: rounds in turns, a soak, until decided, along a replayed text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pytest_speedbench.compare.replay import outputs_of_turns
from pytest_speedbench.engines.protocol import Speculation
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.errors import EngineError
from pytest_speedbench.measure.early import Decider
from pytest_speedbench.measure.load import ClosedLoop, Meter, Reported
from pytest_speedbench.measure.passes import counts_by_slice
from pytest_speedbench.measure.pool import EnginePool
from pytest_speedbench.measure.replay import Outputs, refusal, replay
from pytest_speedbench.measure.replayed import Replay
from pytest_speedbench.measure.results import ArmResult
from pytest_speedbench.measure.rounds import Restart, run_rounds
from pytest_speedbench.measure.soak import run_soak
from pytest_speedbench.measure.until_decided import replay_until_decided, run_until_decided
from pytest_speedbench.plan.cases import RunKey
from pytest_speedbench.session.inputs import Inputs

ShowProgress = Callable[[str], None]
ToFollow = Callable[[RunKey, ArmResult | None], Outputs | str]
"""(run, its arm without SD) → the outputs that the run is to follow, or why there are none; an
empty text where no replay is asked for."""


@dataclass
class Arms:
    """One method for each way to measure; every method starts the engines that it needs."""

    inputs: Inputs
    pool: EnginePool
    show: ShowProgress = lambda text: None
    outputs: ToFollow = lambda run, plain: ""
    meter: Meter = field(default_factory=Meter)

    def loop(self, run: RunKey) -> ClosedLoop:
        """The closed loop of requests to the started engine of ``run``."""
        config = self.inputs.config(run)
        if not self.pool.running(config):
            what = f" with {config.speculation}" if config.speculation.active else ""
            self.show(f"starting {run.engine}{what}")
        engine = self.pool.get(config)
        return ClosedLoop(
            engine,
            self.inputs.tokenizer(run),
            run.sampling,
            run.speculation,
            self.inputs.context_window(run),
            reported=Reported.of(engine_type(run.engine), engine.info),
            max_failed=self.inputs.settings.max_failed,
            meter=self.meter,
        )

    def alone(self, run: RunKey) -> ArmResult:
        """The rounds of ``run``, with no other arm between them."""
        return self.rounds([run])[0]

    def rounds(
        self,
        runs: Sequence[RunKey],
        planned: RunKey | None = None,
        restart: Restart | None = None,
    ) -> list[ArmResult]:
        """The arms of ``runs`` in turns, over their samples or those of ``planned``; with
        ``restart`` on new engines in every round but the first."""
        samples = self.inputs.samples_of([planned] if planned else runs)
        loops = [self.loop(run) for run in runs]

        def progress(arm: Speculation, number: int, rounds: int, done: int, total: int) -> None:
            what = f"{runs[0].engine} bs{runs[0].bs} · {arm}"
            if rounds and not number:
                self.show(f"warming up {what} · {done}/{total} samples")
                return
            stage = f"round {number}/{rounds}" if rounds else "filling the prefix cache"
            self.show(f"{what} · {stage} · {done}/{total} samples")

        rounds, caching = self.inputs.settings.rounds, runs[0].prefix_caching
        return run_rounds(loops, samples, runs[0].bs, rounds, progress, restart, caching)

    def soaked(self, run: RunKey) -> ArmResult:
        """The rounds of the soak of ``run``."""

        def progress(number: int, seconds: float, done: int, total: int) -> None:
            self.show(f"{run} · soak, round {number}, {seconds:.0f} s · {done}/{total} samples")

        samples, soak = self.inputs.samples_of([run]), run.soak
        return run_soak(self.loop(run), samples, run.bs, soak.rounds, soak.seconds, progress)

    def until_decided(self, run: RunKey, decider: Decider) -> tuple[ArmResult, Replay | None]:
        """Samples until ``decider`` has decided every case, replayed as they come in.

        Raises:
            EngineError: the engine reports acceptance by its counters alone.
        """

        def progress(done: int, total: int) -> None:
            self.show(f"{run} · {done}/{total} samples, until decided")

        samples, loop = self.inputs.samples_of([run]), self.loop(run)
        if counts_by_slice(loop, run.bs):
            raise EngineError(
                f"--speed-early decides sample by sample, and engine {run.engine} reports "
                "acceptance only by counters: leave it out, or use --speed-bs 1"
            )
        outputs = self._followed(run)
        if isinstance(outputs, Replay) or outputs is None:
            return run_until_decided(loop, samples, run.bs, decider, progress), outputs
        return replay_until_decided(loop, samples, run.bs, decider, outputs, progress)

    def replayed(
        self, run: RunKey, arm: ArmResult, reference: ArmResult | None = None
    ) -> Replay | None:
        """The run along its baseline's outputs, with the engine that has just measured it."""
        outputs = self._followed(run, reference)
        if isinstance(outputs, Replay) or outputs is None:
            return outputs
        return self._replay(run, arm, outputs)

    def along_cold(self, run: RunKey, arm: ArmResult) -> Replay:
        """Warm requests along the outputs of the cold pass: the cache is what is compared."""
        reason = self._refusal(run, cached=True)
        outputs = outputs_of_turns(arm.cold, "the cold pass")
        if reason or not outputs:
            return Replay(refused=reason or "the cold pass has no token ids, or no decoding steps")
        return self._replay(run, arm, outputs)

    def _replay(self, run: RunKey, arm: ArmResult, outputs: Outputs) -> Replay:
        def progress(done: int, total: int) -> None:
            self.show(f"{run} · replay · {done}/{total} outputs")

        samples = self.inputs.samples_of([run])
        return replay(self.loop(run), samples, arm.turns, outputs, run.bs, progress)

    def _followed(self, run: RunKey, reference: ArmResult | None = None) -> Outputs | Replay | None:
        """The outputs that the engine of ``run`` is to follow, or a refused replay; None where no
        replay is asked for."""
        outputs = self.outputs(run, reference)
        if isinstance(outputs, str):
            return Replay(refused=outputs) if outputs else None
        reason = self._refusal(run)
        return Replay(refused=reason) if reason else outputs

    def _refusal(self, run: RunKey, *, cached: bool = False) -> str:
        """Why the engine of ``run`` follows no outputs; empty where it does."""
        info, form = self.loop(run).engine.info, engine_type(run.engine).prompt_form
        return refusal(run.speculation, run.sampling, info, form, cached=cached)
