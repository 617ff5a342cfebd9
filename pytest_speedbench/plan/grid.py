"""Marker and options → the grid of cases and their ids.

Nothing here loads a model, an engine or a prompt: it runs at collection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import inf
from typing import Any

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import Sampling, Speculation
from pytest_speedbench.engines.registry import check_method, engine_names, engine_type
from pytest_speedbench.errors import CaseError, EngineError
from pytest_speedbench.plan.cases import Case, RunKey
from pytest_speedbench.plan.ids import Labels
from pytest_speedbench.plan.options import ALL_SAMPLES
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.plan.soak import NO_SOAK, Soak, parse_soak
from pytest_speedbench.splits import ALL, BUCKETS, SplitError, divide_name, split_key, split_slices

MARKER_ARGUMENTS = (
    "bs",
    "dl",
    "method",
    "engine",
    "model",
    "drafter",
    "split",
    "category",
    "isl",
    "entropy",
    "samples",
    "max_tokens",
    "temperature",
    "soak",
    "min_tokens",
    "ignore_eos",
    "chat_template_kwargs",
)


def build_grid(marker: Mapping[str, Any], settings: Settings) -> tuple[list[Case], list[str]]:
    """The cases of one marker and their ids, in order.

    Raises:
        CaseError: an unknown keyword or name, an empty list, a number out of range; the message
            names what is allowed.
    """
    return _Grid(marker, settings).build()


@dataclass(slots=True)
class _Grid:
    marker: Mapping[str, Any]
    settings: Settings

    def build(self) -> tuple[list[Case], list[str]]:
        unknown = sorted(set(self.marker) - set(MARKER_ARGUMENTS))
        if unknown:
            raise CaseError(
                f"speed marker: unknown argument {', '.join(map(repr, unknown))}; "
                f"known: {', '.join(MARKER_ARGUMENTS)}"
            )
        asked = self._runs()
        slices = {split: self._slices(split) for split in dict.fromkeys(r.split for r in asked)}
        # NAME:category is a slice of NAME: it shares NAME's runs and its history.
        keys = {split: self._split_key(split) for split in slices}
        runs = [
            replace(run, split=divide_name(run.split)[0], split_key=keys[run.split])
            for run in asked
        ]
        label = Labels(runs)
        cases, ids = [], []
        for run, split in zip(runs, (r.split for r in asked), strict=True):
            before, after = label.before(run), label.after(run)
            for name in slices[split]:
                cases.append(Case(run, name))
                ids.append(f"{before}{name}{after}")
        return cases, ids

    def _runs(self) -> list[RunKey]:
        engines = self._values("engine", str)
        models = self._values("model", str)
        batches = self._numbers("bs", 1)
        speculations = self._speculations()
        for engine, speculation in product(engines, speculations):
            _check_method(engine, speculation.method)
        for engine in engines:
            _check_url(engine, self.settings.url)
        template = self._template()
        return [
            RunKey(engine, model, speculation, bs, split, samples, sampling, soak, template)
            for engine, model, speculation, split, samples, sampling, bs, soak in product(
                engines,
                models,
                speculations,
                self._splits(),
                self._sample_counts(),
                self._samplings(),
                batches,
                self._soaks(),
            )
        ]

    def _samplings(self) -> list[Sampling]:
        ignore_eos = self._flag("ignore_eos")
        found = []
        for max_tokens, temperature, min_tokens in product(
            self._numbers("max_tokens", 1),
            self._floats("temperature"),
            self._numbers("min_tokens", 0),
        ):
            if min_tokens > max_tokens:
                raise CaseError(f"min_tokens={min_tokens} is more than max_tokens={max_tokens}")
            found.append(
                Sampling(max_tokens, temperature, self.settings.seed, ignore_eos, min_tokens)
            )
        return found

    def _flag(self, name: str) -> bool:
        given = self.marker.get(name, getattr(self.settings, name))
        if not isinstance(given, bool):
            raise CaseError(f"{name}={given!r}: want True or False")
        return given

    def _template(self) -> tuple[tuple[str, object], ...]:
        given = self.marker.get("chat_template_kwargs")
        if given is None:
            return self.settings.chat_template_kwargs
        if not isinstance(given, Mapping):
            raise CaseError(
                f"chat_template_kwargs={given!r}: want a dict, such as {{'enable_thinking': False}}"
            )
        return tuple((str(key), value) for key, value in given.items())

    def _speculations(self) -> list[Speculation]:
        """Methods × drafters × draft lengths; ``none`` has neither of the last two."""
        found: dict[Speculation, None] = {}
        drafters = self._values("drafter", str, empty_ok=True) or [None]
        for method in self._values("method", str):
            if method == "none":
                found[Speculation()] = None
                continue
            own = drafters if traits(method).takes_drafter else [None]
            for drafter, dl in product(own, self._draft_lengths(method)):
                found[Speculation(method, dl, drafter)] = None
        return list(found)

    def _draft_lengths(self, method: str) -> list[int]:
        lengths = self._values("dl", int)
        for length in lengths:
            if not isinstance(length, int) or isinstance(length, bool) or length < 1:
                raise CaseError(
                    f"dl={length!r} with method {method!r}: a draft length is a whole number from "
                    "1 on; for a run without speculation say method='none'"
                )
        return lengths

    def _splits(self) -> list[str]:
        lengths = self._values("isl", lambda value: value, empty_ok=True)
        if not lengths:
            return self._values("split", str)
        if "split" in self.marker:
            raise CaseError("speed marker: isl chooses a throughput split; leave split out")
        return [_bucket(length) for length in lengths]

    def _split_key(self, split: str) -> str:
        settings = self.settings
        return split_key(
            split, columns=dict(settings.columns) or None, keep_good=settings.keep_good
        )

    def _slices(self, split: str) -> list[str]:
        asked = [
            *self._values("category", str, empty_ok=True),
            *self._values("entropy", str, empty_ok=True),
        ]
        try:
            known = list(
                split_slices(
                    split,
                    columns=dict(self.settings.columns) or None,
                    keep_good=self.settings.keep_good,
                )
            )
        except SplitError as error:
            raise CaseError(str(error)) from error
        for name in asked:
            if name not in (*known, ALL):
                raise CaseError(
                    f"unknown category {name!r} of split {split}; known: {', '.join((*known, ALL))}"
                )
        return list(dict.fromkeys(asked)) or known

    def _sample_counts(self) -> list[int]:
        counts = self._values("samples", lambda value: value)
        result = []
        for count in counts:
            if (count in ("all", ALL_SAMPLES) and "samples" not in self.marker) or count == "all":
                result.append(ALL_SAMPLES)
            elif isinstance(count, int) and not isinstance(count, bool) and count >= 1:
                result.append(count)
            else:
                raise CaseError(f"samples={count!r}: want a whole number from 1 on, or 'all'")
        return result

    def _soaks(self) -> list[Soak]:
        if self.marker.get("soak") is None:
            return [NO_SOAK]
        found = []
        for value in self._values("soak", lambda value: value):
            try:
                found.append(parse_soak(value))
            except ValueError as error:
                raise CaseError(f"soak={value!r}: {error}") from None
        return found

    def _numbers(self, name: str, least: int) -> list[int]:
        values = self._values(name, lambda value: value)
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise CaseError(f"{name}={value!r}: want a whole number from {least} on")
        return values

    def _floats(self, name: str) -> list[float]:
        values = self._values(name, lambda value: value)
        for value in values:
            if (
                not isinstance(value, int | float)
                or isinstance(value, bool)
                or not 0 <= value < inf
            ):
                raise CaseError(f"{name}={value!r}: want a number from 0 on")
        return [float(value) for value in values]

    def _values(
        self, name: str, convert: Callable[[Any], Any], *, empty_ok: bool = False
    ) -> list[Any]:
        """The values of one axis: the marker's, else the settings'."""
        given = self.marker.get(name)
        if given is None:
            given = getattr(self.settings, name)
        values = list(given) if isinstance(given, list | tuple | set | frozenset) else [given]
        if not values and (name in self.marker or not empty_ok):
            raise CaseError(f"speed marker: {name} is an empty list; name at least one value")
        if convert is str and any(not isinstance(value, str) for value in values):
            raise CaseError(f"{name}={given!r}: want a name, or a list of names")
        try:
            return list(dict.fromkeys(values))
        except TypeError:
            raise CaseError(f"{name}={given!r}: want one value, or a list of values") from None


def _check_method(engine: str, method: str) -> None:
    try:
        check_method(engine, method)
    except EngineError as error:
        raise CaseError(str(error)) from error


def _check_url(engine: str, url: str) -> None:
    if url and not engine_type(engine).server:
        servers = [name for name in engine_names() if engine_type(name).server]
        raise CaseError(
            f"engine {engine!r} does not talk to a server at --speed-url; these do: "
            f"{', '.join(servers)}"
        )


def _bucket(length: object) -> str:
    """``2048`` or ``"2k"`` → ``throughput_2k``."""
    text = str(length)
    for name, tokens in BUCKETS.items():
        if text in (name, str(tokens)):
            return f"throughput_{name}"
    known = ", ".join(f"{name} ({tokens})" for name, tokens in BUCKETS.items())
    raise CaseError(f"isl={length!r}: no throughput split has this length; known: {known}")
