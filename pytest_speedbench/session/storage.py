"""The storage that a session saves to: pytest-benchmark's own folder, or an address of fsspec.

pytest-benchmark refuses addresses such as ``s3://bucket/runs``. While it is configured it sees a
local mirror instead; what it saves goes to the address.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pytest_benchmark.storage.file import FileStorage
from pytest_benchmark.utils import safe_dumps

from pytest_speedbench.baselines.files import (
    SUFFIX,
    Files,
    LocalFiles,
    RemoteFiles,
    is_remote,
    open_files,
)
from pytest_speedbench.baselines.index import cache_folder
from pytest_speedbench.baselines.numbering import save_new
from pytest_speedbench.errors import BaselineError, shown
from pytest_speedbench.escapes import printable
from pytest_speedbench.secrets import shown_address

if TYPE_CHECKING:
    Base = Any
else:
    Base = FileStorage

ADDRESS = pytest.StashKey[str]()
# Attributes of pytest-benchmark's storage, for which there is no hook.
USED_OF_STORAGE = ("default_machine_id", "get", "logger", "path", "save")


def redirect(config: pytest.Config) -> None:
    """Where ``--benchmark-storage`` is an address that pytest-benchmark cannot use, shows it a
    local mirror; xdist workers get the address again.

    Raises:
        pytest.UsageError: nothing installed can use the address.
    """
    address = str(config.option.benchmark_storage)
    if not is_remote(address) or address.startswith("elasticsearch+"):
        return
    try:
        files = RemoteFiles(address)
        mirror = cache_folder() / f"mirror-{_digest(files.address)}"
        if config.getoption("benchmark_compare", None):
            _fetch(files, LocalFiles(mirror))
    except (BaselineError, OSError) as error:
        message = f"--benchmark-storage={shown_address(address)}: {error}"
        raise pytest.UsageError(shown(message)) from error
    config.stash[ADDRESS] = address
    config.option.benchmark_storage = f"file://{mirror}"
    config.pluginmanager.register(_Restore(config, address))


class _Restore:
    """Puts the address back into the options, before xdist copies them for its workers."""

    def __init__(self, config: pytest.Config, address: str) -> None:
        self._config, self._address = config, address

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        self._config.option.benchmark_storage = self._address


def _fetch(remote: RemoteFiles, mirror: LocalFiles) -> None:
    for name in set(remote.list()) - set(mirror.list()):
        mirror.replace(name, remote.read(name))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class SharedStorage(Base):  # type: ignore[misc] # pytest-benchmark has no types
    """pytest-benchmark's folder, safe for many sessions at once.

    A run is written under a draft name that nobody reads, then published whole under a number that
    no other session has. A run that cannot be saved is kept in the user's cache folder.

    Attributes:
        saved: places of the runs that were saved.
        problems: what went wrong, one line each.
        files: where runs go: the folder, or the address.
    """

    @classmethod
    def instead_of(cls, storage: Any, address: str) -> SharedStorage:
        """Takes the place of ``storage``; saves to ``address`` if there is one."""
        shared = cls(storage.path, storage.logger, storage.default_machine_id)
        shared.files = open_files(address or shared.path)
        shared.saved, shared.problems = [], []
        shared._draft = None
        return shared

    files: Files
    saved: list[str]
    problems: list[str]
    _draft: Path | None
    logger: Any

    def __str__(self) -> str:
        return self.files.shown()

    @property
    def folder(self) -> str:
        """The folder of this machine in the storage."""
        return str(self.default_machine_id or "")

    def get(self, name: str) -> Path:
        """Where pytest-benchmark writes ``name``: the draft."""
        folder = self.path / self.folder
        folder.mkdir(parents=True, exist_ok=True)
        self._draft = folder / f".{secrets.token_hex(8)}.tmp"
        return self._draft

    def save(self, output_json: Any, save: str) -> None:
        """Saves one session; never raises for a storage that cannot be written."""
        before, logger = _names(self.path), self.logger
        self.logger = _Silent()  # it would name the draft
        try:
            super().save(output_json, save)
            name = save_new(self.files, self.folder, save, self._content())
        except OSError as error:
            self._remove_own(before, save)
            self._keep(output_json, save, error)
        else:
            self.saved.append(self.files.shown(name))
            logger.info(printable(f"Saved benchmark data in: {self.files.shown(name)}"))
        finally:
            self.logger = logger
            if self._draft is not None:
                with contextlib.suppress(OSError):
                    self._draft.unlink(missing_ok=True)

    def _content(self) -> bytes:
        if self._draft is None:
            raise OSError(None, "pytest-benchmark did not write a file")
        return self._draft.read_bytes()

    def _remove_own(self, before: set[str], tag: str) -> None:
        """Removes what a failed write has left under our tag and cannot be anybody's whole run."""
        for name in _names(self.path) - before:
            path = self.path / name
            if name.endswith(f"_{tag}{SUFFIX}") and not _is_json(path):
                with contextlib.suppress(OSError):
                    path.unlink()

    def _keep(self, output_json: Any, tag: str, error: OSError) -> None:
        reason = f"NOT SAVED: {self.files.shown()}: {error.strerror or error}"
        kept = keep_unsaved(output_json, self.folder, tag)
        other = "the results are only in this output (another place: --benchmark-storage=DIR)"
        self.problems.append(f"{reason}; {kept or other}")


def keep_unsaved(output_json: Any, folder: str, tag: str) -> str:
    """Writes a run that could not be saved to the cache folder, and says where it is; empty where
    that fails too."""
    kept = LocalFiles(cache_folder() / "unsaved")
    try:
        name = save_new(kept, folder, tag, _encoded(output_json))
    except OSError:
        return ""
    return (
        f"kept in {kept.shown(name)}: speedbench baseline import FILE --storage DIR adds it to a "
        "storage"
    )


def _encoded(output_json: Any) -> bytes:
    return str(safe_dumps(output_json, ensure_ascii=True, indent=4)).encode()


def _names(folder: Path) -> set[str]:
    try:
        return set(LocalFiles(folder).list())
    except OSError:
        return set()


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return True


class _Silent:
    """Stands for pytest-benchmark's logger where its message would be wrong."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args, **kwargs: None
