"""Storages: a folder, fsspec's memory, and an S3 server; shared by many sessions."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import socket
import subprocess
import uuid
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from s3_server import s3_server

from pytest_speedbench.baselines import index
from pytest_speedbench.baselines.archive import export, import_runs, prunable, prune
from pytest_speedbench.baselines.files import Files, LocalFiles, open_files
from pytest_speedbench.baselines.numbering import save_new
from pytest_speedbench.baselines.promoted import promote, promotions
from pytest_speedbench.baselines.storage import Store, read_run
from pytest_speedbench.errors import BaselineError
from pytest_speedbench.secrets import shown_address

DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(params=["folder", "memory", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty storage of each kind."""
    if request.param == "folder":
        return str(tmp_path / "storage")
    if request.param == "memory":
        pytest.importorskip("fsspec")
        return f"memory://{uuid.uuid4()}/runs"
    return bucket(request.getfixturevalue("s3"))


def bucket(server: str) -> str:
    import s3fs

    name = f"b{uuid.uuid4().hex}"
    options = {"key": "KEY", "secret": "SECRET", "endpoint_url": server}
    s3fs.S3FileSystem(**options, skip_instance_cache=True).mkdir(name)
    return f"s3://KEY:SECRET@{name}/runs?endpoint_url={server}"


def saved(**fields: Any) -> bytes:
    """A file as pytest-benchmark saves it, with one record of ours."""
    data = json.loads((DATA / "schema_1.json").read_text())
    return json.dumps(data | fields).encode()


def fill(files: Files, count: int) -> None:
    for number in range(count):
        save_new(files, "Linux", "night", saved(datetime=f"2026-01-{number + 1:02}T00:00:00"))


def test_what_is_saved_is_found(location: str, tmp_path: Path) -> None:
    fill(open_files(location), 3)
    store = Store(location)
    runs = store.runs()
    assert [run.name for run in runs] == ["0001_night", "0002_night", "0003_night"]
    assert store.problems == []
    (key,) = runs[0].keys
    assert runs[0].candidates(key)[0].requests
    assert store.find("2", tmp_path).name == "0002_night"
    assert store.find("night", tmp_path).name == "0003_night"
    with pytest.raises(BaselineError, match="no run number or name"):
        store.find("nobody", tmp_path)


def test_a_number_is_given_once(location: str) -> None:
    def save(session: int) -> str:
        return save_new(open_files(location), "Linux", f"s{session}", saved())

    with ThreadPoolExecutor(6) as pool:
        names = list(pool.map(save, range(12)))
    numbers = sorted(name.partition("/")[2].partition("_")[0] for name in names)
    assert numbers == [f"{n:04}" for n in range(1, 13)]
    assert sorted(open_files(location).list()) == sorted(names)


def test_a_file_is_never_overwritten(location: str) -> None:
    files = open_files(location)
    files.create("0001_a.json", b"mine")
    with pytest.raises(FileExistsError):
        files.create("0001_a.json", b"theirs")
    assert files.read("0001_a.json") == b"mine"
    files.remove("0001_a.json")
    files.remove("0001_a.json")
    assert files.list() == {}


def test_a_changed_file_is_read_again(location: str) -> None:
    files = open_files(location)
    files.replace("0001_a.json", saved(datetime="2026-01-01T00:00:00"))
    (before,) = Store(location).runs()
    files.replace("0001_a.json", saved(datetime="2026-01-02T00:00:00", version="longer"))
    (after,) = Store(location).runs()
    assert (before.time, after.time) == ("2026-01-01T00:00:00", "2026-01-02T00:00:00")
    files.remove("0001_a.json")
    assert Store(location).runs() == []


def test_credentials_are_never_shown(s3: str, own_cache: Path) -> None:
    address = bucket(s3)
    fill(open_files(address), 1)
    store = Store(address)
    (run,) = store.runs()
    texts = [store.folder, run.path, str(run), *map(str, own_cache.rglob("*"))]
    texts += [path.read_text() for path in own_cache.rglob("*") if path.is_file()]
    assert not [text for text in texts if "SECRET" in text or "KEY:" in text]
    with pytest.raises(BaselineError) as caught:
        store.find("nobody", own_cache)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("s3://KEY:SECRET@bucket/a?endpoint_url=http://x", "s3://bucket/a"),
        ("sftp://me:pa@ss@host/runs", "sftp://host/runs"),
        ("/a/b@c?d", "/a/b@c?d"),
        ("memory://x", "memory://x"),
    ],
)
def test_addresses_without_credentials(address: str, shown: str) -> None:
    assert shown_address(address) == shown


def test_an_unknown_protocol_names_those_that_work() -> None:
    with pytest.raises(BaselineError, match="not a storage that fsspec knows"):
        Store("nonsense://bucket")


def test_an_unreachable_storage_is_one_error(tmp_path: Path) -> None:
    pytest.importorskip("s3fs")
    store = Store("s3://K:S@gone/runs?endpoint_url=http://127.0.0.1:9&anon=")
    store.files._system.retries = 1  # type: ignore[attr-defined] # quicker than five attempts
    with pytest.raises(BaselineError, match="cannot list s3://gone/runs"):
        store.runs()


# -- the index ---------------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose content was read."""
    seen: list[str] = []
    read = LocalFiles.read

    def counting(files: LocalFiles, name: str) -> bytes:
        seen.append(name)
        return read(files, name)

    monkeypatch.setattr(LocalFiles, "read", counting)
    return seen


def test_unchanged_files_are_read_once(tmp_path: Path, reads: list[str]) -> None:
    fill(LocalFiles(tmp_path), 3)
    Store(tmp_path).runs()
    assert len(reads) == 3
    fill(LocalFiles(tmp_path), 1)
    runs = Store(tmp_path).runs()
    assert len(reads) == 4
    assert [run.summaries[0].metric("acceptance_length") for run in runs].count(None) == 0
    assert len(reads) == 4


def cut(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        lambda text: "",
        lambda text: "\0\xff",
        lambda text: text.replace('"speedbench_index": 1', '"speedbench_index": 99'),
        lambda text: text.replace('"records": [', '"records": ["x", '),
        lambda text: text.replace('"stamp"', '"stomp"'),
        lambda text: text.replace('"slice": "math"', '"slice": 3'),
        lambda text: text.replace('"time": "', '"time": 7, "x": "'),
    ],
)
def test_a_damaged_index_is_made_again(tmp_path: Path, damage: Callable[[str], str]) -> None:
    fill(LocalFiles(tmp_path), 4)
    before = Store(tmp_path).runs()
    path = tmp_path / index.NAME
    whole = path.read_text()
    path.write_text(damage(whole), encoding="utf-8")
    after = Store(tmp_path).runs()
    assert [run.summaries for run in after] == [run.summaries for run in before]


def test_a_storage_that_cannot_be_written_is_indexed_in_the_cache(
    tmp_path: Path, own_cache: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "storage"
    fill(LocalFiles(folder), 2)
    Store(folder).runs()
    fill(LocalFiles(folder), 1)
    replace = LocalFiles.replace

    def read_only(files: LocalFiles, name: str, content: bytes) -> None:
        if files.root == folder:
            raise PermissionError(13, "Permission denied")
        replace(files, name, content)

    monkeypatch.setattr(LocalFiles, "replace", read_only)
    for _ in range(2):
        assert len(Store(folder).runs()) == 3
    assert len(reads) == 3
    assert len(list(own_cache.iterdir())) == 1


@pytest.fixture
def nights(tmp_path: Path) -> Store:
    folder = tmp_path / "runs" / "machine"
    folder.mkdir(parents=True)
    for name in ("0001_night_a5c9d60", "0002_night_b7", "0003_week", "0004_week"):
        (folder / f"{name}.json").write_bytes(saved())
    return Store(tmp_path / "runs", option="")


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("0001_nig", "0001_night_a5c9d60"),
        ("night_a5", "0001_night_a5c9d60"),
        ("0002_night_b7.json", "0002_night_b7"),
        ("we", "0004_week"),  # one name: the newest of it, as for the whole name
        ("3", "0003_week"),
    ],
)
def test_the_beginning_of_one_name_is_enough(reference: str, name: str, nights: Store) -> None:
    assert nights.find(reference, Path.cwd()).name == name


def test_the_beginning_of_several_names_is_refused_with_them(nights: Store) -> None:
    with pytest.raises(
        BaselineError, match="several runs have names that begin with this: night_a5c9d60, night_b7"
    ):
        nights.find("night", Path.cwd())


def test_a_misspelled_name_names_the_closest(nights: Store) -> None:
    with pytest.raises(BaselineError, match=r"did you mean 'week'\?.* Saved: 0001_night_a5c9d60"):
        nights.find("wekk", Path.cwd())


@pytest.mark.parametrize("reference", ["0001_night_a5c9d61", "night_b8", "0009_week", "week-bs8"])
def test_another_number_is_no_misspelling(nights: Store, reference: str) -> None:
    """A run of BS 8 is not what was meant by BS 32."""
    with pytest.raises(BaselineError) as raised:
        nights.find(reference, Path.cwd())
    assert "did you mean" not in str(raised.value)
    assert "Saved: 0001_night_a5c9d60" in str(raised.value)


def test_names_that_the_caller_knows_are_suggested_too(nights: Store) -> None:
    with pytest.raises(BaselineError, match="did you mean 'release'"):
        nights.find("relaese", Path.cwd(), ["release"])


def test_bad_files_are_named_every_time(tmp_path: Path) -> None:
    fill(LocalFiles(tmp_path), 1)
    (tmp_path / "Linux" / "0002_cut.json").write_bytes(saved()[:99])
    later = json.loads(saved())
    later["benchmarks"][0]["extra_info"]["speedbench"]["schema"] = 99
    (tmp_path / "Linux" / "0003_later.json").write_text(json.dumps(later))
    for _ in range(2):
        store = Store(tmp_path)
        assert [run.name for run in store.runs()] == ["0001_night"]
        assert [("cut off" in text, "pip install" in text) for text in store.problems] == [
            (True, False),
            (False, True),
        ]


def test_records_of_several_schemas_stand_together(tmp_path: Path) -> None:
    for version in (1, 2):
        content = (DATA / f"schema_{version}.json").read_bytes()
        save_new(LocalFiles(tmp_path), "", f"v{version}", content)
    runs = Store(tmp_path).runs()
    assert sorted(run.summaries[0].schema_ for run in runs) == [1, 2]


def test_a_wrong_clock_does_not_make_a_run_the_latest(tmp_path: Path) -> None:
    times = ("2026-01-01T00:00:00", "2199-01-01T00:00:00Z", "2026-01-03T00:00:00+00:00", "never")
    for time in times:
        save_new(LocalFiles(tmp_path), "", "n", saved(datetime=time))
    store = Store(tmp_path)
    assert [run.number for run in store.runs()] == ["0001", "0002", "0003", "0004"]
    (remark,) = store.remarks
    assert "is in the future; is a clock wrong?" in remark


def test_of_two_records_of_a_commit_the_later_one_counts(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", *who, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "one")
    commit = {"id": git("rev-parse", "HEAD"), "dirty": False, "branch": "main"}
    for day in (2, 1, 3):
        content = saved(datetime=f"2026-01-0{day}T00:00:00", commit_info=commit)
        save_new(LocalFiles(tmp_path), "", "n", content)
    dirty = saved(datetime="2026-01-04T00:00:00", commit_info=commit | {"dirty": True})
    save_new(LocalFiles(tmp_path), "", "n", dirty)
    assert Store(tmp_path).find("main", tmp_path).number == "0003"


def test_a_run_that_vanished_is_one_error(tmp_path: Path) -> None:
    fill(LocalFiles(tmp_path), 1)
    (run,) = Store(tmp_path).runs()
    os.remove(run.path)
    with pytest.raises(BaselineError, match=r"cannot read .*0001_night"):
        run.records  # noqa: B018 - reads the file


# -- prune, export, import ---------------------------------------------------------------------


def test_prune_keeps_the_latest_of_every_case(location: str) -> None:
    files = open_files(location)
    other = json.loads(saved(datetime="2025-01-01T00:00:00"))
    other["benchmarks"][0]["extra_info"]["speedbench"]["case"]["slice"] = "coding"
    save_new(files, "Linux", "coding", json.dumps(other).encode())
    fill(files, 4)
    files.create("Linux/theirs.json", b'{"benchmarks": []}')
    files.create("Linux/cut.json", b'{"bench')
    store = Store(location)
    assert [run.name for run in prunable(store, 2, ["Linux/0002_night.json"])] == ["0003_night"]
    removed = prune(store, 2)
    assert [run.name for run in removed] == ["0002_night", "0003_night"]
    left = ["Linux/0001_coding.json", "Linux/0004_night.json", "Linux/0005_night.json"]
    assert sorted(files.list()) == [*left, "Linux/cut.json", "Linux/theirs.json"]
    with pytest.raises(BaselineError, match="at least 1"):
        prune(store, 0)


def test_an_archive_brings_the_runs_to_another_storage(location: str, tmp_path: Path) -> None:
    fill(open_files(location), 3)
    archive = tmp_path / "runs.zip"
    assert export(Store(location), archive) == 3
    target = Store(tmp_path / "other")
    assert len(import_runs(target, archive).added) == 3
    again = import_runs(target, archive)
    assert (again.added, len(again.present)) == ([], 3)
    assert [run.time for run in target.runs()] == [run.time for run in Store(location).runs()]
    assert import_runs(Store(location), archive).added == []


def test_an_import_takes_no_number_from_another_run(tmp_path: Path) -> None:
    fill(LocalFiles(tmp_path / "a"), 1)
    save_new(LocalFiles(tmp_path / "b"), "Linux", "day", saved(datetime="2026-02-02T00:00:00"))
    export(Store(tmp_path / "a"), tmp_path / "a.zip")
    assert import_runs(Store(tmp_path / "b"), tmp_path / "a.zip").added == ["Linux/0002_night.json"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("../0001_a.json", saved(), "not the name of a run"),
        ("/etc/0001_a.json", saved(), "not the name of a run"),
        ("a/../../0001_a.json", saved(), "not the name of a run"),
        ("a\\..\\0001_a.json", saved(), "not the name of a run"),
        ("C:0001_a.json", saved(), "not the name of a run"),
        (".0001_a.json", saved(), "not the name of a run"),
        ("a/b/c/0001_a.json", saved(), "not the name of a run"),
        ("0001_a.txt", saved(), "not the name of a run"),
        ("0001_a.json", saved()[:200], "is not JSON"),
        ("0001_a.json", lzma.compress(saved()), "is compressed"),
        ("0001_a.json", gzip.compress(saved()), "is compressed"),
        ("0001_a.json", b'{"benchmarks": []}', "holds no records"),
        ("0001_a.json", b'{"benchmarks": [{"extra_info": {"speedbench": {}}}]}', "not a record"),
    ],
)
def test_nothing_of_a_bad_archive_is_imported(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("0001_good.json", saved())
        archive.writestr(name, content)
    store = Store(tmp_path / "storage")
    with pytest.raises(BaselineError, match=message):
        import_runs(store, tmp_path / "bad.zip")
    assert store.files.list() == {}
    assert not (tmp_path / "0001_a.json").exists()


def test_an_archive_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_speedbench.baselines.archive.MOST_BYTES", 1 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0001_a.json", b" " * (4 << 20))
    with pytest.raises(BaselineError, match="unpacks to more than 1 MiB"):
        import_runs(Store(tmp_path / "storage"), tmp_path / "bomb.zip")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text"])
def test_what_is_not_an_archive(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "it.zip").write_bytes(content)
    with pytest.raises(BaselineError, match="expected an archive"):
        import_runs(Store(tmp_path / "storage"), tmp_path / "it.zip")


def test_promoted_references_travel_with_an_archive(tmp_path: Path) -> None:
    fill(LocalFiles(tmp_path / "a"), 2)
    source, target = Store(tmp_path / "a"), Store(tmp_path / "b")
    for name, run in zip(("default", "release"), source.runs(), strict=True):
        promote(source, run, name)
    save_new(target.files, "Linux", "day", saved(datetime="2026-02-02T00:00:00"))
    promote(target, target.runs()[0])
    export(source, tmp_path / "a.zip")
    assert import_runs(target, tmp_path / "a.zip").promoted == ["release"]
    found = {name: pointer.run for name, pointer in promotions(target).items()}
    assert found == {"default": "Linux/0001_day.json", "release": "Linux/0003_night.json"}
    assert import_runs(target, tmp_path / "a.zip").promoted == []


def test_damaged_pointers_in_an_archive_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr("0001_good.json", saved())
        archive.writestr("speedbench-promoted", b"{")
    store = Store(tmp_path / "storage")
    with pytest.raises(BaselineError, match="is damaged"):
        import_runs(store, tmp_path / "bad.zip")
    assert store.files.list() == {}


def test_prune_removes_what_killed_sessions_left(tmp_path: Path) -> None:
    fill(LocalFiles(tmp_path), 1)
    old, young = tmp_path / "Linux/.0002.claim", tmp_path / "Linux/.x.tmp"
    for path in (old, young):
        path.touch()
    os.utime(old, (0, 0))
    assert prune(Store(tmp_path), 1) == []
    assert (old.exists(), young.exists()) == (False, True)


def test_a_drive_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    fill(LocalFiles(tmp_path), 2)
    assert [run.name for run in Store(tmp_path).runs()] == ["0001_night", "0002_night"]
    with pytest.raises(FileExistsError):
        LocalFiles(tmp_path).create("Linux/0001_night.json", b"")
    assert sorted(path.name for path in (tmp_path / "Linux").iterdir()) == [
        "0001_night.json",
        "0002_night.json",
    ]


@pytest.mark.parametrize("kind", ["fifo", "device", "socket", "folder"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    """Opening a FIFO waits for a writer, and reading ``/dev/zero`` never ends."""
    (tmp_path / "0001_run.json").write_bytes(saved())
    odd = tmp_path / "0002_odd.json"
    listening = socket.socket(socket.AF_UNIX)
    make: dict[str, Callable[[], object]] = {
        "fifo": lambda: os.mkfifo(odd),
        "device": lambda: odd.symlink_to("/dev/zero"),
        "socket": lambda: listening.bind(str(odd)),
        "folder": odd.mkdir,
    }
    make[kind]()
    with listening:
        store = Store(tmp_path)
        assert [run.number for run in store.runs()] == ["0001"]
        assert len(store.problems) == 1
        assert "0002_odd.json: not a regular file" in store.problems[0]
        with pytest.raises(BaselineError, match=r"0002_odd.json.*not a regular file"):
            read_run(odd)
