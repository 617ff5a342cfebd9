"""Command line over ini file over default; a marker's own arguments over all three.

What is given on one level replaces what it contradicts on a lower one: ``--speed-split`` replaces
an ``isl`` of the ini file. Contradictions on the same level are errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import FILTERS
from pytest_speedbench.errors import CaseError, UsageError, did_you_mean
from pytest_speedbench.plan.options import (
    command_line_options,
    from_command_line,
    from_ini,
    marker_arguments,
)
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH
from pytest_speedbench.splits import NAMES, RANDOM
from pytest_speedbench.splits.formats import FIELDS

_Spelling = Callable[[str], str]
NO_EFFECT = (
    "has no effect at temperature 0, which is greedy: give a temperature above 0, or leave it out"
)
"""What a message says of :func:`drawing_options`, after the option."""


def load_settings(config: pytest.Config) -> Settings:
    """Command line over ini file over default.

    Raises:
        pytest.UsageError: a value that cannot be read, or two that contradict each other; the
            message names the options.
    """
    options = Settings.options
    ini = {o.name: raw for o in command_line_options() if (raw := from_ini(config, o)) is not None}
    flags = {
        o.name: raw
        for o in command_line_options()
        if (raw := from_command_line(config, o)) is not None
    }
    settings = Settings()
    try:
        settings = _level(settings, ini, lambda name: f"ini option {options[name].ini}")
        settings = _level(settings, flags, lambda name: options[name].flag)
        _check_timing(settings)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    return settings


def _level(base: Settings, raw: Mapping[str, object], spelling: _Spelling) -> Settings:
    given = {name: _parse(name, value, spelling) for name, value in raw.items()}
    return _combine(base, given, spelling, final=False)


def _parse(name: str, raw: object, spelling: _Spelling) -> Any:
    try:
        return Settings.options[name].parse(raw)
    except ValueError as error:
        shown = raw[0] if isinstance(raw, list) and len(raw) == 1 else raw
        raise UsageError(f"{spelling(name)}: cannot read {shown!r}: {error}") from None


def with_marker(settings: Settings, marker: Mapping[str, Any]) -> Settings:
    """The settings of one test: a marker's own arguments over ``settings``. None is not given.

    Raises:
        CaseError: an unknown argument, a value of a wrong type, or a contradiction.
    """
    known = marker_arguments()
    for name in sorted(set(marker) - set(known)):
        raise CaseError(
            f"speed marker: unknown argument {name!r}{did_you_mean(name, known)}; "
            f"known: {', '.join(known)}"
        )
    given = {name: _argument(name, raw) for name, raw in marker.items() if raw is not None}
    try:
        asked = _combine(settings, given, lambda name: f"{name}={marker[name]!r}")
    except UsageError as error:
        raise CaseError(f"speed marker: {error}") from None
    # Method none may stand beside a drafter: scripts name both and vary the method.
    if asked.drafter and asked.method != ("none",) and not _drafters_wanted(asked.method):
        raise CaseError(
            f"drafter {', '.join(asked.drafter)} is given, but method {', '.join(asked.method)} "
            "uses no drafter: name the method that it belongs to, such as eagle3, or leave it out"
        )
    return asked


def settings_of_keywords(given: Mapping[str, Any]) -> Settings:
    """The settings that keyword arguments of Python code name; None is not given.

    Raises:
        UsageError: an unknown name, a value of a wrong type, or a contradiction.
    """
    _check_names(given)
    parsed = {name: _value(name, raw) for name, raw in given.items() if raw is not None}
    return _combine(Settings(), parsed, lambda name: f"{name}={given[name]!r}")


def settings_of_texts(given: Mapping[str, Sequence[str]]) -> Settings:
    """The settings that texts name, read as on the command line of pytest.

    Raises:
        UsageError: as :func:`settings_of_keywords`.
    """
    _check_names(given)

    def spelling(name: str) -> str:
        return f"{name}={','.join(given[name])}"

    parsed = {}
    for name, texts in given.items():
        try:
            parsed[name] = Settings.options[name].parse(list(texts))
        except ValueError as error:
            raise UsageError(f"{spelling(name)}: {error}") from None
    return _combine(Settings(), parsed, spelling)


def _check_names(given: Iterable[str]) -> None:
    known = Settings.options
    for name in sorted(set(given) - set(known)):
        raise UsageError(f"unknown argument {name!r}{did_you_mean(name, known)}")


def _argument(name: str, raw: object) -> Any:
    try:
        return _value(name, raw)
    except UsageError as error:
        raise CaseError(f"speed marker: {error}") from None


def _value(name: str, raw: object) -> Any:
    try:
        return Settings.options[name].parse_argument(raw)
    except ValueError as error:
        raise UsageError(f"{name}={raw!r}: {error}") from None


def _combine(
    base: Settings, given: Mapping[str, Any], spelling: _Spelling, *, final: bool = True
) -> Settings:
    """``given`` over ``base``; ``final`` where no level comes above."""
    _check_columns(given, spelling)
    if given.get("early") and given.get("rounds"):
        raise UsageError(
            f"{spelling('early')} times nothing, but {spelling('rounds')} asks for timed rounds: "
            "leave one of them out"
        )
    greedy = _greedy(base, given, final)
    if (draws := drawing_options(given)) and greedy:
        raise UsageError(f"{spelling(draws[0])} {NO_EFFECT}")
    replaced = _prompts(base, given, spelling) | _slices(given) | _drafters(given)
    if greedy:
        replaced |= {name: Settings.options[name].default for name in drawing_options(vars(base))}
    return base.replace(**(replaced | dict(given)))


def _prompts(base: Settings, given: Mapping[str, Any], spelling: _Spelling) -> dict[str, Any]:
    """A split replaces input lengths of a lower level, and the other way round."""
    only_random = set(given.get("split", base.split)) == {RANDOM}
    if "isl" in given and not only_random:
        if "split" in given:
            raise UsageError(
                f"{spelling('isl')} chooses a throughput split, or the length of split "
                f"{RANDOM!r}, but {spelling('split')} names another: leave one of them out"
            )
        return {"split": Settings.options["split"].default}
    return {"isl": ()} if "split" in given and not only_random else {}


def _slices(given: Mapping[str, Any]) -> dict[str, Any]:
    """Categories replace tiers of a lower level, and the other way round."""
    replaced = {"category": "entropy", "entropy": "category"}
    return {old: () for new, old in replaced.items() if new in given and old not in given}


def _drafters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Methods without a drafter replace a drafter of a lower level."""
    dropped = "method" in given and not _drafters_wanted(given["method"])
    return {"drafter": ()} if dropped and "drafter" not in given else {}


def _greedy(base: Settings, given: Mapping[str, Any], final: bool) -> bool:
    """Whether every output is greedy, whatever a level above says."""
    if "temperature" in given:
        return not any(given["temperature"])
    return final and not any(base.temperature)


def drawing_options(given: Mapping[str, Any]) -> list[str]:
    """Those of ``given`` that change nothing where the most likely token is always taken: filters
    that leave out tokens, and several seeds. A single seed may stand in any script."""
    filters = [n for n in FILTERS if n in given and given[n] != Settings.options[n].default]
    return [*filters, *(["seed"] if len(given.get("seed", ())) > 1 else [])]


def _drafters_wanted(methods: tuple[str, ...]) -> bool:
    return any(traits(method).takes_drafter for method in methods)


def _check_columns(given: Mapping[str, Any], spelling: _Spelling) -> None:
    """Columns and bad rows are those of files."""
    for ours, _ in given.get("columns", ()):
        if ours not in FIELDS:
            raise UsageError(
                f"{spelling('columns')}: unknown field {ours!r}{did_you_mean(ours, FIELDS)}; "
                f"known: {', '.join(FIELDS)}"
            )
    splits = given.get("split", ())
    files = [name for name in splits if name.partition(":")[0] not in NAMES]
    for name in ("columns", "keep_good"):
        if given.get(name) and splits and not files:
            raise UsageError(
                f"{spelling(name)} is for split files, but {spelling('split')} names none: leave "
                "it out"
            )


def _check_timing(settings: Settings) -> None:
    """What is not timed cannot be gated: a run that may stop early, and one without rounds."""
    metrics = {name.partition("/")[0] for name in settings.compare_fail or ()}
    if not settings.rounds and "speedup" in metrics:
        raise UsageError(
            "--speed-rounds 0 measures acceptance alone, but speedup is gated "
            "(--speed-compare-fail): leave one of them out"
        )
    timed = sorted(metrics - {ACCEPTANCE_LENGTH})
    if settings.early and timed:
        raise UsageError(
            f"--speed-early decides AL alone and times nothing, but {timed[0]} is gated too "
            "(--speed-compare-fail): leave one of them out"
        )
