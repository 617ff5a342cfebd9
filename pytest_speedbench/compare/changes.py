"""How two records differ in anything but their measurements: what may have changed AL.

An engine argument and the value that the engine reports for it after its start have one name. The
reported value is the one compared; the argument only where the engine does not report it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import takewhile
from typing import Any

from pytest_speedbench.baselines.provenance import ModelRecord, is_known
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.secrets import hide_secrets

ABSENT = "–"
HARNESS = "pytest-speedbench"
PACKAGES = "packages."
_WHOLE = (PACKAGES, "environment.")
# What most likely explains a change of AL comes first.
_ORDER = tuple(
    re.compile(pattern)
    for pattern in (
        r"method$|draft_length$",
        r"drafter\.",
        r"speculati|accept|draft_|prompt_lookup|max_matching_ngram|num_assistant|assistant",
        r"model\.",
        r"chat_template$|prompt_form$|sampling\.|split\.",
        r"engine$|engine\.(version|commit)$",
        r"dtype$|quantization|kv_cache_dtype",
        r"attention|attn",
        rf"(?!machine\.|{re.escape(PACKAGES)}|{HARNESS})",
        re.escape(PACKAGES),
        r"machine\.",
        "",
    )
)
# Reported by engines, but not settings: they vary from run to run, or their content is compared
# elsewhere.
_LEFT_OUT = frozenset(
    {
        "kv_blocks",  # follows the memory that was free at the start
        "counters",  # a note on the run
        "model_path",  # places: the digests of weights are compared
        "served_model",
        "served_model_name",
        "reference_url",
        "server",  # a port
        "pids",
    }
)
# What engines report of the case itself.
_OF_THE_CASE = {
    "speculative_method": "method",
    "speculative.method": "method",
    "speculative.num_speculative_tokens": "draft_length",
}
_TEMPORARY = re.compile(r"^(/private)?/(tmp|var/tmp|var/folders|dev/shm)/")
_LONGEST = 48
_CONTEXT = 12


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two records, as text.

    Attributes:
        field: a dotted name: ``drafter.weights``, ``packages.torch``, or the engine's own name of
            a setting, such as ``speculative.prompt_lookup_min``.
        old: the baseline's value; None where it does not have the field.
        new: the value of the run under test, or None.
    """

    field: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        sides = (ABSENT if side is None else side for side in (self.old, self.new))
        return f"{self.field}: {' → '.join(sides)}"

    def as_dict(self) -> dict[str, Any]:
        """Plain builtins, for an xdist worker and for a record."""
        return asdict(self)


def changes(old: Record, new: Record) -> tuple[Change, ...]:
    """The differences of ``new`` from ``old``, most likely causes of a change of AL first.

    What one of the records does not know is not compared. Secrets are hidden, long values
    shortened.
    """
    facts, settings = (_facts(old), _facts(new)), (_settings(old), _settings(new))
    found: dict[str, tuple[str | None, str | None]] = {}
    # An argument counts unless both sides report the value that it led to.
    reported = [facts[side].keys() | settings[side].keys() for side in (0, 1)]
    for name, sides in _differing(_flat_args(old), _flat_args(new)):
        if not all(name in names for names in reported):
            found[name] = sides
    # A setting that only one side reports is unknown to the other version of engine or plugin.
    for name, sides in _differing(*settings):
        if all(_reported(name, side) for side in settings):
            found[name] = sides
    found.update((name, sides) for name, sides in _differing(*facts) if _both_known(name, *facts))
    # What the engine reports of the case itself is a second name of the same difference.
    for name, of_the_case in _OF_THE_CASE.items():
        if name in found and found[name] == found.get(of_the_case):
            del found[name]
    return tuple(Change(name, *_shortened(*found[name])) for name in sorted(found, key=_rank))


def _rank(field: str) -> tuple[int, str]:
    return next(n for n, pattern in enumerate(_ORDER) if pattern.match(field)), field


def _facts(record: Record) -> dict[str, str]:
    """What is not the engine's configuration; unknown values are left out."""
    engine, machine = record.engine, record.machine
    facts = {
        "method": record.spec.method,
        "draft_length": record.spec.draft_length,
        "engine": engine.name,
        "engine.version": engine.version,
        "engine.commit": engine.commit,
        "engine.device": engine.device,
        "dtype": engine.known_dtype,
        **_model("model", record.model),
        **_model("drafter", record.spec.drafter),
        "split.name": record.split.name,
        "split.version": record.split.version,
        "split.digest": record.split.digest,
        "split.samples": record.split.samples or "all",
        "chat_template": record.template,
        "prompt_form": record.prompt_form,
        **flat(record.sampling.model_dump(), "sampling."),
        **flat(engine.packages, PACKAGES),
        **flat(machine.model_dump(exclude={"fingerprint"}), "machine."),
        HARNESS: record.harness,
    }
    texts = ((name, _text(hide_secrets(value))) for name, value in facts.items())
    silent = _not_stated(record)
    return {
        name: text
        for name, text in texts
        if is_known(text) and silent.isdisjoint((name, name.partition(".")[0]))
    }


def _not_stated(record: Record) -> set[str]:
    """Facts, and groups of them, that the file of another tool does not hold."""
    if record.imported is None:
        return set()
    unverified = record.imported.unverified
    names = {f"sampling.{name}" for name in unverified} | {
        *unverified,
        *("machine", "split.samples", HARNESS),
    }
    return names | ({"draft_length"} if "dl" in unverified else set())


def _model(name: str, model: ModelRecord | None) -> dict[str, str]:
    if model is None:
        return {}
    return {f"{name}.{part}": getattr(model, part) for part in ("name", "weights", "revision")}


def _settings(record: Record) -> dict[str, str | None]:
    """The engine's configuration as it reported it; None where a setting is not set."""
    found = flat(hide_secrets(record.engine.details))
    return {name: _text(value) or None for name, value in found.items() if name not in _LEFT_OUT}


def _flat_args(record: Record) -> dict[str, str]:
    found = flat(hide_secrets(record.engine.args))
    return {name: _text(value) for name, value in found.items() if name not in _LEFT_OUT}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, the names joined by dots; an empty mapping has none."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value.rpartition("/")[2] if _TEMPORARY.match(value) else value
    if value is None or value == []:
        return ""
    return json.dumps(value, ensure_ascii=False, default=str)


def _differing(
    old: Mapping[str, str | None], new: Mapping[str, str | None]
) -> Iterator[tuple[str, tuple[str | None, str | None]]]:
    for name in {**old, **new}:
        sides = old.get(name), new.get(name)
        if sides[0] != sides[1]:
            yield name, sides


def _reported(name: str, side: Mapping[str, object]) -> bool:
    """Whether a side has ``name``, or is known not to have it: packages and environment variables
    are recorded together."""
    group = next((group for group in _WHOLE if name.startswith(group)), None)
    return name in side or (group is not None and any(key.startswith(group) for key in side))


def _both_known(name: str, old: Mapping[str, str], new: Mapping[str, str]) -> bool:
    """Whether a side that does not have the fact ``name`` is known not to have it."""
    if name.startswith("drafter.") and not ("drafter.name" in old and "drafter.name" in new):
        return True
    return name == "machine.gpus" or (_reported(name, old) and _reported(name, new))


def _shortened(old: str | None, new: str | None) -> tuple[str | None, str | None]:
    """Both sides around their first difference where one of them is long."""
    if max(len(old or ""), len(new or "")) <= _LONGEST:
        return old, new
    pairs = zip(old or "", new or "", strict=False)
    equal = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    start = max(0, equal - _CONTEXT) if equal > _LONGEST // 2 else 0
    return _cut(old, start), _cut(new, start)


def _cut(text: str | None, start: int) -> str | None:
    if text is None:
        return None
    end = start + _LONGEST
    return ("…" if start else "") + text[start:end] + ("…" if len(text) > end else "")
