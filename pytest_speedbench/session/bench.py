"""Measures the runs of a plan: which arms go together, on which engines, in which order.

* Every configuration of one batch size, and no speculation, take turns on the same samples: on one
  engine that switches per request, or on one engine each, all kept up, where memory allows.
* Where not all engines fit, one configuration at a time takes turns with no speculation.
* Where not even two fit, the arm without speculation is measured first, for every run that will
  need it, and its engine closed.
* A run that is compared with another build takes turns with its counterpart there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace

from pytest_speedbench.engines.protocol import Engine, EngineConfig, EngineInfo
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.errors import (
    CannotRun,
    EngineDied,
    EngineError,
    EngineUnavailable,
    NoData,
    UsageError,
    warn,
)
from pytest_speedbench.measure.early import Decider
from pytest_speedbench.measure.pool import EnginePool, make_room
from pytest_speedbench.measure.replayed import Replay
from pytest_speedbench.measure.results import ArmResult, RunSetting
from pytest_speedbench.measure.run import Run
from pytest_speedbench.plan.cases import RunKey
from pytest_speedbench.plan.environment import Variables
from pytest_speedbench.session.arms import Arms, ShowProgress, ToFollow
from pytest_speedbench.session.inputs import Inputs
from pytest_speedbench.session.side_by_side import (
    Pairs,
    choose_turns,
    restarter,
    restarts_every_round,
    unequal_memory,
)


@dataclass
class _Found:
    """What was measured under one environment.

    Attributes:
        runs: the measured runs.
        failed: the error of each run that failed.
        attempts: how often a run has failed.
        references: arms without SD that were measured by themselves.
        along_cold: what :meth:`Bench.along_cold` has found.
        in_turns: what :meth:`Bench.in_turns` has measured.
    """

    runs: dict[RunKey, Run] = field(default_factory=dict)
    failed: dict[RunKey, EngineError] = field(default_factory=dict)
    attempts: Counter[RunKey] = field(default_factory=Counter)
    references: dict[RunKey, ArmResult] = field(default_factory=dict)
    along_cold: dict[RunKey, Replay] = field(default_factory=dict)
    in_turns: dict[tuple[RunKey, RunKey], tuple[ArmResult, ArmResult]] = field(default_factory=dict)


@dataclass
class Bench:
    """Everything measured in this session, and the engines that are up."""

    inputs: Inputs
    show: ShowProgress = lambda text: None
    shares: Mapping[RunKey, int] = field(default_factory=dict)
    """Under pytest-xdist: which runs go to the same worker. Others are not measured here."""
    decider: Callable[[RunKey], Decider] | None = None
    """Early decision: who decides the cases of a run while it goes on. Then nothing is timed."""
    outputs: InitVar[ToFollow] = lambda run, plain: ""
    """What a run is to follow: :attr:`Arms.outputs`."""

    def __post_init__(self, outputs: ToFollow) -> None:
        self.settings = self.inputs.settings
        self.pool = EnginePool(self.settings.timeout)
        self.arms = Arms(self.inputs, self.pool, self.show, outputs)
        self._found: dict[Variables, _Found] = {}
        self._pairs = Pairs()

    def together(self, run: RunKey, other: RunKey) -> bool:
        """Whether the worker that measures ``run`` measures ``other`` too."""
        return self.shares.get(run) == self.shares.get(other)

    @property
    def on_this_machine(self) -> bool:
        """Whether any planned engine runs here, on GPUs or cores of this machine."""
        return not self.settings.url and any(
            engine_type(run.engine).local for run in self.inputs.plan
        )

    @property
    def _here(self) -> _Found:
        """What was measured under the environment variables as they are now."""
        return self._found.setdefault(self.inputs.watched, _Found())

    def engine(self, run: RunKey) -> Engine:
        """The started engine of ``run``.

        Raises:
            EngineUnavailable, CannotRun, EngineError: as :meth:`run`.
        """
        self.inputs.check(run)
        return self.pool.get(self.inputs.config(run))

    def run(self, run: RunKey, attempt: int = 1) -> Run:
        """The measured run; measures it, and those that share its turns, at the first call.

        ``attempt`` counts how often the same test asks: a rerun measures once more what has failed.

        Raises:
            EngineUnavailable: the engine is not installed.
            CannotRun: the engine cannot run this case by its nature.
            EngineError: the engine failed; raised again for every case of the run.
        """
        if run in self._here.failed:
            if attempt <= self._here.attempts[run]:
                raise self._here.failed[run]
            del self._here.failed[run]
        if run not in self._here.runs:
            self.inputs.check(run)
            self._measure(run)
        return self._here.runs[run]

    def measured(self) -> Iterable[tuple[RunKey, Run]]:
        return [item for found in self._found.values() for item in found.runs.items()]

    def plain_arms(self, run: RunKey) -> dict[int, ArmResult]:
        """BS → the arm without speculation on the model and the samples of ``run``."""
        base = run.base()
        arms = dict(self._here.references)
        for key, found in self._here.runs.items():
            if (arm := found.arm if key == key.base() else found.reference) is not None:
                arms[key.base()] = arm
        return {key.bs: arm for key, arm in arms.items() if replace(key, bs=base.bs) == base}

    def _measure(self, run: RunKey) -> None:
        try:
            with self.pool.asking(self.needed(run)):
                self._measure_as_asked(run)
        except EngineUnavailable:
            raise
        except EngineError as error:
            self._here.failed[run] = error
            self._here.attempts[run] += 1
            raise

    def _measure_as_asked(self, run: RunKey) -> None:
        if run.soak:
            arm = self.arms.soaked(run)
            self._keep(run, arm)
            if arm.broke_off:
                self._discard(run)
        elif run.against is not None:
            self._measure_side_by_side(run)
        elif self.decider is not None:
            arm, replayed = self.arms.until_decided(run, self.decider(run))
            self._here.runs[run] = Run(self._setting(run), arm, replay=replayed)
        elif self._has_reference(run):
            self._measure_in_turns(run)
        else:
            self._keep(run, self.arms.alone(run))

    def _measure_side_by_side(self, run: RunKey) -> None:
        """``run`` and its counterpart of the other build, each with its arm without SD, in turns;
        one build after the other where they do not fit."""
        other = run.counterpart()
        timed = run.speculation.active and self._has_reference(run) and self._has_reference(other)
        plain = (run.base(), other.base()) if timed else ()
        turns = choose_turns((run, other), plain, self.inputs.config, self.pool)
        infos: dict[RunKey, EngineInfo] = {}
        results: dict[RunKey, ArmResult] = {}
        for together in turns.groups:
            results |= dict(zip(together, self._rounds_of_builds(together, run), strict=True))
            infos |= {arm: self.pool.get(self.inputs.config(arm)).info for arm in together}
            if together != turns.groups[-1]:
                self.pool.close_all()
        apart = turns.apart or unequal_memory(infos[run], infos[other])
        sides = self._pairs.sides(run, apart, turns.no_plain)
        for arm, side in zip((other, run), sides, strict=True):
            setting = self.inputs.setting(arm, infos[arm], run, side)
            plain_arm = results.get(arm.base()) if timed else None
            self._here.runs[arm] = Run(setting, results[arm], plain_arm)
        self._here.runs[run].replay = self._replayed(run, results[run])

    def _rounds_of_builds(self, runs: Sequence[RunKey], planned: RunKey) -> list[ArmResult]:
        """Arms of both builds over the samples of ``planned``; on new engines in every round where
        the pair of starts is the unit."""
        restart = None
        if restarts_every_round(self.settings, self.inputs.config(planned)) and len(runs) > 1:
            restart = restarter(runs, self.inputs.config, self.pool, self.arms.loop)
        return self.arms.rounds(runs, planned, restart)

    def _measure_in_turns(self, asked: RunKey) -> None:
        """``asked``, other configurations whose engines fit beside it, and no speculation, in
        turns."""
        base = asked.base()
        arms = [] if base in self._here.references else self._fitting_arms(asked)
        if not arms and asked != base:
            if base not in self._here.references:
                self._measure_references(asked)
            self._keep(asked, self.arms.alone(asked), self._here.references[base])
            return
        runs = [base, *arms]
        try:
            results = dict(zip(runs, self.arms.rounds(runs), strict=True))
        except EngineError:
            if len(arms) < 2:
                raise
            # One arm must not take the others down: those are measured when they are asked for.
            self._discard(asked)
            runs = [run for run in runs if run in (base, asked)]
            results = dict(zip(runs, self.arms.rounds(runs), strict=True))
        for run, result in results.items():
            if run != base:
                self._keep(run, result, results[base])
            elif base in self.inputs.plan and base not in self._here.runs:
                self._keep(base, result)

    def along_cold(self, run: RunKey) -> Replay:
        """The replay of warm requests of the measured ``run`` along its cold pass; sent once.

        Raises:
            EngineError: as :meth:`run`.
        """
        found = self._here.along_cold
        if run not in found:
            if not run.replay:
                return Replay(refused="--speed-replay off")
            if not self.pool.running(self.inputs.config(run)):
                return Replay(refused="the engine has ended, and its cache with it")
            arm = self.run(run).arm
            with self.pool.asking(self.needed(run)):
                found[run] = self.arms.along_cold(run, arm)
        return found[run]

    def in_turns(self, run: RunKey, other: RunKey) -> tuple[ArmResult, ArmResult]:
        """``run`` and ``other``, which no case needs to be about, in turns on the samples of
        ``run``; measured once.

        Raises:
            NoData: they cannot take turns.
            EngineError: as :meth:`run`.
        """
        known = self._here.in_turns.get((run, other))
        if known is None:
            self._check_turns(run, other)
            self.inputs.check(other)
            with self.pool.asking(self.needed(run) | self.needed(other)):
                own, theirs = self.arms.rounds([run, other], planned=run)
            known = self._here.in_turns[run, other] = own, theirs
            planned = {config for one in self.inputs.plan for config in self.needed(one)}
            if self.inputs.config(other) not in planned:
                self.pool.close(self.inputs.config(other))
        return known

    def _check_turns(self, run: RunKey, other: RunKey) -> None:
        own, theirs = self.inputs.config(run), self.inputs.config(other)
        switches = engine_type(run.engine).switches
        if self.decider is not None or run.soak:
            cause = "a soak" if run.soak else "--speed-early"
            raise NoData(f"{cause} times no rounds, so arms cannot take turns: leave it out")
        if not self.settings.rounds:
            raise NoData("no rounds are timed, so arms cannot take turns: use --speed-rounds 5")
        if own == theirs and not switches:
            raise UsageError(f"{other.speculation}: this is the case itself, without a schedule")
        if own.url and not switches and other.speculation.active:
            raise NoData(
                f"the server at {own.url} is already running: its draft length cannot be "
                f"changed for {other.speculation}"
            )
        if not self._has_reference(run):
            raise NoData(
                f"the server at {own.url} is already running, so the arm without SD needs a second "
                "server: --speed-engine-arg reference_url=URL"
            )
        if not switches and not self.pool.room_beside(own, {theirs}):
            raise NoData(
                f"no memory for an engine of {other.speculation} beside that of the case, so "
                f"they cannot take turns: {make_room(run.engine, 2)}"
            )

    def _fitting_arms(self, asked: RunKey) -> list[RunKey]:
        """Configurations that can take turns with no speculation now; none where memory is short.

        All planned ones that differ only in speculation, so that they share the arm without it.
        Where each needs an engine and they do not all fit, ``asked`` alone.
        """
        base = asked.base()
        arms = [
            run
            for run in self.inputs.plan
            if run.base() == base
            and run.speculation.active
            and self._has_reference(run)
            and self.together(run, asked)
            and self._runnable(run)
        ]
        if engine_type(asked.engine).switches or not arms:
            return arms
        for chosen in (arms, [run for run in arms if run == asked]):
            configs = {self.inputs.config(run) for run in chosen}
            if chosen and self.pool.room_beside(self.inputs.config(base), configs):
                return chosen
        return []

    def _has_reference(self, run: RunKey) -> bool:
        """Whether the arm without SD can be measured beside ``run``: a running server cannot be
        switched, so that arm needs an address of its own."""
        if not self.settings.rounds:
            return False
        config = self.inputs.config(run)
        alone = config.url and not engine_type(run.engine).switches
        return not (run.speculation.active and alone and not config.option("reference_url"))

    def _runnable(self, run: RunKey) -> bool:
        if run in self._here.failed or run in self._here.runs:
            return False
        try:
            self.inputs.check(run)
        except (EngineError, CannotRun):
            return False
        return True

    def _measure_references(self, asked: RunKey) -> None:
        """The arm without speculation for every run that will need it, then its engine ends."""
        config = self.inputs.config(asked.base())
        users = [run for run in self.inputs.plan if self.together(run, asked)]
        for other in dict.fromkeys(run.base() for run in users):
            if (
                self.inputs.config(other) == config
                and other not in self._here.references
                and not other.soak
            ):
                self._here.references[other] = self.arms.alone(other)
                if other in self.inputs.plan:
                    self._keep(other, self._here.references[other])
        self.pool.close(config)

    def _keep(self, run: RunKey, arm: ArmResult, reference: ArmResult | None = None) -> None:
        """Replays the measured ``run`` and keeps both."""
        setting = self._setting(run)  # first: the engine may die during the replay
        self._here.runs[run] = Run(setting, arm, reference, self._replayed(run, arm, reference))

    def _setting(self, run: RunKey) -> RunSetting:
        info = self.pool.get(self.inputs.config(run)).info
        return self.inputs.setting(run, info, run)

    def _replayed(
        self, run: RunKey, arm: ArmResult, reference: ArmResult | None = None
    ) -> Replay | None:
        """An engine that dies here costs the replay alone, not what it has measured before."""
        try:
            return self.arms.replayed(run, arm, reference)
        except EngineDied as error:
            warn(f"the engine died during the replay; what it measured before is kept: {error}")
            self._discard(run)
            return Replay(refused="the engine died during the replay")

    # -- the life of engines ----------------------------------------------------------------

    def needed(self, run: RunKey) -> set[EngineConfig]:
        """The engines that ``run`` uses."""
        configs = {self.inputs.config(run)}
        if self._has_reference(run) and run.speculation.active and not run.soak:
            configs.add(self.inputs.config(run.base()))
        return configs | (self.needed(run.counterpart()) if run.against else set())

    def release(self, still_needed: Iterable[RunKey]) -> None:
        """Closes every engine that no run of ``still_needed`` uses."""
        kept = {config for run in still_needed for config in self.needed(run)}
        self.pool.close_except(kept)

    def _discard(self, run: RunKey) -> None:
        """Closes the engines of ``run`` after a failure, so that the next run starts new ones."""
        for config in self.needed(run):
            self.pool.close(config)
