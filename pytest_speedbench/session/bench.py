"""Measures the runs of a plan: which arms go together, on which engines, in which order.

* Every configuration of one batch size, and no speculation, take turns on the same samples: on one
  engine that switches per request, or on one engine each, all kept up, where memory allows.
* Where not all engines fit, one configuration at a time takes turns with no speculation.
* Where not even two fit, the arm without speculation is measured first, for every run that will
  need it, and its engine closed.
* A run that is compared with another build takes turns with its counterpart there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import Engine, EngineConfig, EngineInfo, Speculation
from pytest_speedbench.engines.registry import check, check_sampling, engine_type
from pytest_speedbench.errors import (
    CannotRun,
    EngineError,
    EngineUnavailable,
    NoData,
    UsageError,
)
from pytest_speedbench.measure.early import Decider
from pytest_speedbench.measure.load import ClosedLoop, Reported
from pytest_speedbench.measure.passes import counts_by_slice
from pytest_speedbench.measure.pool import EnginePool
from pytest_speedbench.measure.prompts import check_prompts
from pytest_speedbench.measure.replay import Outputs, refusal, replay
from pytest_speedbench.measure.results import ArmResult, Replay, RunSetting, Side
from pytest_speedbench.measure.rounds import Restart, run_rounds
from pytest_speedbench.measure.run import Run
from pytest_speedbench.measure.soak import run_soak
from pytest_speedbench.measure.tokenizer import (
    Tokenizer,
    load_tokenizer,
    model_identity,
)
from pytest_speedbench.measure.until_decided import replay_until_decided, run_until_decided
from pytest_speedbench.plan.cases import Case, RunKey, engine_config, sent_as
from pytest_speedbench.plan.environment import Variables, watched_variables
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.plan.values import ALL_SAMPLES
from pytest_speedbench.session.side_by_side import (
    Pairs,
    choose_turns,
    restart,
    restarted,
    unequal_memory,
)
from pytest_speedbench.splits import (
    ALL,
    Sample,
    Split,
    TargetTokenizer,
    built_for_tokenizer,
    load_split,
    require_context,
    throughput_bucket,
)

ShowProgress = Callable[[str], None]


@dataclass
class _Found:
    """What was measured: runs, those that failed, and arms without SD measured by themselves."""

    runs: dict[RunKey, Run] = field(default_factory=dict)
    failed: dict[RunKey, EngineError] = field(default_factory=dict)
    references: dict[RunKey, ArmResult] = field(default_factory=dict)
    in_turns: dict[tuple[RunKey, RunKey], tuple[ArmResult, ArmResult]] = field(default_factory=dict)


@dataclass
class Bench:
    """Everything measured in this session, and the engines that are up."""

    settings: Settings
    show: ShowProgress = lambda text: None
    plan: dict[RunKey, list[str]] = field(default_factory=dict)
    """Every run of the session with the slices that its cases look at."""
    shares: Mapping[RunKey, int] = field(default_factory=dict)
    """Under pytest-xdist: which runs go to the same worker. Others are not measured here."""
    most_samples: int | None = None
    """Samples of each category that a budget leaves room for."""
    decider: Callable[[RunKey], Decider] | None = None
    """Early decision: who decides the cases of a run while it goes on. Then nothing is timed."""
    outputs: Callable[[RunKey], Outputs | str] = lambda run: ""
    """The baseline's outputs that a run is to follow, or why there are none; empty where nobody
    asks."""

    def __post_init__(self) -> None:
        self.pool = EnginePool(self.settings.timeout)
        self._found: dict[Variables, _Found] = {}
        self._tokenizers: dict[tuple[str, ...], Tokenizer] = {}
        self._identities: dict[tuple[str, str], dict[str, str]] = {}
        self._largest_batch: dict[EngineConfig, int] = {}
        self._pairs = Pairs()

    def add(self, case: Case) -> None:
        """Makes ``case`` part of the plan."""
        run = case.run
        if run not in self.plan:
            self.plan[run] = []
            for build in (run, run.counterpart()) if run.against else (run,):
                own = engine_config(build, 0, self.settings)
                for config in (own, own.without_speculation()):
                    self._largest_batch[config] = max(self._largest_batch.get(config, 0), run.bs)
        if case.slice not in self.plan[run]:
            self.plan[run].append(case.slice)

    def together(self, run: RunKey, other: RunKey) -> bool:
        """Whether the worker that measures ``run`` measures ``other`` too."""
        return self.shares.get(run) == self.shares.get(other)

    @property
    def on_this_machine(self) -> bool:
        """Whether any planned engine runs here, on GPUs or cores of this machine."""
        return not self.settings.url and any(engine_type(run.engine).local for run in self.plan)

    @property
    def _here(self) -> _Found:
        """What was measured under the environment variables as they are now."""
        return self._found.setdefault(self._watched, _Found())

    @property
    def _watched(self) -> Variables:
        return watched_variables(self.settings.watch_env)

    @property
    def surroundings(self) -> str:
        """Digest of the environment variables that engines read, as they are now."""
        return hashlib.sha256(repr(self._watched).encode()).hexdigest()[:16]

    # -- what a case is made of -------------------------------------------------------------

    def config(self, run: RunKey) -> EngineConfig:
        """The engine of ``run``, wide enough for every batch size it will see."""
        narrow = engine_config(run, 0, self.settings)
        return replace(
            narrow,
            max_batch=self._largest_batch.get(narrow, run.bs),
            surroundings=(*narrow.surroundings, *self._watched),
        )

    def tokenizer(self, run: RunKey) -> Tokenizer:
        adapter = engine_type(run.engine)
        source = adapter.tokenizer_source(engine_config(run, 0, self.settings))
        key = (adapter.tokenizer, source, repr(run.template), run.prompt_form)
        if key not in self._tokenizers:
            self._tokenizers[key] = load_tokenizer(
                adapter.tokenizer, source, dict(run.template), run.prompt_form
            )
        return self._tokenizers[key]

    def split(self, run: RunKey) -> Split:
        # A throughput split of fewer samples is the beginning of the full one, same digest.
        per_tier = None if run.samples == ALL_SAMPLES else run.samples
        return load_split(
            run.split,
            tokenizer=self._target(run),
            per_tier=per_tier,
            columns=dict(self.settings.columns) or None,
            keep_good=self.settings.keep_good,
        )

    def _target(self, run: RunKey) -> TargetTokenizer | None:
        """What builds throughput splits to an exact length in the target's tokens."""
        if not built_for_tokenizer(run.split):
            return None
        tokenizer = self.tokenizer(run)
        name = self.identity(run.model, run.engine)["name"]
        return TargetTokenizer(
            name if run.prompt_form == "chat" else f"{name}-{run.prompt_form}",
            tokenizer.render,
            tokenizer.encode,
            tokenizer.decode,
            tokenizer.vocab_size,
        )

    def count(self, run: RunKey, most: int | None = None) -> int:
        """Samples of each category that ``run`` takes, at most ``most``, or ``ALL_SAMPLES``."""
        asked = [run.samples, self.most_samples, most]
        limits = [number for number in asked if number is not None and number != ALL_SAMPLES]
        return min(limits, default=ALL_SAMPLES)

    def samples(self, run: RunKey, most: int | None = None) -> tuple[Sample, ...]:
        """The samples of every slice that the plan looks at, categories interleaved; at most
        ``most`` of each category."""
        split = self.split(run)
        number = self.count(run, most)
        count = None if number == ALL_SAMPLES else number
        wanted = self.plan.get(run, [ALL])
        mixed = split.interleaved(None, count)
        return mixed if ALL in wanted else tuple(s for s in mixed if s.category in wanted)

    def identity(self, model: str, engine: str) -> dict[str, str]:
        """Name and weights of a model, as ``engine`` loads it."""
        kind = engine_type(engine)
        if kind.tokenizer == "words":  # a simulated engine loads none
            return {"name": model, "weights": "", "revision": ""}
        asked = model, kind.weights(model)
        if asked not in self._identities:
            self._identities[asked] = model_identity(*asked)
        return self._identities[asked]

    def slice_samples(self, run: RunKey, slice_name: str) -> tuple[Sample, ...]:
        """The samples of one slice of ``run``."""
        return tuple(s for s in self.samples(run) if slice_name in (ALL, s.category))

    def engine(self, run: RunKey) -> Engine:
        """The started engine of ``run``.

        Raises:
            EngineUnavailable, CannotRun, EngineError: as :meth:`run`.
        """
        self._check(run)
        return self.pool.get(self.config(run))

    # -- measuring --------------------------------------------------------------------------

    def run(self, run: RunKey) -> Run:
        """The measured run; measures it, and those that share its turns, at the first call.

        Raises:
            EngineUnavailable: the engine is not installed.
            CannotRun: the engine cannot run this case by its nature.
            EngineError: the engine failed; raised again for every case of the run.
        """
        if run in self._here.failed:
            raise self._here.failed[run]
        if run not in self._here.runs:
            self._check(run)
            self._measure(run)
        return self._here.runs[run]

    def measured(self) -> Iterable[tuple[RunKey, Run]]:
        return [item for found in self._found.values() for item in found.runs.items()]

    def plain_arms(self, run: RunKey) -> dict[int, ArmResult]:
        """By BS, what was measured without speculation on the model and the samples of ``run``."""
        base = run.base()
        arms = dict(self._here.references)
        for key, found in self._here.runs.items():
            if (arm := found.arm if key == key.base() else found.reference) is not None:
                arms[key.base()] = arm
        return {key.bs: arm for key, arm in arms.items() if replace(key, bs=base.bs) == base}

    def _check(self, run: RunKey) -> None:
        config = replace(self.config(run), speculation=run.speculation, max_batch=run.bs)
        adapter = check(config)
        check_sampling(adapter, config, run.sampling)
        most = adapter.max_speculative_batch if run.speculation.active else adapter.max_batch
        if most is not None and run.bs > most:
            what = "speculates for" if run.speculation.active else "runs"
            raise CannotRun(
                f"engine {run.engine} {what} at most {most} request{'s' * (most > 1)} at a time, "
                f"this case has bs={run.bs}"
            )
        check_prompts(run.prompt_form, self.samples(run), self.tokenizer(run))
        if adapter.prompt_form == "chat" and any(s.token_ids for s in self.samples(run)):
            raise CannotRun(
                f"engine {run.engine} takes text alone, and split {run.split} holds token ids"
            )
        if bucket := throughput_bucket(run.split):
            window = self._context_window(run)
            require_context(bucket, window, run.sampling.max_tokens)

    def _measure(self, run: RunKey) -> None:
        try:
            if run.soak:
                self._keep(run, self._soaked(run), None)
            elif run.against is not None:
                self._measure_side_by_side(run)
            elif self.decider is not None:
                self._keep(run, *self._until_decided(run, self.decider(run)))
            elif self._has_reference(run):
                self._measure_in_turns(run)
            else:
                self._keep(run, self._alone(run), None)
        except EngineUnavailable:
            raise
        except EngineError as error:
            self._here.failed[run] = error
            self._discard(run)
            raise
        except BaseException:  # a time limit, pytest.fail, Ctrl-C: requests are still in flight
            self.pool.close_all()
            raise

    def check_counterpart(self, run: RunKey) -> None:
        """Whether the build that ``run`` is compared with can run it.

        Raises:
            EngineError: its interpreter or its engine is missing, or it cannot run this.
        """
        if run.against is not None:
            other = run.counterpart()
            check(replace(self.config(other), speculation=other.speculation, max_batch=run.bs))

    def _measure_side_by_side(self, run: RunKey) -> None:
        """``run`` and its counterpart of the other build, each with its arm without SD, in turns;
        one build after the other where they do not fit."""
        other = run.counterpart()
        timed = run.speculation.active and self._has_reference(run) and self._has_reference(other)
        plain = (run.base(), other.base()) if timed else ()
        turns = choose_turns((run, other), plain, self.config, self.pool)
        infos: dict[RunKey, EngineInfo] = {}
        results: dict[RunKey, ArmResult] = {}
        for together in turns.groups:
            results |= dict(zip(together, self._in_turns(together, run), strict=True))
            infos |= {arm: self.pool.get(self.config(arm)).info for arm in together}
            if together != turns.groups[-1]:
                self.pool.close_all()
        apart = turns.apart or unequal_memory(infos[run], infos[other])
        sides = self._pairs.sides(run, apart, turns.no_plain)
        for arm, side in zip((other, run), sides, strict=True):
            setting = self._setting(arm, infos[arm], run, side)
            plain_arm = results.get(arm.base()) if timed else None
            self._here.runs[arm] = Run(setting, results[arm], plain_arm)
        self._here.runs[run].replay = self._replayed(run, results[run])

    def _in_turns(self, runs: Sequence[RunKey], planned: RunKey) -> list[ArmResult]:
        """Arms of both builds over the samples of ``planned``; on new engines in every round where
        the pair of starts is the unit."""
        anew = None
        if restarted(self.settings, self.config(planned)) and len(runs) > 1:
            anew = restart(runs, self.config, self.pool, self._loop)
        return self._rounds(runs, planned, anew)

    def _measure_in_turns(self, asked: RunKey) -> None:
        """``asked``, every other configuration that is at hand, and no speculation, in turns."""
        base = asked.base()
        arms = [] if base in self._here.references else self._arms(asked)
        if not arms and asked != base:
            if base not in self._here.references:
                self._measure_references(asked)
            self._keep(asked, self._alone(asked), self._here.references[base])
            return
        runs = [base, *arms]
        try:
            results = dict(zip(runs, self._rounds(runs), strict=True))
        except EngineError:
            if len(arms) < 2:
                raise
            # One arm must not take the others down: those are measured when they are asked for.
            self._discard(asked)
            runs = [run for run in runs if run in (base, asked)]
            results = dict(zip(runs, self._rounds(runs), strict=True))
        for run, result in results.items():
            if run != base:
                self._keep(run, result, results[base])
            elif base in self.plan and base not in self._here.runs:
                self._keep(base, result, None)

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
            self._check(other)
            own, theirs = self._rounds([run, other], planned=run)
            known = self._here.in_turns[run, other] = own, theirs
            if self.config(other) not in {c for one in self.plan for c in self.needed(one)}:
                self.pool.close(self.config(other))
        return known

    def _check_turns(self, run: RunKey, other: RunKey) -> None:
        own, theirs = self.config(run), self.config(other)
        switches = engine_type(run.engine).switches
        if not self.settings.rounds or self.decider is not None or run.soak:
            raise NoData("no rounds are timed, so that no arms can take turns: --speed-rounds 5")
        if own == theirs and not switches:
            raise UsageError(f"{other.speculation}: this is the case itself, without a schedule")
        if own.url and not switches and other.speculation.active:
            raise NoData(
                f"the server at {own.url} runs already: its draft length cannot be changed for "
                f"{other.speculation}"
            )
        if not switches and not self.pool.room_beside(own, {theirs}):
            raise NoData(
                f"no memory for an engine of {other.speculation} beside that of the case: without "
                "both the arms cannot take turns"
            )

    def _arms(self, asked: RunKey) -> list[RunKey]:
        """Configurations that can take turns with no speculation now; none where memory is short.

        All planned ones that differ only in speculation, so that they share the arm without it;
        with an engine for each, as many as ``asked`` alone where they do not all fit.
        """
        base = asked.base()
        arms = [
            run
            for run in self.plan
            if run.base() == base
            and run.speculation.active
            and self._has_reference(run)
            and self.together(run, asked)
            and self._runnable(run)
        ]
        if engine_type(asked.engine).switches or not arms:
            return arms
        for chosen in (arms, [run for run in arms if run == asked]):
            configs = {self.config(run) for run in chosen}
            if chosen and self.pool.room_beside(self.config(base), configs):
                return chosen
        return []

    def _has_reference(self, run: RunKey) -> bool:
        """Whether the arm without SD can be measured beside ``run``: a running server cannot be
        switched, so that arm needs an address of its own."""
        if not self.settings.rounds:
            return False
        config = self.config(run)
        alone = config.url and not engine_type(run.engine).switches
        return not (run.speculation.active and alone and not config.option("reference_url"))

    def _runnable(self, run: RunKey) -> bool:
        if run in self._here.failed or run in self._here.runs:
            return False
        try:
            self._check(run)
        except (EngineError, CannotRun):
            return False
        return True

    def _measure_references(self, asked: RunKey) -> None:
        """The arm without speculation for every run that will need it, then its engine ends."""
        config = self.config(asked.base())
        users = [run for run in self.plan if self.together(run, asked)]
        for other in dict.fromkeys(run.base() for run in users):
            if (
                self.config(other) == config
                and other not in self._here.references
                and not other.soak
            ):
                self._here.references[other] = self._alone(other)
                if other in self.plan:
                    self._keep(other, self._here.references[other], None)
        self.pool.close(config)

    def _alone(self, run: RunKey) -> ArmResult:
        return self._rounds([run])[0]

    def _soaked(self, run: RunKey) -> ArmResult:
        def progress(number: int, seconds: float, done: int, of: int) -> None:
            self.show(f"{run} · soak, round {number}, {seconds:.0f} s · {done}/{of} samples")

        samples, soak = self._samples_of([run]), run.soak
        return run_soak(self._loop(run), samples, run.bs, soak.rounds, soak.seconds, progress)

    def _until_decided(
        self, run: RunKey, decider: Decider
    ) -> tuple[ArmResult, None, Replay | None]:
        def progress(done: int, of: int) -> None:
            self.show(f"{run} · {done}/{of} samples, until decided")

        samples, loop = self._samples_of([run]), self._loop(run)
        if counts_by_slice(loop, run.bs):
            raise EngineError(
                f"--speed-early decides sample by sample, and engine {run.engine} reports "
                "acceptance by its counters alone: leave it out, or take --speed-bs 1"
            )
        outputs = self._followed(run)
        if isinstance(outputs, Replay) or outputs is None:
            done = run_until_decided(loop, samples, run.bs, decider, progress)
            return done, None, outputs
        arm, found = replay_until_decided(loop, samples, run.bs, decider, outputs, progress)
        return arm, None, found

    def _rounds(
        self,
        runs: Sequence[RunKey],
        planned: RunKey | None = None,
        anew: Restart | None = None,
    ) -> list[ArmResult]:
        samples = self._samples_of([planned] if planned else runs)
        loops = [self._loop(run) for run in runs]

        def progress(arm: Speculation, number: int, rounds: int, done: int, of: int) -> None:
            part = f"round {number}/{rounds}" if rounds else "filling the prefix cache"
            self.show(f"{runs[0].engine} bs{runs[0].bs} · {arm} · {part} · {done}/{of} samples")

        rounds, caching = self.settings.rounds, runs[0].prefix_caching
        return run_rounds(loops, samples, runs[0].bs, rounds, progress, anew, caching)

    def _samples_of(self, runs: Sequence[RunKey]) -> tuple[Sample, ...]:
        """All arms must see the same samples: those of every slice that any of them looks at."""
        wanted: dict[str, Sample] = {}
        for run in runs:
            if run in self.plan:
                wanted.update({sample.id: sample for sample in self.samples(run)})
        if not wanted:  # a reference that no case asked for by itself
            users = [run for run in self.plan if run.base() == runs[0]]
            for run in users:
                wanted.update({sample.id: sample for sample in self.samples(run)})
        return tuple(wanted.values())

    def _loop(self, run: RunKey) -> ClosedLoop:
        config = self.config(run)
        if not self.pool.running(config):
            what = f" with {config.speculation}" if config.speculation.active else ""
            self.show(f"starting {run.engine}{what}")
        return ClosedLoop(
            self.pool.get(config),
            self.tokenizer(run),
            run.sampling,
            run.speculation,
            self._context_window(run),
            self._reported(run),
            self.settings.max_failed,
        )

    def _reported(self, run: RunKey) -> Reported:
        """What the started engine of ``run`` reports of requests; it overrules its type."""
        adapter, own = engine_type(run.engine), self.pool.get(self.config(run)).info.request_counts
        counts = adapter.request_counts if own is None else own
        return Reported(counts, adapter.prompt_form)

    def _context_window(self, run: RunKey) -> int:
        config = self.config(run)
        bounds = (config.option("max_model_len"), engine_type(run.engine).window(config))
        own = self.tokenizer(run).context_window
        return min([own, *(bound for bound in bounds if isinstance(bound, int))])

    def _keep(
        self,
        run: RunKey,
        arm: ArmResult,
        reference: ArmResult | None,
        replayed: Replay | None = None,
    ) -> None:
        """``replayed`` is given where the run was followed while it went on."""
        info = self.pool.get(self.config(run)).info
        setting = self._setting(run, info, run)
        if arm.early is None:
            replayed = self._replayed(run, arm)
        self._here.runs[run] = Run(setting, arm, reference, replayed)

    def _replayed(self, run: RunKey, arm: ArmResult) -> Replay | None:
        """The run along its baseline's outputs, with the engine that has just measured it."""
        outputs = self._followed(run)
        if isinstance(outputs, Replay) or outputs is None:
            return outputs

        def progress(done: int, of: int) -> None:
            self.show(f"{run} · replay · {done}/{of} outputs")

        samples = self._samples_of([run])
        return replay(self._loop(run), samples, arm.turns, outputs, run.bs, progress)

    def _followed(self, run: RunKey) -> Outputs | Replay | None:
        """The outputs that the engine of ``run`` is to follow, or why it does not; None where
        nobody asks."""
        outputs = self.outputs(run)
        if isinstance(outputs, str):
            return Replay(refused=outputs) if outputs else None
        info, form = self._loop(run).engine.info, engine_type(run.engine).prompt_form
        reason = refusal(run.speculation, run.sampling, info, form)
        return Replay(refused=reason) if reason else outputs

    def _setting(
        self, run: RunKey, info: EngineInfo, planned: RunKey, side: Side | None = None
    ) -> RunSetting:
        """``planned`` is the run that the samples are planned for."""
        split, samples = self.split(run), self._samples_of([planned])
        drafter = run.speculation.drafter
        if own := dict(run.environment.variables):
            read = dict(cast("Mapping[str, str]", info.details.get("environment", {})))
            info = replace(info, details={**info.details, "environment": read | own})
        if traits(run.speculation.method).drafter == "layer":
            drafting: Mapping[str, str] | None = {"name": f"layer {drafter}"}
        else:
            drafting = None if drafter is None else self.identity(drafter, run.engine)
        return RunSetting(
            info,
            self.identity(run.model, run.engine),
            drafting,
            run.speculation,
            run.bs,
            run.sampling,
            self.tokenizer(run).template_digest,
            sent_as(run),
            {
                "name": split.name,
                "version": split.version,
                "digest": split.digest,
                "samples": self.count(run),
                "rows": {sample.id: sample.digest for sample in samples},
            },
            len(samples),
            dict(self.config(run).args),
            side,
            run.prefix_caching,
            any(name in dict(self.config(run).args) for name in engine_type(run.engine).schedules),
        )

    # -- the life of engines ----------------------------------------------------------------

    def needed(self, run: RunKey) -> set[EngineConfig]:
        """The engines that ``run`` uses."""
        configs = {self.config(run)}
        if self._has_reference(run) and run.speculation.active and not run.soak:
            configs.add(self.config(run.base()))
        return configs | (self.needed(run.counterpart()) if run.against else set())

    def release(self, still_needed: Iterable[RunKey]) -> None:
        """Closes every engine that no run of ``still_needed`` uses."""
        kept = {config for run in still_needed for config in self.needed(run)}
        self.pool.close_except(kept)

    def _discard(self, run: RunKey) -> None:
        """After a failure: the next run starts with fresh engines."""
        for config in self.needed(run):
            self.pool.close(config)
