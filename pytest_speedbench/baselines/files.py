"""The files of a storage: in a folder, or behind an fsspec address such as ``s3://bucket/runs``.

Names are relative to the storage, with ``/`` between folders. A file is written whole or not at
all, and one that exists is never replaced by :meth:`Files.create`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol
from urllib.parse import parse_qsl

from pytest_speedbench.errors import BaselineError
from pytest_speedbench.secrets import shown_address

SUFFIX = ".json"
_LEFT_BEHIND = (".tmp", ".claim")
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}


class Files(Protocol):
    """Where files lie. Every method may raise ``OSError``."""

    def list(self) -> dict[str, str]:
        """Names of all JSON files, and for each a stamp that changes with its content."""

    def read(self, name: str) -> bytes:
        """The content of a file."""

    def create(self, name: str, content: bytes) -> None:
        """Writes a new file.

        Raises:
            FileExistsError: there is one of this name; it is left as it is.
        """

    def replace(self, name: str, content: bytes) -> None:
        """Writes a file, over an older one if there is one."""

    def remove(self, name: str) -> None:
        """Removes a file; one that is gone already is no error."""

    def shown(self, name: str = "") -> str:
        """The place of a file, or of the storage, for messages; without credentials."""


def open_files(location: Path | str) -> Files:
    """The files at ``location``: a folder, ``file://FOLDER``, or an address that fsspec knows.

    Raises:
        BaselineError: an address that nothing installed can read; the message names the fix.
    """
    if isinstance(location, str) and is_remote(location):
        return RemoteFiles(location)
    return LocalFiles(Path(os.path.expanduser(str(location).removeprefix("file://"))))


def is_remote(location: str) -> bool:
    """Whether an address needs fsspec; folders and ``file://`` do not."""
    return "://" in location and not location.startswith("file://")


class LocalFiles:
    """A folder; it is made when the first file is written."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self) -> dict[str, str]:
        found = {}
        for path, entry in _walk(self.root):
            with contextlib.suppress(OSError):  # removed meanwhile, or a link to nothing
                status = entry.stat()
                found[path] = f"{status.st_size}-{status.st_mtime_ns}"
        return found

    def read(self, name: str) -> bytes:
        return read_regular(self.root / name)

    def create(self, name: str, content: bytes) -> None:
        self._write(name, content, _publish_new)

    def replace(self, name: str, content: bytes) -> None:
        self._write(name, content, os.replace)

    def sweep(self, older_than: float) -> None:
        """Removes drafts and claims that killed sessions left more than so many seconds ago."""
        for path in self.root.rglob(".*"):
            with contextlib.suppress(OSError):
                if path.suffix in _LEFT_BEHIND and time.time() - path.stat().st_mtime > older_than:
                    path.unlink()

    def _write(self, name: str, content: bytes, publish: Callable[[Path, Path], None]) -> None:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
        try:
            with draft.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            publish(draft, target)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def shown(self, name: str = "") -> str:
        return str(self.root / name)


def _publish_new(draft: Path, target: Path) -> None:
    """Gives a finished draft its name, unless that is taken."""
    try:
        os.link(draft, target)
    except FileExistsError:
        raise
    except OSError:  # no hard links there, as on some network drives: reserve the name first
        target.open("xb").close()
        os.replace(draft, target)


def _walk(root: Path, below: str = "") -> Iterator[tuple[str, os.DirEntry[str]]]:
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.name.endswith(SUFFIX):
            yield below + entry.name, entry
        elif entry.is_dir() and not entry.is_symlink():
            yield from _walk(Path(entry.path), f"{below}{entry.name}/")


def open_regular(path: Path) -> int:
    """The descriptor of a file, to read.

    What is no regular file is not opened: a FIFO would wait for a writer, a device may never end.

    Raises:
        OSError: it is none, or cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    # It may have become one of them just now: then this does not wait.
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def read_regular(path: Path) -> bytes:
    """The content of a file; raises as :func:`open_regular`."""
    with open(open_regular(path), "rb") as file:
        return file.read()


class RemoteFiles:
    """A folder behind an address. Parameters of its query are options of the file system, such as
    ``endpoint_url`` for S3; user and password are its key and secret there."""

    def __init__(self, address: str) -> None:
        self.address = shown_address(address)
        scheme, _, rest = address.partition("://")
        place, _, query = rest.partition("?")
        options: dict[str, Any] = dict(parse_qsl(query))
        user, at, path = place.rpartition("@")
        if at and scheme in ("s3", "s3a"):
            options["key"], _, options["secret"] = user.partition(":")
            place = path
        with _readable(self.address):
            self._system = _file_system(scheme, options)
            self._root = str(self._system._strip_protocol(f"{scheme}://{place}")).rstrip("/")

    def list(self) -> dict[str, str]:
        with _readable(self.address):
            self._system.invalidate_cache()
            found = self._system.find(self._root, detail=True)
        return {
            path[len(self._root) :].lstrip("/"): _stamp(info)
            for path, info in found.items()
            if path.endswith(SUFFIX)
        }

    def read(self, name: str) -> bytes:
        with _readable(self.address):
            return bytes(self._system.cat_file(self._path(name)))

    def create(self, name: str, content: bytes) -> None:
        with _readable(self.address):
            self._make_folder(name)
            self._system.pipe_file(self._path(name), content, mode="create")

    def replace(self, name: str, content: bytes) -> None:
        with _readable(self.address):
            self._make_folder(name)
            self._system.pipe_file(self._path(name), content)

    def remove(self, name: str) -> None:
        with _readable(self.address), contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._path(name))

    def shown(self, name: str = "") -> str:
        return f"{self.address.rstrip('/')}/{name}" if name else self.address

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _make_folder(self, name: str) -> None:
        folder = str(PurePosixPath(self._path(name)).parent)
        with contextlib.suppress(PermissionError, FileExistsError):  # object stores have no folders
            self._system.makedirs(folder, exist_ok=True)


def _file_system(scheme: str, options: dict[str, Any]) -> Any:
    extra = _EXTRAS.get(scheme)
    install = f"pip install 'pytest-speedbench[{extra}]'" if extra else "pip install fsspec"
    try:
        import fsspec

        return fsspec.filesystem(scheme, **options)
    except ImportError as error:
        raise BaselineError(f"{scheme}:// needs a package ({error}): {install}") from error
    except ValueError as error:
        raise BaselineError(
            f"{scheme}:// is not a storage that fsspec knows ({error}); use a folder, s3://, gs:// "
            "or another protocol of fsspec"
        ) from error


def _stamp(info: dict[str, Any]) -> str:
    changed = next(
        (
            info[name]
            for name in ("ETag", "md5Hash", "LastModified", "mtime", "created", "updated")
            if info.get(name)
        ),
        "",
    )
    return f"{info.get('size')}-{changed}"


@contextlib.contextmanager
def _readable(address: str) -> Iterator[None]:
    """Whatever a remote file system raises becomes an ``OSError`` that names the address."""
    try:
        yield
    except (OSError, BaselineError):
        raise
    except Exception as error:  # each library behind fsspec has errors of its own
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise OSError(None, f"{reason} ({address})") from error
