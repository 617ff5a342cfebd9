"""The journal: whole entries survive whatever happens to the file, and live sessions are safe."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.baselines.journal import (
    RECOVERED,
    Entry,
    Journal,
    journal_folder,
    recover,
)
from pytest_speedbench.baselines.storage import Store
from tests.compare.saved_runs import record

HEAD = {"commit_info": {"id": "c" * 40, "dirty": False, "branch": "main"}, "datetime": "2026-01-02"}


def journal(folder: Path, session: str = "s1") -> Journal:
    return Journal(journal_folder(Store(folder)), session, HEAD, "machine")


def entry(slice_name: str = "math") -> Entry:
    name = f"test_gate[{slice_name}-bs4-dl3]"
    return Entry(name, f"test_it.py::{name}", "run", record(slice_name, samples=range(3)))


def abandoned(folder: Path, *slices: str, session: str = "s1") -> Path:
    """The journal of a killed session."""
    left = journal(folder, session)
    for name in slices:
        left.add(entry(name))
    left.close()
    return next(left.folder.glob(f"{session}-*"))


def test_what_a_killed_session_has_finished_is_saved_and_marked(tmp_path: Path) -> None:
    abandoned(tmp_path, "math", "qa")
    (found,) = recover(Store(tmp_path))
    assert found.cases == 2
    (run,) = Store(tmp_path).runs()
    assert {key.slice for key in run.keys} == {"math", "qa"}
    assert run.commit == "c" * 40
    assert all(r.partial and RECOVERED in r.notes for r in run.records.values())
    assert recover(Store(tmp_path)) == []
    assert list(journal_folder(Store(tmp_path)).iterdir()) == []


def test_the_later_entry_of_a_case_counts(tmp_path: Path) -> None:
    left = journal(tmp_path)
    for note in ("first", "second"):
        changed = entry().record.model_copy(update={"notes": [note]})
        left.add(Entry("t", "t", "run", changed))
    left.close()
    recover(Store(tmp_path))
    (run,) = Store(tmp_path).runs()
    assert [r.notes for r in run.records.values()] == [["second", RECOVERED]]


def test_workers_of_one_session_become_one_run(tmp_path: Path) -> None:
    for name in ("math", "qa"):
        abandoned(tmp_path, name)
    (found,) = recover(Store(tmp_path))
    assert found.cases == 2


def test_a_live_session_is_left_alone(tmp_path: Path) -> None:
    live = journal(tmp_path)
    live.add(entry())
    assert recover(Store(tmp_path)) == []
    live.add(entry("qa"))
    live.close()
    (found,) = recover(Store(tmp_path))
    assert found.cases == 2


def test_a_session_one_of_whose_workers_lives_is_left_alone(tmp_path: Path) -> None:
    abandoned(tmp_path, "math")
    live = journal(tmp_path)
    live.add(entry("qa"))
    assert recover(Store(tmp_path)) == []
    assert [e.record.case.slice for e in journal(tmp_path).left_behind()] == ["math"]
    live.close()


def test_a_controller_that_has_not_saved_keeps_its_workers_journals(tmp_path: Path) -> None:
    controller, worker = journal(tmp_path), journal(tmp_path)
    controller.hold()
    worker.add(entry())
    worker.close()
    assert recover(Store(tmp_path)) == []
    assert [e.record.case.slice for e in controller.left_behind()] == ["math"]
    controller.close()  # killed before it has saved
    (recovered,) = recover(Store(tmp_path))
    assert recovered.cases == 1


def test_a_discarded_journal_leaves_nothing(tmp_path: Path) -> None:
    done = journal(tmp_path)
    done.add(entry())
    done.discard()
    assert recover(Store(tmp_path)) == []
    assert Store(tmp_path).runs() == []


@given(st.data())
def test_a_journal_cut_or_damaged_anywhere_gives_its_whole_entries(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = abandoned(folder, "math", "qa", "all")
        content = path.read_bytes()
        lines = content.splitlines(keepends=True)
        at = data.draw(st.integers(0, len(content)), label="cut at")
        garbage = data.draw(st.binary(max_size=20), label="garbage")
        path.write_bytes(content[:at] + garbage)
        whole = sum(sum(map(len, lines[: n + 1])) <= at for n in range(1, len(lines)))
        found = recover(Store(folder))
        cases = found[0].cases if found else 0
        # Garbage behind a whole line may make that line unreadable, and no other.
        assert whole - 1 <= cases <= whole + 1
        assert len(Store(folder).runs()) == len(found)


def test_a_journal_that_cannot_be_written_is_a_problem_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file where a folder should be")
    blocked = Journal(tmp_path / "blocked" / "journal", "s1", HEAD)
    blocked.add(entry())
    assert "cannot write the journal in" in blocked.problem


def test_journals_of_a_remote_storage_lie_in_the_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert journal_folder(Store("memory://runs")).is_relative_to(tmp_path)
    assert os.path.isabs(journal_folder(Store("memory://runs")))
