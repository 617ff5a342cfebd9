"""The one warning class of the plugin, so that a project can filter it by name."""

from __future__ import annotations

import pytest


class SpeedWarning(pytest.PytestWarning):
    """A number that must be read with care: an undecided assert, random input, a file left out."""
