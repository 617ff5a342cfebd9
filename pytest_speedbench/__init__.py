"""Measure and gate speculative decoding with pytest.

Everything in ``__all__`` is public: it changes only as docs/versions.md says. A name is imported
when it is used, so that importing the package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_speedbench import errors
    from pytest_speedbench._version import __version__
    from pytest_speedbench.analysis.checkpoints import Checkpoint, Checkpoints
    from pytest_speedbench.baselines.case_key import CaseKey
    from pytest_speedbench.baselines.reading import read_record, read_records
    from pytest_speedbench.baselines.schema import Record
    from pytest_speedbench.compare.api import compare
    from pytest_speedbench.compare.asserts import Measured
    from pytest_speedbench.compare.changes import Change
    from pytest_speedbench.compare.comparison import Comparison
    from pytest_speedbench.compare.judge import JudgedCase
    from pytest_speedbench.compare.verdict import Outcome, Verdict
    from pytest_speedbench.engines.process.backend import Backend, StepOutput
    from pytest_speedbench.engines.process.parent import open_child
    from pytest_speedbench.engines.protocol import (
        NO_SPECULATION,
        Counters,
        Engine,
        EngineConfig,
        EngineInfo,
        EngineType,
        Request,
        RequestTotals,
        Sampling,
        Speculation,
        TokenScore,
        Trace,
    )
    from pytest_speedbench.errors import SpeedbenchError, SpeedWarning
    from pytest_speedbench.plan.cases import Case
    from pytest_speedbench.session.result import SpeedResult
    from pytest_speedbench.session.slice_result import SliceResult
    from pytest_speedbench.session.standalone import Measurement, measure
    from pytest_speedbench.session.trainer import AcceptanceCallback
    from pytest_speedbench.splits import Sample, Split, load_split
    from pytest_speedbench.stats import Estimate

__all__ = [
    "NO_SPECULATION",
    "AcceptanceCallback",
    "Backend",
    "Case",
    "CaseKey",
    "Change",
    "Checkpoint",
    "Checkpoints",
    "Comparison",
    "Counters",
    "Engine",
    "EngineConfig",
    "EngineInfo",
    "EngineType",
    "Estimate",
    "JudgedCase",
    "Measured",
    "Measurement",
    "Outcome",
    "Record",
    "Request",
    "RequestTotals",
    "Sample",
    "Sampling",
    "SliceResult",
    "Speculation",
    "SpeedResult",
    "SpeedWarning",
    "SpeedbenchError",
    "Split",
    "StepOutput",
    "TokenScore",
    "Trace",
    "Verdict",
    "__version__",
    "compare",
    "errors",
    "load_split",
    "measure",
    "open_child",
    "read_record",
    "read_records",
]

_MODULES = {
    "_version": "__version__",
    "analysis.checkpoints": "Checkpoint Checkpoints",
    "baselines.reading": "read_record read_records",
    "baselines.case_key": "CaseKey",
    "baselines.schema": "Record",
    "compare.api": "compare",
    "compare.asserts": "Measured",
    "compare.changes": "Change",
    "compare.comparison": "Comparison",
    "compare.judge": "JudgedCase",
    "compare.verdict": "Outcome Verdict",
    "engines.process.backend": "Backend StepOutput",
    "engines.process.parent": "open_child",
    "engines.protocol": "NO_SPECULATION Counters Engine EngineConfig EngineInfo EngineType Request "
    "RequestTotals Sampling Speculation TokenScore Trace",
    "errors": "SpeedbenchError SpeedWarning",
    "plan.cases": "Case",
    "session.result": "SpeedResult",
    "session.slice_result": "SliceResult",
    "session.standalone": "Measurement measure",
    "session.trainer": "AcceptanceCallback",
    "splits": "Sample Split load_split",
    "stats": "Estimate",
}


def __getattr__(name: str) -> object:
    """Import a public name where it is first used."""
    from importlib import import_module

    if name in ("compare", "errors", "measure"):  # two packages are functions too
        return import_module(f"{__name__}.{name}")
    for module, names in _MODULES.items():
        if name in names.split():
            found: object = getattr(import_module(f"{__name__}.{module}"), name)
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
