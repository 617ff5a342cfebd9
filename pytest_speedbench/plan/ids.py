"""The ids of cases: ``math-bs1-dl3``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pytest_speedbench.engines.protocol import FILTERS
from pytest_speedbench.plan.cases import RunKey
from pytest_speedbench.plan.values import ALL_SAMPLES
from pytest_speedbench.quantities import exact
from pytest_speedbench.splits import given_name


class Labels:
    """Parts of an id around the slice; an axis appears only if the grid has several values."""

    def __init__(self, runs: Sequence[RunKey]) -> None:
        def several(values: Iterable[object]) -> bool:
            return len(set(values)) > 1

        self._engine = several(r.engine for r in runs)
        self._model = several(r.model for r in runs)
        self._method = several(r.speculation.method for r in runs)
        self._drafter = several(r.speculation.drafter for r in runs if r.speculation.drafter)
        self._split = several(r.split for r in runs)
        self._samples = several(r.samples for r in runs)
        self._max_tokens = several(r.sampling.max_tokens for r in runs)
        self._temperature = several(r.sampling.temperature for r in runs)
        sampled = [r.sampling for r in runs if not r.sampling.greedy]
        self._filters = [n for n in FILTERS if several(getattr(s, n) for s in sampled)]
        self._seed = several(s.seed for s in sampled)
        self._min_tokens = several(r.sampling.min_tokens for r in runs)
        self._form = several(r.prompt_form for r in runs)
        self._caching = several(r.prefix_caching for r in runs)
        self._soak = several(r.soak for r in runs)

    def before(self, run: RunKey) -> str:
        return "".join(f"{part}-" for part in self._before(run))

    def _before(self, run: RunKey) -> Iterator[str]:
        if self._engine:
            yield run.engine
        if self._model:
            yield _short(run.model)
        if self._method:
            yield run.speculation.method
        if self._drafter and run.speculation.drafter:
            yield _short(run.speculation.drafter)
        if self._split:
            yield given_name(run.split)[0] or _short(run.split)

    def after(self, run: RunKey) -> str:
        parts = [f"bs{run.bs}"]
        if run.speculation.active:
            parts.append(f"dl{run.speculation.draft_length}")
        if self._samples:
            parts.append("nall" if run.samples == ALL_SAMPLES else f"n{run.samples}")
        if self._max_tokens:
            parts.append(f"max{run.sampling.max_tokens}")
        if self._min_tokens:
            parts.append(f"min{run.sampling.min_tokens}")
        if self._temperature:
            parts.append(f"t{exact(run.sampling.temperature)}")
        if not run.sampling.greedy:
            parts += [f"{name}{exact(getattr(run.sampling, name))}" for name in self._filters]
            parts += [f"seed{run.sampling.seed}"] if self._seed else []
        if self._form:
            parts.append(run.prompt_form)
        if self._caching:
            parts.append("cached" if run.prefix_caching else "uncached")
        if run.environment.label:
            parts.append(run.environment.label)
        if self._soak:
            parts.append(f"soak{run.soak}")
        return "".join(f"-{part}" for part in parts)


def _short(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]
