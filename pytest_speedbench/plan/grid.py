"""Marker and options → the grid of cases and their ids.

Nothing here loads a model, an engine or a prompt: it runs at collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import FILTERS, Sampling, Speculation
from pytest_speedbench.engines.registry import check_method, engine_names, engine_type
from pytest_speedbench.errors import (
    CaseError,
    EngineError,
    SpeedbenchError,
    UsageError,
    did_you_mean,
)
from pytest_speedbench.plan.builds import reference_build
from pytest_speedbench.plan.cases import Case, RunKey
from pytest_speedbench.plan.environment import NO_ENVIRONMENT
from pytest_speedbench.plan.ids import Labels
from pytest_speedbench.plan.precedence import NO_EFFECT, drawing_options, with_marker
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.plan.soak import NO_SOAK
from pytest_speedbench.splits import (
    ALL,
    BUCKETS,
    CATEGORIES,
    RANDOM,
    TIERS,
    SplitError,
    divide_name,
    split_key,
    split_slices,
)


def build_grid(marker: Mapping[str, Any], settings: Settings) -> tuple[list[Case], list[str]]:
    """The cases of one marker and their ids, in order.

    Raises:
        CaseError: an unknown argument or name, an empty list, a number out of range; the message
            names what is allowed.
    """
    asked = with_marker(settings, marker)
    slices = {split: _slices(split, asked) for split in _splits(asked)}
    found = list(_runs(asked, slices))
    label = Labels([run for _, run in found])
    cases, ids = [], []
    for split, run in found:
        before, after = label.before(run), label.after(run)
        unnamed = not (asked.category or asked.entropy or asked.category_verdicts)
        for name in slices[split]:
            cases.append(Case(run, name, beside_all=unnamed and name != ALL))
            ids.append(f"{before}{name}{after}")
    return cases, ids


def _runs(asked: Settings, splits: Iterable[str]) -> Iterator[tuple[str, RunKey]]:
    """Every combination of the axes, and the split as it was asked for.

    ``NAME:category`` is a slice of NAME: it shares NAME's runs and its history.
    """
    speculations = _speculations(asked)
    several_drafters = len({s.drafter for s in speculations if s.drafter}) > 1
    for engine, speculation in product(asked.engine, speculations):
        _check_method(engine, speculation.method)
    for engine in asked.engine:
        _check_url(engine, asked.url)
    against = reference_build(asked)
    named = [
        (split, divide_name(split)[0], split_key(split, **_reading(asked))) for split in splits
    ]
    axes = product(
        asked.engine,
        asked.model,
        speculations,
        named,
        asked.samples,
        _samplings(asked),
        asked.bs,
        asked.soak or (NO_SOAK,),
        asked.prefix_caching,
        asked.prompt_form,
        asked.engine_env or (NO_ENVIRONMENT,),
    )
    template = asked.chat_template_kwargs
    for engine, model, speculation, named_split, samples, sampling, bs, *others in axes:
        (split, whole, key), (soak, caching, form, env) = named_split, others
        yield (
            split,
            RunKey(
                engine,
                model,
                speculation,
                bs,
                whole,
                samples,
                sampling,
                soak,
                split_key=key,
                several_drafters=several_drafters and speculation.drafter is not None,
                template=template,
                prefix_caching=caching,
                prompt_form=form,
                environment=env,
                replay=asked.replay and speculation.active,
                against=against,
            ),
        )


def _speculations(asked: Settings) -> list[Speculation]:
    """Methods × drafters × draft lengths; ``none`` has neither of the last two.

    Beside methods whose drafter chooses tokens, those that look drafts up have no choice of it.
    """
    found: dict[Speculation, None] = {}
    lookups = {method for method in asked.method if traits(method).lookup}
    choosing = set(asked.method) - lookups - {"none"}
    for method in asked.method:
        if method == "none":
            found[Speculation()] = None
            continue
        drafters = asked.drafter if traits(method).takes_drafter else ()
        draws = "" if choosing and method in lookups else asked.draft_sampling
        for drafter, dl in product(drafters or (None,), asked.dl):
            found[Speculation(method, dl, drafter, draws)] = None
    return list(found)


def _samplings(asked: Settings) -> list[Sampling]:
    """Every combination; a greedy one has neither seed nor filters, which would change nothing."""
    found: dict[Sampling, None] = {}
    lengths = product(asked.max_tokens, asked.min_tokens)
    draws = product(asked.temperature, asked.seed, asked.top_k, asked.top_p, asked.min_p)
    for (max_tokens, min_tokens), (temperature, seed, *filters) in product(lengths, draws):
        if min_tokens > max_tokens:
            raise CaseError(
                f"min_tokens={min_tokens} is more than max_tokens={max_tokens}: no output can "
                "have both"
            )
        length = Sampling(max_tokens, ignore_eos=asked.ignore_eos, min_tokens=min_tokens)
        chosen: dict[str, Any] = (
            dict(zip(FILTERS, filters, strict=True)) | {"seed": seed} if temperature else {}
        )
        found[replace(length, temperature=temperature, **chosen)] = None
    return list(found)


def _splits(asked: Settings) -> list[str]:
    """The splits by name; an input length chooses one."""
    if not asked.isl:
        return list(asked.split)
    prefix = RANDOM if asked.split == (RANDOM,) else "throughput"
    return [f"{prefix}_{_bucket(length)}" for length in asked.isl]


def _bucket(length: str) -> str:
    """``2048`` or ``2k`` → ``2k``."""
    for name, tokens in BUCKETS.items():
        if length in (name, str(tokens)):
            return name
    known = ", ".join(f"{name} ({tokens})" for name, tokens in BUCKETS.items())
    hint = did_you_mean(length, BUCKETS)
    raise CaseError(f"isl={length}: no split has this input length{hint}; known: {known}")


def _reading(asked: Settings) -> dict[str, Any]:
    """How a split file is read."""
    return {"columns": dict(asked.columns) or None, "keep_good": asked.keep_good}


def _slices(split: str, asked: Settings) -> list[str]:
    """The slices of ``split`` that are asked for: by default each one, and the whole."""
    try:
        known = split_slices(split, **_reading(asked))
    except SplitError as error:
        raise CaseError(str(error)) from error
    # One category alone is the whole already.
    every = known if len(known) == 1 else (*known, ALL)
    allowed = every if divide_name(split)[1] not in (None, ALL) else (*known, ALL)
    wanted = dict.fromkeys((*asked.category, *asked.entropy))
    for name in wanted:
        if name not in allowed:
            raise CaseError(
                f"unknown category {name!r} of split {split}{did_you_mean(name, allowed)}; "
                f"known: {', '.join(allowed)}"
            )
    return list(wanted or every)


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


def check_drawing(settings: Settings, cases: Sequence[Case], spelling: Mapping[str, str]) -> None:
    """Refuses filters and seeds of options where all cases are greedy, by markers too.

    Args:
        settings: of the session.
        cases: every collected case.
        spelling: option → how it was given, for those that were.

    Raises:
        UsageError: the message names the option.
    """
    sampled = any(settings.temperature) or any(not case.run.sampling.greedy for case in cases)
    for option in drawing_options(vars(settings)) if cases and not sampled else ():
        raise UsageError(f"{spelling[option]} {NO_EFFECT}")


def check_names(settings: Settings, cases: Sequence[Case], spelling: Mapping[str, str]) -> None:
    """Refuses names that exist nowhere, where no case has shown it: those of markers come first.

    Args:
        settings: of the session.
        cases: every collected case.
        spelling: option → how it was given, for those that were.

    Raises:
        UsageError: the message names the option, the closest known name, and what there is.
    """
    for option, check in (
        ("engine", engine_type),
        ("method", lambda method: _check_any_method(method, cases)),
        ("split", lambda split: split_slices(split, **_reading(settings))),
    ):
        for name in getattr(settings, option) if option in spelling else ():
            try:
                check(name)
            except SpeedbenchError as error:
                raise UsageError(f"{spelling[option]}: {error}") from None
    asked = [
        (spelling[option], name)
        for option in ("category", "entropy")
        if option in spelling
        for name in getattr(settings, option)
    ]
    margins = [name.partition("/")[2] for name in settings.compare_fail or ()]
    asked += [("--speed-compare-fail", name) for name in margins if name]
    if not asked:
        return
    splits = dict.fromkeys((*settings.split, *(case.run.split for case in cases)))
    own = [name for split in splits for name in split_slices(split, **_reading(settings))]
    # Built-in names may belong to tests that are not collected this time.
    known = list(dict.fromkeys((*own, *CATEGORIES, *TIERS, ALL)))
    for option, name in asked:
        if name not in known:
            raise UsageError(
                f"{option}: unknown category {name!r}{did_you_mean(name, known)}; "
                f"known: {', '.join(known)}"
            )


def _check_any_method(method: str, cases: Iterable[Case]) -> None:
    """Whether ``method`` is in our table, or any engine of the cases has it.

    Raises:
        EngineError: neither; the message is that of the first engine.
    """
    if traits(method).in_table:
        return
    errors = []
    for engine in dict.fromkeys(case.run.engine for case in cases):
        try:
            check_method(engine, method)
        except EngineError as error:
            errors.append(error)
        else:
            return
    if errors:
        raise errors[0]
