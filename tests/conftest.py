"""pytester for every test, and nothing of the developer's own settings inside its runs."""

from __future__ import annotations

import gc
import json
import os
import venv
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

# Two matrices of a test are not worth a thread for each core, here and in every process it starts;
# numpy reads this when it is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import forked_engines
import numpy as np
import pytest
import typer.main
from hypothesis import HealthCheck, settings
from inner_runs import WITHOUT_OTHER_PLUGINS, prepare

from pytest_speedbench import secrets
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.engines.process import parent
from pytest_speedbench.measure import heap
from pytest_speedbench.splits import embedding

pytest_plugins = ["pytester"]

# A busy machine is no failure.
settings.register_profile(
    "unhurried", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("unhurried"), max_examples=300)
settings.register_profile("fuzz", settings.get_profile("unhurried"), max_examples=4000)
settings.load_profile("unhurried")


@pytest.fixture(autouse=True)
def _plain_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs inside tests are nobody's xdist workers, and no wider than a terminal."""
    if "pytester" in request.fixturenames:
        prepare()
        request.getfixturevalue("pytester")  # it removes PYTEST_ADDOPTS
    for name in (
        "PYTEST_XDIST_WORKER",
        "PYTEST_XDIST_WORKER_COUNT",
        "GITHUB_STEP_SUMMARY",
        # With one of these, pytest prints its short summary in full.
        "CI",
        "BUILD_NUMBER",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("PYTEST_ADDOPTS", WITHOUT_OTHER_PLUGINS)


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values that one run has hidden stay hidden as long as its process lives."""
    monkeypatch.setattr(secrets, "_known", set())


@cache
def _schema() -> Any:
    """The published JSON Schema; read when the first record is written."""
    import jsonschema_rs

    text = (Path(__file__).parents[1] / "docs" / "record.schema.json").read_text(encoding="utf-8")
    return jsonschema_rs.validator_for(json.loads(text))


@pytest.fixture(autouse=True)
def _records_follow_the_published_schema(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every record that a test writes."""
    dump, problems = Record.model_dump, []

    def checked(record: Record, **options: Any) -> dict[str, Any]:
        data = dump(record, **options)
        if options == {"mode": "json", "by_alias": True}:
            problems.extend(error.message for error in _schema().iter_errors(data))
        return data

    monkeypatch.setattr(Record, "model_dump", checked)
    yield
    assert not problems, "a record does not follow docs/record.schema.json"


@pytest.fixture(autouse=True, scope="session")
def _forked_engines() -> Iterator[None]:
    """Simulated engines start ten times as fast."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parent, "_start", forked_engines.start)
        yield
    forked_engines.stop_server()


@pytest.fixture(autouse=True, scope="session")
def _files_not_synced() -> Iterator[None]:
    """What a test writes need not outlive a loss of power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _heap_known_to_be_frozen() -> Iterator[None]:
    """``pytest_collection_finish`` freezes it; each load would count a million objects twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(heap, "is_frozen", lambda: True)
        yield


@pytest.fixture(autouse=True, scope="session")
def _commands_built_once() -> Iterator[None]:
    """typer's runner builds the whole command line at every call, in 0.04 s."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.testing._get_command", cache(typer.main.get_command))
        yield


@pytest.fixture(scope="module")
def plain_figures() -> Iterator[None]:
    """Pages with their figures not drawn, which takes a tenth of a second each."""

    def undrawn(paint: object, label: str, name: str, width: float, height: float) -> str:
        return f'<svg id="{name}-drawn" role="img" aria-label="drawing"></svg>'

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pytest_speedbench.report.charts.themed_svg", undrawn)
        yield


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter of an environment without any package, this one's included."""
    folder = tmp_path_factory.mktemp("bare") / "environment"
    venv.create(folder, with_pip=False, symlinks=True)
    return str(Path(folder, "bin", "python"))


class BagOfWords:
    """A stand-in for a sentence-transformers model: hashed word counts, 64 dimensions."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts: list[str], **_: Any) -> Any:
        self.texts += texts
        rows = np.full((len(texts), 64), 0.01)
        for row, text in zip(rows, texts, strict=True):
            for word in text.casefold().split():
                row[zlib.crc32(word.encode()) % 64] += 1
        return rows


@pytest.fixture
def bag_of_words(monkeypatch: pytest.MonkeyPatch) -> BagOfWords:
    """Embeddings without a model."""
    encoder = BagOfWords()
    monkeypatch.setattr(embedding, "_encoder", lambda model: encoder)
    return encoder


def pytest_collection_finish() -> None:
    """What was collected lives as long as the session; a run inside a test leaves much at once."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of a module stay on one worker: what they share is made once."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """``tox -- PATH`` runs two selections by mark; one of them may be empty."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and session.config.option.markexpr:
        session.exitstatus = pytest.ExitCode.OK
