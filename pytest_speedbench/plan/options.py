"""Every option in one place, with its ini twin: ``--speed-NAME`` and ``speed_name``.

Every pytest run imports this module, so it imports nothing that takes time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import pytest

LATEST = ""
"""The value of ``--speed-compare`` without a REF: the latest comparable record."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in _words(text))
    except ValueError:
        raise ValueError("want whole numbers, such as 1,32") from None


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _words(text))
    except ValueError:
        raise ValueError("want numbers, such as 0,0.7") from None


def _samples(text: str) -> int:
    if text == "all":
        return ALL_SAMPLES
    if not text.isdecimal() or int(text) < 1:
        raise ValueError("want a whole number from 1 on, or all")
    return int(text)


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise ValueError("want a whole number from 0 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ValueError("want seconds, more than 0")
    return seconds


_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


def _flag(text: str) -> bool:
    if text.lower() not in (*_TRUE, *_FALSE):
        raise ValueError("want true or false")
    return text.lower() in _TRUE


def parse_share(text: str) -> float:
    """``2%`` or ``0.02`` → 0.02; must lie strictly between 0 and 1."""
    text = text.strip()
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        raise ValueError("want a share, such as 2% or 0.02") from None
    if not 0 < value < 1:
        raise ValueError("it must lie between 0 and 100 %, both excluded")
    return value


def parse_reach(text: str) -> float:
    """A share as others, or 0: nothing is assumed."""
    return 0.0 if text.strip() in ("0", "0%") else parse_share(text)


def _margins(text: str) -> Mapping[str, float]:
    """``acceptance_length:2%,acceptance_length/math:5%,speedup:5%``."""
    margins = {}
    for part in text.replace("\n", ",").split(","):
        if not part.strip():
            continue
        name, colon, margin = part.strip().rpartition(":")
        metric = name.partition("/")[0]
        if not colon or metric not in GATED_METRICS:
            raise ValueError(
                f"{part.strip()!r}: want METRIC[/CATEGORY]:MARGIN with METRIC one of "
                f"{', '.join(GATED_METRICS)}, such as acceptance_length:2%"
            )
        margins[name] = parse_share(margin)
    return margins


def column_names(text: str) -> tuple[tuple[str, str], ...]:
    """``prompt=body,id=ticket``: our field names and the file's columns."""
    pairs = [part.partition("=") for part in _words(text)]
    if not all(equals and ours and theirs for ours, equals, theirs in pairs):
        raise ValueError("want FIELD=COLUMN, such as prompt=body,id=ticket")
    return tuple((ours.strip(), theirs.strip()) for ours, _, theirs in pairs)


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"want one of {', '.join(allowed)}")
        return text

    return parse


def engine_argument(text: str) -> tuple[str, object]:
    """``KEY=VALUE``; the value is read as JSON where it is JSON, as text otherwise."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError("want KEY=VALUE, such as max_model_len=4096")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value


ALL_SAMPLES = 0
GATED_METRICS = ("acceptance_length", "speedup", "output_tps")


class Option:
    """An option of the command line and its ini twin; ``parse`` raises ValueError."""

    __slots__ = ("action", "description", "dest", "flag", "metavar", "name", "parse")

    def __init__(
        self,
        name: str,
        parse: Callable[[str], Any],
        description: str,
        metavar: str = "",
        action: str = "store",
    ) -> None:
        self.name, self.parse, self.description = name, parse, description
        self.metavar, self.action = metavar, action
        self.flag = f"--speed-{name}"
        self.dest = f"speed_{name.replace('-', '_')}"


OPTIONS = (
    Option("engine", _words, "engine, or a comma list of them", "NAME"),
    Option("model", _words, "target model: hub name, folder, or 'demo'", "MODEL"),
    Option("method", _words, "method of speculative decoding, as engines call it", "NAME"),
    Option("drafter", _words, "drafter: hub name or folder (early_exit: a layer)", "MODEL"),
    Option("split", _words, "split: a name, a hub name or a file, [:category]", "SPLIT"),
    Option("category", _words, "categories or tiers to run, 'all' for one whole case", "NAME"),
    Option("columns", column_names, "columns of a split file, our name first", "FIELD=COLUMN"),
    Option("keep-good", _flag, "leave out a split file's bad rows", action="store_true"),
    Option("isl", _words, "input length: throughput split by tokens (1k … 32k)", "TOKENS"),
    Option("entropy", _words, "entropy tiers of a throughput split", "TIER"),
    Option("samples", _samples, "samples of each category; 'all' for the whole split", "N"),
    Option("max-tokens", _integers, "most output tokens of a request", "N"),
    Option("temperature", _numbers, "sampling temperature; 0 is greedy", "T"),
    Option("seed", _whole, "sampling seed", "N"),
    Option("min-tokens", _whole, "fewest output tokens of a request", "N"),
    Option("ignore-eos", _flag, "every output runs to max-tokens", action="store_true"),
    Option("bs", _integers, "batch sizes (concurrent requests), comma list", "N"),
    Option("dl", _integers, "draft lengths, comma list", "N"),
    Option("rounds", _whole, "alternating rounds; 0 measures AL only, no speedup", "N"),
    Option("url", str, "address of a running server", "URL"),
    Option(
        "engine-arg", engine_argument, "an argument of the engine itself", "KEY=VALUE", "append"
    ),
    Option(
        "chat-template-kwargs",
        engine_argument,
        "an argument of the chat template",
        "KEY=VALUE",
        "append",
    ),
    Option("timeout", _seconds, "longest start, and silence, of an engine", "SECONDS"),
    Option("compare", str, "compare with a saved run: number, name, file, commit, branch", "REF"),
    Option("compare-fail", _margins, "fail on a loss above the margin", "METRIC:MARGIN"),
    Option("require-baseline", _flag, "a case without a baseline fails", action="store_true"),
    Option("alpha", parse_share, "error rate of the gate", "SHARE"),
    Option("reach", parse_reach, "smallest share of samples that a loss is looked for in", "SHARE"),
    Option("inconclusive", _choice("pass", "warn", "fail"), "what undecided does", "DO"),
    Option("early", _flag, "stop a run when its AL is decided; no timing", action="store_true"),
    Option("report", str, "write an HTML report", "PATH.html"),
    Option("summary", str, "write a Markdown summary", "PATH.md"),
    Option("disable", _flag, "skip every speed test", action="store_true"),
)


def add_options(parser: pytest.Parser) -> None:
    """Declares every option and its ini twin."""
    group = parser.getgroup("speedbench", "speculative decoding (pytest-speedbench)")
    for option in OPTIONS:
        keywords: dict[str, Any] = {"dest": option.dest, "help": option.description}
        if option.action == "store_true":
            keywords |= {"action": "store_true", "default": None}
        elif option.name == "compare":
            keywords |= {"nargs": "?", "const": LATEST, "metavar": "REF"}
        else:
            keywords |= {"action": option.action, "metavar": option.metavar}
        group.addoption(option.flag, **keywords)
        ini_type: Literal["linelist", "string"]
        ini_type = "linelist" if option.action == "append" else "string"
        parser.addini(option.dest, option.description, type=ini_type, default=None)


def any_given(config: pytest.Config) -> bool:
    """Whether the command line or the ini file says anything of ours."""
    return any(raw_value(config, option)[1] not in (None, []) for option in OPTIONS)


def raw_value(config: pytest.Config, option: Option) -> tuple[str, Any]:
    """Where ``option`` is given, in words, and its unread value; None or [] where it is not."""
    value = config.getoption(option.dest, None)
    if value is not None:
        return option.flag, value
    return f"ini option {option.dest}", config.getini(option.dest)
