"""Compares runs: pairing, error rates, gate, attribution, one verdict per metric.

``pytest_speedbench.compare`` is this package and a public function, so the package can be called.
"""

from __future__ import annotations

import sys
from inspect import Signature, signature
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    """The package with the signature of the function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from pytest_speedbench.compare.api import compare

        return compare(*args, **kwargs)

    @property
    def __signature__(self) -> Signature:
        from pytest_speedbench.compare.api import compare

        return signature(compare)


sys.modules[__name__].__class__ = _Callable
