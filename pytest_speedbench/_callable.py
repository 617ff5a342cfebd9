"""Packages that are public functions too: ``pytest_speedbench.compare`` and ``.measure``."""

from __future__ import annotations

import sys
from importlib import import_module
from inspect import Signature, signature
from types import ModuleType
from typing import Any


class _CallablePackage(ModuleType):
    """A package with the signature of a function, which is imported at the first call."""

    _function: str

    def _load(self) -> Any:
        module, _, name = self._function.partition(":")
        return getattr(import_module(module), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._load()(*args, **kwargs)

    @property
    def __signature__(self) -> Signature:
        return signature(self._load())


def make_callable(package: str, function: str) -> None:
    """Lets ``package`` be called as ``MODULE:FUNCTION``, which may be in a layer above it."""
    module = sys.modules[package]
    module.__class__ = _CallablePackage
    vars(module)["_function"] = function
