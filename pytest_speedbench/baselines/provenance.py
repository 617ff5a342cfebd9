"""The parts of a record that say what was measured, by what, and where."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from pytest_speedbench.baselines.part import Part


def is_known(text: str) -> bool:
    """Whether an engine has reported what a text of its record says."""
    return text not in ("", "unknown")


class EngineRecord(Part):
    """``details`` is the configuration as the started engine reports it, ``args`` what it was
    given; ``packages`` are the versions it computes with, empty in earlier records. ``commit`` is
    what the engine was built from, ``unknown`` where its installation does not say it."""

    name: str
    version: str
    device: str
    dtype: str
    details: dict[str, Any] = Field(default_factory=dict)
    args: dict[str, Any] = Field(default_factory=dict)
    packages: dict[str, str] = Field(default_factory=dict)
    commit: str = ""

    @property
    def known_dtype(self) -> str:
        """The dtype; empty where the engine does not report what ``auto`` became."""
        return self.dtype if is_known(self.dtype) and self.dtype != "auto" else ""

    @property
    def simulated(self) -> bool:
        """Whether times are declared, and not measured."""
        return self.name == "simulated"


class ModelRecord(Part):
    """``weights`` is a digest of the checkpoint, ``revision`` the hub's commit."""

    name: str
    weights: str = ""
    revision: str = ""


class SpecRecord(Part):
    method: str
    draft_length: int
    drafter: ModelRecord | None = None


class SplitRecord(Part):
    name: str
    version: str
    digest: str
    samples: int
    """Samples of each category that were asked for; 0 for all."""
    rows: dict[str, str] | None = None
    """Digest of category and prompt by sample id; None in earlier records."""


class SamplingRecord(Part):
    max_tokens: int
    temperature: float
    seed: int
    ignore_eos: bool = False
    min_tokens: int = 0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0


class MachineRecord(Part):
    """What timings depend on. ``fingerprint`` must be equal for timings to be compared."""

    fingerprint: str
    cpu: str
    cores: int
    memory_gib: int
    gpus: list[str] = Field(default_factory=list)
    driver: str = ""
    system: str = ""


class SideRecord(Part):
    """One of two runs that were measured side by side; see
    :class:`~pytest_speedbench.measure.results.Side`."""

    session: str
    reference: bool
    build: str = ""
    apart: str = ""
    no_plain: str = ""


class ImportedRecord(Part):
    """The file of another tool that a record was read from.

    Attributes:
        tool: what wrote it.
        version: its version; empty where the file does not say it.
        source: name of the file.
        unverified: what the file does not say and nobody stated: parts of the key, and what must
            be equal to compare AL. Not compared.
        last_steps: whether the last decoding step of each request is in it.
    """

    tool: str
    source: str
    version: str = ""
    unverified: list[str] = Field(default_factory=list)
    last_steps: bool = True
