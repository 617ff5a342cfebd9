"""Measure and gate speculative decoding with pytest."""

from __future__ import annotations

from pytest_speedbench._version import __version__

__all__ = ["__version__"]
