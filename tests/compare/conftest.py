"""The project under test and the log of its engines: those of the plugin's tests."""

from __future__ import annotations

from plugin.conftest import engines, project

__all__ = ["engines", "project"]
