"""Former module of ``StepOutput``; import it from ``pytest_speedbench``."""

from __future__ import annotations

import warnings

from pytest_speedbench.engines.process import backend


def __getattr__(name: str) -> object:
    if name != "StepOutput":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    message = f"import {name} from pytest_speedbench: {__name__} will be removed in 0.3"
    warnings.warn(message, DeprecationWarning, stacklevel=2)
    return backend.StepOutput
