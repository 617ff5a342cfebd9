"""Source text of installed engines: what a version has, without importing it for many seconds."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path


def source_of(package: str, module: str) -> str:
    """The text of ``module`` (a path such as ``engine/arg_utils.py``) of an installed package;
    empty where there is none."""
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module made by hand, without a specification
        return ""
    if spec is None or spec.origin is None:
        return ""
    return _read(Path(spec.origin).parent / module)


@cache
def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def literal_values(source: str, name: str) -> Collection[str]:
    """The strings of ``name = Literal[…]`` in ``source``, those of literals inside it included.

    Empty where the module has no such name.
    """
    assigned = {
        target.id: node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def strings(name: str) -> Iterator[str]:
        value = assigned.pop(name, None)
        for part in ast.walk(value) if value is not None else ():
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                yield part.value
            elif isinstance(part, ast.Name):
                yield from strings(part.id)

    return frozenset(strings(name))


def enum_members(source: str, name: str) -> Collection[str]:
    """The members of the enumeration ``name`` in ``source``; empty where there is none."""
    return frozenset(
        target.id
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == name
        for statement in node.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name) and not target.id.startswith("_")
    )


def class_fields(source: str, *names: str) -> Collection[str]:
    """The annotated fields of the classes ``names`` in ``source``; empty where there are none."""
    return frozenset(
        statement.target.id
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name in names
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    )
