"""pytester for every test, and nothing of the developer's own settings inside its runs."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs inside tests are nobody's xdist workers, and no wider than a terminal."""
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """``tox -- PATH`` runs two selections by mark; one of them may be empty."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.option.markexpr:
        session.exitstatus = pytest.ExitCode.OK
