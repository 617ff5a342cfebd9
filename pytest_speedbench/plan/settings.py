"""What a session was told: command line over ini over default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest

from pytest_speedbench.plan.options import OPTIONS, Option, raw_value


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line and the ini file say, defaults filled in."""

    engine: tuple[str, ...] = ("transformers",)
    model: tuple[str, ...] = ("demo",)
    method: tuple[str, ...] = ("ngram",)
    drafter: tuple[str, ...] = ()
    split: tuple[str, ...] = ("qualitative",)
    category: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    keep_good: bool = False
    isl: tuple[str, ...] = ()
    entropy: tuple[str, ...] = ()
    samples: int = 8
    max_tokens: tuple[int, ...] = (128,)
    temperature: tuple[float, ...] = (0.0,)
    seed: int = 0
    min_tokens: int = 0
    ignore_eos: bool = False
    bs: tuple[int, ...] = (1,)
    dl: tuple[int, ...] = (3,)
    rounds: int = 5
    url: str = ""
    engine_arg: tuple[tuple[str, object], ...] = ()
    chat_template_kwargs: tuple[tuple[str, object], ...] = ()
    timeout: float = 600.0
    compare: str | None = None
    compare_fail: Mapping[str, float] | None = None
    require_baseline: bool = False
    alpha: float = 0.01
    reach: float = 0.12
    inconclusive: str = "warn"
    early: bool = False
    report: str = ""
    summary: str = ""
    disable: bool = False


def load_settings(config: pytest.Config) -> Settings:
    """Command line over ini over default.

    Raises:
        pytest.UsageError: a value that cannot be read; the message names option and value.
    """
    given = {}
    for option in OPTIONS:
        value = _read(config, option)
        if value is not None:
            given[option.name.replace("-", "_")] = value
    settings = Settings(**given)
    _check_early(settings)
    return settings


def _check_early(settings: Settings) -> None:
    """Early decision is for AL alone: a run that may stop is not timed."""
    metrics = {name.partition("/")[0] for name in settings.compare_fail or ()}
    timed = sorted(metrics - {"acceptance_length"})
    if settings.early and timed:
        raise pytest.UsageError(
            f"--speed-early decides AL alone and times nothing, but {timed[0]} is gated too "
            "(--speed-compare-fail): leave one of them out"
        )


def _read(config: pytest.Config, option: Option) -> Any:
    source, raw = raw_value(config, option)
    if raw is None or raw == [] or raw is True:
        return raw or None
    if raw == "" and option.name != "compare":
        _refuse(source, raw, "it is empty")
    if isinstance(raw, list):
        return tuple(_parse(option, source, text) for text in raw)
    return _parse(option, source, raw)


def _parse(option: Option, source: str, raw: str) -> Any:
    try:
        value = option.parse(raw)
    except ValueError as error:
        _refuse(source, raw, str(error))
    if value == ():
        _refuse(source, raw, "it is empty")
    return value


def _refuse(source: str, raw: str, why: str) -> NoReturn:
    raise pytest.UsageError(f"{source}: cannot read {raw!r}: {why}")
