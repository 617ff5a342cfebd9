"""Storages that several sessions share, that are elsewhere, or that cannot be written."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_benchmark.session import BenchmarkSession
from pytest_benchmark.storage.file import FileStorage
from s3_server import s3_server

from pytest_speedbench.baselines.files import LocalFiles, open_files
from pytest_speedbench.baselines.storage import Store
from pytest_speedbench.session.saving import USED
from pytest_speedbench.session.storage import USED_OF_STORAGE

from .conftest import Project, text_of


def test_a_failing_save_removes_its_own_file_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_while_others_save(self: FileStorage, output_json: Any, save: str) -> None:
        folder = self.path / "Linux"
        folder.mkdir(parents=True)
        (folder / "0007_other.json").write_text('{"benchmarks": []}')
        (folder / "0008_mine.json").write_text('{"benchmarks": []}')  # whole: of another session
        (folder / "0009_mine.json").write_text('{"bench')
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileStorage, "save", full_while_others_save)
    project.gate()
    result = project.run("--benchmark-save=mine")
    assert [path.name for path in project.saved] == ["0007_other.json", "0008_mine.json"]
    assert "saved:" not in text_of(result)


def test_what_cannot_be_saved_is_kept_in_the_cache(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(files: LocalFiles, name: str, content: bytes) -> None:
        if files.root == project.path / ".benchmarks":
            raise PermissionError(13, "Permission denied")
        create(files, name, content)

    create = LocalFiles.create
    monkeypatch.setattr(LocalFiles, "create", read_only)
    project.gate()
    result = project.run("--benchmark-save=mine")
    result.assert_outcomes(passed=1)
    (kept,) = Path(os.environ["XDG_CACHE_HOME"]).rglob("0001_mine.json")
    assert f"Permission denied; kept in {kept}: speedbench baseline import" in text_of(result)
    assert len(project.records(kept)) == 1
    left = (project.path / ".benchmarks").rglob("*")
    assert [path for path in left if path.is_file()] == []


def test_sessions_at_once_have_numbers_of_their_own(project: Project) -> None:
    project.gate()
    sessions = [project.start("--benchmark-save=same") for _ in range(2)]
    assert [session.wait() for session in sessions] == [0, 0]
    assert [path.name for path in project.saved] == [f"000{n}_same.json" for n in (1, 2)]
    assert list((project.path / ".benchmarks").rglob("*.tmp")) == []
    assert list((project.path / ".benchmarks").rglob("*.claim")) == []


def test_a_claim_that_a_killed_session_left_costs_one_number(project: Project) -> None:
    project.gate()
    project.run("--benchmark-save=one")
    project.saved[0].with_name(".0002.claim").touch()
    project.run("--benchmark-save=two")
    assert [path.name for path in project.saved] == ["0001_one.json", "0003_two.json"]


def test_the_message_of_pytest_benchmark_names_the_file(project: Project) -> None:
    project.gate()
    result = project.run("--benchmark-save=one")
    result.stderr.fnmatch_lines(["*Saved benchmark data in: */0001_one.json*"])


@pytest.fixture
def memory() -> str:
    pytest.importorskip("fsspec")
    return f"memory://{uuid.uuid4()}/runs"


def test_an_address_is_a_storage(project: Project, memory: str) -> None:
    project.gate()
    project.run("--benchmark-save=one", f"--benchmark-storage={memory}").assert_outcomes(passed=1)
    assert [run.name for run in Store(memory).runs()] == ["0001_one"]
    assert project.saved == []
    result = project.run("--speed-compare=one", f"--benchmark-storage={memory}")
    assert "1 undecided (against 0001" in result.stdout.str()


def test_pytest_benchmark_compares_with_an_address(project: Project, memory: str) -> None:
    project.gate()
    project.run("--benchmark-save=one", f"--benchmark-storage={memory}")
    result = project.run("--benchmark-compare=0001", f"--benchmark-storage={memory}")
    assert "0001_on" in text_of(result)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with s3_server() as url:
        import s3fs

        s3fs.S3FileSystem(key="K", secret="S", endpoint_url=url).mkdir("bucket")
        yield f"s3://THEKEY:THESECRET@bucket/runs?endpoint_url={url}"


def test_workers_of_xdist_share_an_s3_server(project: Project, bucket: str) -> None:
    project.gate("bs=[1, 2]")
    asked = f"--benchmark-storage={bucket}"
    first = project.run("--benchmark-save=one", "-n2", asked)
    first.assert_outcomes(passed=2)
    (run,) = Store(bucket).runs()
    assert len(run.records) == 2
    second = project.run("--speed-compare=one", "-n1", asked)
    second.assert_outcomes(passed=2)
    assert "saved: s3://bucket/runs/" in text_of(first)
    texts = [first.stdout.str(), first.stderr.str(), second.stdout.str(), second.stderr.str()]
    texts += [open_files(bucket).read(name).decode() for name in open_files(bucket).list()]
    assert not [text for text in texts if "THESECRET" in text or "THEKEY" in text]


def test_an_address_without_its_package_names_the_fix(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    project.gate()
    result = project.run("--benchmark-storage=gs://KEY:SECRET@bucket/runs")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--benchmark-storage=gs://bucket/runs: *pytest-speedbench?gcs?*"])
    assert "SECRET" not in result.stderr.str()


def test_pytest_benchmark_has_what_saving_uses(pytestconfig: pytest.Config) -> None:
    """A canary: ``session/saving.py`` relies on these, for which there is no hook."""
    plugin = pytestconfig.pluginmanager.get_plugin("pytest-benchmark")
    assert isinstance(plugin, BenchmarkSession)
    assert [name for name in USED if not hasattr(plugin, name)] == []
    assert [n for n in USED_OF_STORAGE if not hasattr(plugin.storage, n)] == []


def test_a_baseline_that_vanishes_is_left_out(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.gate()
    project.run("--benchmark-save=one")
    project.run("--benchmark-save=two")
    two = project.saved[1]
    read = LocalFiles.read

    def vanished(files: LocalFiles, name: str) -> bytes:
        if name.endswith(two.name):
            raise FileNotFoundError(2, "No such file or directory")
        return read(files, name)

    assert len(Store(project.path / ".benchmarks").runs()) == 2  # indexed
    monkeypatch.setattr(LocalFiles, "read", vanished)
    result = project.run("--speed-compare", "-W", "default")
    result.assert_outcomes(passed=1)
    text = text_of(result)
    assert f"left out as a baseline: cannot read {two}: No such file" in text
    assert "against 0001" in text
