"""Environment variables of the engine: a point of the grid, as option and marker give it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import translate
from functools import cache

from pytest_speedbench.secrets import hide_secrets

Variables = tuple[tuple[str, str], ...]

_EXPECTED = "expected NAME=VALUE, or LABEL:NAME=VALUE for one of several environments"
_TEXT = re.compile(
    r"(?:(?P<label>[\w.-]+):)?(?:(?P<name>[A-Za-z_]\w*)=(?P<value>.*))?", re.ASCII | re.DOTALL
)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables that are set for the engine alone, over those of the session.

    ``label`` names them in ids and keys where the grid has several; values that look like secrets
    are not in it.
    """

    label: str = ""
    variables: Variables = field(default=(), repr=False)

    def __str__(self) -> str:
        return self.label or ", ".join(f"{name}={value}" for name, value in self._shown())

    def _shown(self) -> Iterable[tuple[str, object]]:
        hidden: dict[str, object] = hide_secrets(dict(self.variables))
        return hidden.items()


NO_ENVIRONMENT = Environment()


def read_environments(value: object, text: bool) -> tuple[Environment, ...]:
    """One environment or several: ``NAME=VALUE`` texts, a dict, or a list of dicts.

    Texts ``LABEL:NAME=VALUE`` and dicts of dicts give several with labels of their own; what has no
    label then belongs to all of them. ``LABEL:`` alone is one without variables.

    Raises:
        ValueError: none of these forms, or two environments of one label.
    """
    if isinstance(value, Mapping):
        found = _of_mapping(value)
    elif isinstance(value, list | tuple) and value and all(isinstance(v, Mapping) for v in value):
        found = [one for part in value for one in _of_mapping(part)]
    elif text:
        parts = value if isinstance(value, list | tuple) else [value]
        found = _of_texts([line for part in parts for line in str(part).splitlines() if line])
    else:
        raise ValueError("expected a dict of variables, or a list of such dicts")
    return _with_labels(found)


def _of_mapping(value: Mapping[object, object]) -> list[Environment]:
    nested = [isinstance(part, Mapping) for part in value.values()]
    if value and all(nested):
        return [
            Environment(str(label), _variables(part))
            for label, part in value.items()
            if isinstance(part, Mapping)
        ]
    return [Environment("", _variables(value))]


def _variables(value: Mapping[object, object]) -> Variables:
    for name, content in value.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of an environment variable")
        if not isinstance(content, str | int | float):
            raise ValueError(f"{name}: expected text or a number")
    return tuple((str(name), str(content)) for name, content in value.items())


def _of_texts(texts: Sequence[str]) -> list[Environment]:
    groups: dict[str, dict[str, str]] = {}
    for one in texts:
        parts = _TEXT.fullmatch(one.strip())
        if parts is None or not (parts["label"] or parts["name"]):
            raise ValueError(_EXPECTED)
        group = groups.setdefault(parts["label"] or "", {})
        if parts["name"]:
            group[parts["name"]] = parts["value"]
    common = groups.pop("", {})
    if not groups:
        return [Environment("", tuple(common.items()))]
    return [Environment(label, tuple((common | own).items())) for label, own in groups.items()]


def _with_labels(found: Sequence[Environment]) -> tuple[Environment, ...]:
    """A single one needs no label; several without get their variables as one."""
    if len(found) == 1:
        return (replace(found[0], label=""),)
    labelled = tuple(replace(one, label=str(one) or "unchanged") for one in found)
    if len({one.label for one in labelled}) < len(labelled):
        raise ValueError(
            "two environments have one label; name them: a dict of dicts, or LABEL:NAME=VALUE"
        )
    return labelled


def watched_variables(patterns: Iterable[str]) -> Variables:
    """The present variables whose names match one of ``patterns``, by name."""
    watched = _any_of(tuple(patterns))
    return tuple((name, os.environ[name]) for name in sorted(filter(watched.match, os.environ)))


@cache
def _any_of(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)) or "(?!)")
