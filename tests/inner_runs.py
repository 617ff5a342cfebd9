"""Runs of pytest inside tests."""

from __future__ import annotations

# Plugins of the developer's environment: loading them takes half the start of such a run.
WITHOUT_OTHER_PLUGINS = " ".join(
    f"-p no:{plugin}"
    for plugin in (
        *("hypothesispytest", "anyio", "platformdirs", "pytest_cov"),
        *("html", "html_fixtures", "metadata"),
    )
)
