"""``speedbench baseline``: old runs pruned, all runs exported and imported."""

from __future__ import annotations

from pathlib import Path

from .conftest import Speedbench


def names(saved: Path) -> list[str]:
    return sorted(path.name for path in saved.glob("*.json"))


def test_promoting_names_the_run_that_was_promoted_before(
    speedbench: Speedbench, saved: Path
) -> None:
    assert "in place of" not in speedbench("baseline", "promote", "1").out
    assert "in place of: 0001_base" in speedbench("baseline", "promote", "2").out
    assert "in place of" not in speedbench("baseline", "promote", "2").out


def test_prune_keeps_the_latest_and_the_promoted(speedbench: Speedbench, saved: Path) -> None:
    before = names(saved)
    assert speedbench("baseline", "promote", "1").code == 0
    shown = speedbench("baseline", "prune", "--keep", "1", "--dry-run")
    assert (shown.code, names(saved)) == (0, before)
    assert "would remove: 0002" in shown.out
    removed = speedbench("baseline", "prune", "--keep", "1")
    assert removed.code == 0
    assert "0001_base.json" in names(saved)
    assert "0002_same.json" not in names(saved)
    without = speedbench("baseline", "prune", "--keep", "1", "--no-keep-promoted")
    assert "removed: 0001" in without.out


def test_prune_keeps_at_least_one(speedbench: Speedbench, saved: Path) -> None:
    result = speedbench("baseline", "prune", "--keep", "0")
    assert result.code == 2
    assert "at least 1" in result.err


def test_runs_travel_in_an_archive(speedbench: Speedbench, saved: Path, tmp_path: Path) -> None:
    archive, other = tmp_path / "out" / "runs.zip", tmp_path / "other"
    exported = speedbench("baseline", "export", str(archive))
    assert exported.code == 0
    assert exported.words.startswith(f"exported: {len(names(saved))} runs of ")
    first = speedbench("baseline", "import", str(archive), "--storage", str(other))
    assert first.words == f"imported: {len(names(saved))} runs into {other}"
    again = speedbench("baseline", "import", str(archive), "--storage", str(other))
    assert f"0 runs into {other}, {len(names(saved))} already existed" in again.words
    assert names(other / saved.name) == names(saved)


def test_one_saved_run_is_imported(speedbench: Speedbench, saved: Path, tmp_path: Path) -> None:
    path = str(saved / "0002_same.json")
    result = speedbench("baseline", "import", path, "--storage", str(tmp_path / "other"))
    assert result.code == 0
    assert names(tmp_path / "other") == ["0002_same.json"]


def test_what_is_not_an_archive_is_refused(
    speedbench: Speedbench, saved: Path, tmp_path: Path
) -> None:
    (tmp_path / "it.zip").write_text("text")
    result = speedbench("baseline", "import", str(tmp_path / "it.zip"))
    assert (result.code, result.out) == (2, "")
    assert "expected an archive of speedbench baseline export" in result.err


def test_nothing_to_export(speedbench: Speedbench, tmp_path: Path) -> None:
    result = speedbench("baseline", "export", "x.zip", "--storage", str(tmp_path / "none"))
    assert result.code == 2
    assert "nothing to export" in result.err
