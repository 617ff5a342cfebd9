"""Errors and warnings of the plugin: one base class each."""

from __future__ import annotations


class SpeedWarning(UserWarning):
    """A number that must be read with care: an undecided assert, random input, a file left out."""
