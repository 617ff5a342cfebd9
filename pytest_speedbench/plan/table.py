"""What an entry of the table of options is, and how its values are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal, Self, dataclass_transform

from pytest_speedbench.plan.values import Reader

Form = Literal["one", "list", "pairs", "columns", "switch", "optional", "whole"]
"""What the values of an option look like.

* ``one``: a single value
* ``list``: one or more; a comma list in text
* ``pairs``: ``KEY=VALUE``, repeated; a dict or a table
* ``columns``: a comma list of pairs; a dict or a table
* ``switch``: true or false; a flag without a value
* ``optional``: a single value that may be left out
* ``whole``: one reader for all that is given; in text repeated
"""
LATEST = ""
"""The value of an ``optional`` option that is given without one."""


class Option:
    """One entry of the table; see :func:`option` for the attributes."""

    __slots__ = (
        "collect",
        "default",
        "flag",
        "form",
        "group",
        "ini",
        "marker",
        "metavar",
        "name",
        "on_command_line",
        "read",
        "shown",
        "text",
    )

    def __init__(
        self,
        default: Any,
        read: Reader,
        group: str,
        text: str,
        form: Form,
        metavar: str,
        marker: bool,
        on_command_line: bool,
        shown: str,
        collect: Callable[[Iterable[Any]], Any],
    ) -> None:
        self.default, self.read, self.group, self.text = default, read, group, text
        self.form, self.metavar, self.marker = form, metavar, marker
        self.on_command_line, self.shown, self.collect = on_command_line, shown, collect
        self.name = self.flag = self.ini = ""

    def named(self, name: str) -> Option:
        """Gives the option the name of its field."""
        self.name = name
        self.flag = f"--speed-{name.replace('_', '-')}"
        self.ini = f"speed_{name}"
        return self

    @property
    def help(self) -> str:
        """The documentation as plain text."""
        return re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", self.text).replace("`", "")

    @property
    def repeated(self) -> bool:
        """Whether the flag is given once for each value."""
        return self.form in ("pairs", "whole")

    def parse(self, raw: object) -> Any:
        """The value of a field from command line, ini file or TOML.

        Raises:
            ValueError: ``raw`` cannot be read; the message says what is expected.
        """
        if self.form == "whole":
            return self.read(raw, True)
        return self._gathered([self.read(part, True) for part in self._parts(raw)])

    def parse_argument(self, raw: object) -> Any:
        """The value of a field from a marker argument, where text stands for text alone.

        Raises:
            ValueError: as :meth:`parse`.
        """
        if self.form == "whole":
            return self.read(raw, False)
        if self.form in ("pairs", "columns"):
            if not isinstance(raw, Mapping):
                raise ValueError("expected a dict, such as {'enable_thinking': False}")
            return tuple((str(key), value) for key, value in raw.items())
        return self._gathered([self.read(part, False) for part in _items(raw)])

    def _parts(self, raw: object) -> list[object]:
        if isinstance(raw, Mapping) and self.form in ("pairs", "columns"):
            return list(raw.items())
        parts = _items(raw)
        if self.form not in ("list", "columns"):
            return parts
        return [piece for part in parts for piece in _pieces(part)]

    def _gathered(self, found: list[Any]) -> Any:
        if self.form in ("one", "switch", "optional"):
            if len(found) > 1:
                raise ValueError(f"expected one value, got {len(found)}")
            if found:
                return found[0]
            if self.form == "optional":
                return LATEST
        if not found:
            raise ValueError("it is empty: expected at least one value")
        if self.form == "list":
            found = list(dict.fromkeys(found))
        if self.form in ("pairs", "columns"):
            _refuse_twice(found)
        return self.collect(found)


def _refuse_twice(pairs: list[tuple[str, object]]) -> None:
    seen: dict[str, object] = {}
    for key, value in pairs:
        if seen.setdefault(key, value) != value:
            raise ValueError(f"{key} is given twice, as {seen[key]!r} and {value!r}")


def _items(raw: object) -> list[object]:
    """One or more values as a list."""
    if isinstance(raw, set | frozenset):  # in the same order in every pytest-xdist worker
        return sorted(raw, key=repr)
    return list(raw) if isinstance(raw, list | tuple) else [raw]


def _pieces(part: object) -> list[object]:
    """The parts of a comma list; other values stay as they are."""
    if not isinstance(part, str):
        return [part]
    return [piece.strip() for piece in re.split(r"[,\n]", part) if piece.strip()]


def option(
    *,
    default: Any,
    read: Reader,
    group: str,
    text: str,
    form: Form = "one",
    metavar: str = "",
    marker: bool = False,
    on_command_line: bool = True,
    shown: str = "",
    collect: Callable[[Iterable[Any]], Any] = tuple,
) -> Any:
    """Declares an option; its name is that of the field.

    ``text`` is its documentation in Markdown, from which ``--help`` is made too. ``read`` reads one
    value (:mod:`~pytest_speedbench.plan.values`), ``collect`` makes the field of several.
    ``marker``: it is an argument of the speed marker too; ``on_command_line`` False: of nothing
    else. ``shown`` stands in the documentation where the default does not speak for itself.
    """
    return Option(
        default, read, group, text, form, metavar, marker, on_command_line, shown, collect
    )


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option,))
class OptionTable:
    """Frozen fields with defaults, of which each is declared with :func:`option`."""

    options: ClassVar[dict[str, Option]]

    def __init_subclass__(cls) -> None:
        cls.options = {}
        for name, entry in list(vars(cls).items()):
            if isinstance(entry, Option):
                cls.add(name, entry)

    @classmethod
    def add(cls, name: str, entry: Option) -> None:
        """Adds an option to the table."""
        setattr(cls, name, entry)
        cls.options[name] = entry.named(name)

    def __init__(self, **given: Any) -> None:
        unknown = sorted(set(given) - set(self.options))
        if unknown:
            raise TypeError(f"unknown setting: {', '.join(unknown)}")
        defaults = {name: entry.default for name, entry in self.options.items()}
        vars(self).update(defaults | given)

    def replace(self, **changes: Any) -> Self:
        """The same settings with other values."""
        return type(self)(**(vars(self) | changes))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings are frozen: cannot set {name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and vars(self) == vars(other)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({fields})"

    __hash__ = None  # type: ignore[assignment]  # values may be dicts
