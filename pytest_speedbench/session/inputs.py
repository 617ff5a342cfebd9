"""What the planned runs are made of: engine configurations, tokenizers, samples and settings.

What can be wrong with them is checked before an engine starts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import EngineConfig, EngineInfo
from pytest_speedbench.engines.registry import check as check_engine
from pytest_speedbench.engines.registry import check_sampling, engine_type
from pytest_speedbench.errors import CannotRun, EngineError, count_of
from pytest_speedbench.measure.model_identity import model_identity
from pytest_speedbench.measure.prompts import check_prompts, context_window
from pytest_speedbench.measure.results import RunSetting, Side
from pytest_speedbench.measure.tokenizer import Tokenizer, load_tokenizer
from pytest_speedbench.plan.cases import Case, RunKey, engine_config, sent_as
from pytest_speedbench.plan.environment import Variables, watched_variables
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.plan.values import ALL_SAMPLES
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


@dataclass
class Inputs:
    """The plan of a session, and what each of its runs is measured with."""

    settings: Settings
    plan: dict[RunKey, list[str]] = field(default_factory=dict)
    """Every run of the session with the slices that its cases look at."""
    most_samples: int | None = None
    """Samples of each category that a budget leaves room for."""

    def __post_init__(self) -> None:
        self._tokenizers: dict[tuple[str, ...], Tokenizer] = {}
        self._checked: set[tuple[object, ...]] = set()
        self._identities: dict[tuple[str, str], dict[str, str]] = {}
        self._largest_batch: dict[EngineConfig, int] = {}

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

    @property
    def watched(self) -> Variables:
        """The environment variables that engines read, as they are now."""
        return watched_variables(self.settings.watch_env)

    @property
    def surroundings(self) -> str:
        """Digest of :attr:`watched`."""
        return hashlib.sha256(repr(self.watched).encode()).hexdigest()[:16]

    def config(self, run: RunKey) -> EngineConfig:
        """The engine of ``run``, wide enough for every batch size it will see."""
        narrow = engine_config(run, 0, self.settings)
        return replace(
            narrow,
            max_batch=self._largest_batch.get(narrow, run.bs),
            surroundings=(*narrow.surroundings, *self.watched),
        )

    def tokenizer(self, run: RunKey) -> Tokenizer:
        """The tokenizer of the target, with the template arguments and prompt form of ``run``."""
        adapter = engine_type(run.engine)
        source = adapter.tokenizer_source(engine_config(run, 0, self.settings))
        key = (adapter.tokenizer, source, repr(run.template), run.prompt_form)
        if key not in self._tokenizers:
            self._tokenizers[key] = load_tokenizer(
                adapter.tokenizer, source, dict(run.template), run.prompt_form
            )
        return self._tokenizers[key]

    def split(self, run: RunKey) -> Split:
        """The whole split that ``run`` takes its samples from."""
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

    def samples_of(self, runs: Sequence[RunKey]) -> tuple[Sample, ...]:
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

    def context_window(self, run: RunKey) -> int:
        """The longest context in tokens that the model, the engine and its arguments allow."""
        return context_window(self.config(run), self.tokenizer(run))

    def scheduled(self, run: RunKey) -> bool:
        """Whether the engine changes the draft length by a schedule of its own."""
        args = dict(self.config(run).args)
        return any(name in args for name in engine_type(run.engine).schedules)

    def setting(
        self, run: RunKey, info: EngineInfo, planned: RunKey, side: Side | None = None
    ) -> RunSetting:
        """What ``run`` was measured with; ``planned`` is the run whose samples it took."""
        split, samples = self.split(run), self.samples_of([planned])
        drafter = run.speculation.drafter
        if own := dict(run.environment.variables):
            read = dict(cast("Mapping[str, str]", info.details.get("environment", {})))
            info = replace(info, details={**info.details, "environment": read | own})
        if traits(run.speculation.method).drafter == "layer":
            drafting: Mapping[str, str] | None = {"name": f"layer {drafter}"}
        else:
            drafting = None if drafter is None else self.identity(drafter, run.engine)
        return RunSetting(
            engine=info,
            model=self.identity(run.model, run.engine),
            drafter=drafting,
            speculation=run.speculation,
            batch_size=run.bs,
            sampling=run.sampling,
            template_digest=self.tokenizer(run).template_digest,
            prompt_form=sent_as(run),
            split={
                "name": split.name,
                "version": split.version,
                "digest": split.digest,
                "samples": self.count(run),
                "rows": {sample.id: sample.digest for sample in samples},
            },
            samples=len(samples),
            engine_args=dict(self.config(run).args),
            side=side,
            prefix_caching=run.prefix_caching,
            scheduled=self.scheduled(run),
        )

    # -- checks before an engine starts ------------------------------------------------------

    def check(self, run: RunKey) -> None:
        """Whether the engine can run it, as far as that shows before the engine starts.

        Raises:
            EngineUnavailable: the engine is not installed.
            CannotRun: the engine cannot run this case by its nature.
            EngineError: an argument that it does not take, or a prompt that it cannot be sent.
        """
        config = replace(self.config(run), speculation=run.speculation, max_batch=run.bs)
        adapter = check_engine(config)
        check_sampling(adapter, config, run.sampling)
        most = adapter.max_speculative_batch if run.speculation.active else adapter.max_batch
        if most is not None and run.bs > most:
            what = "speculates for" if run.speculation.active else "runs"
            raise CannotRun(
                f"engine {run.engine} {what} at most {count_of(most, 'request')} at a time, "
                f"this case has bs={run.bs}"
            )
        samples = self.samples(run)
        self._check_prompts(run, samples)
        if any(sample.token_ids for sample in samples):
            if adapter.prompt_form == "chat":
                raise CannotRun(
                    f"engine {run.engine} takes only text, and split {run.split} holds token ids"
                )
            if run.prompt_form == "chat" and not built_for_tokenizer(run.split):  # not ``random``
                raise EngineError(
                    f"split {run.split} holds token ids, to which no chat template is applied: use "
                    "--speed-prompt-form ids"
                )
        if bucket := throughput_bucket(run.split):
            window = self.context_window(run)
            require_context(bucket, window, run.sampling.max_tokens)

    def _check_prompts(self, run: RunKey, samples: Sequence[Sample]) -> None:
        """As :func:`check_prompts`, once for all runs of the same prompts: a grid asks often, and
        long conversations take a while."""
        tokenizer = self.tokenizer(run)
        prompts = (id(tokenizer), run.split, self.count(run), *self.plan.get(run, [ALL]))
        if prompts not in self._checked:
            check_prompts(run.prompt_form, samples, tokenizer)
            self._checked.add(prompts)

    def check_counterpart(self, run: RunKey) -> None:
        """Whether the build that ``run`` is compared with can run it.

        Raises:
            EngineError: its interpreter or its engine is missing, or it cannot run this.
        """
        if run.against is not None:
            other = run.counterpart()
            config = self.config(other)
            check_engine(replace(config, speculation=other.speculation, max_batch=run.bs))
