"""Interrupts, dead and hanging engines, disks that are full."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from forked import Forked
from pytest_benchmark.storage.file import FileStorage

from pytest_speedbench.engines.process.parent import ChildEngine

from .conftest import EngineLog, Project, children_of, is_alive, text_of

# -- engines that die or hang -----------------------------------------------------------------

# On one engine: 4 requests with the warm-up, then 10, then (on a fresh engine) 5.
THREE = """
import pytest

@pytest.mark.speed(samples=2)
def test_first(speed): assert speed.acceptance_length > 0

@pytest.mark.speed(samples=8, category=['math', 'qa'])
def test_unlucky(speed): pass

@pytest.mark.speed(samples=3)
def test_last(speed): assert speed.acceptance_length > 0
"""


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("die_at=7", ["engine simulated ended with code 137", "simulated: out of memory"]),
        ("hang_at=7", ["engine simulated sent nothing for 3 s", "--speed-timeout=SECONDS"]),
    ],
)
def test_an_engine_that_fails_in_one_case_leaves_the_others_alone(
    project: Project, engines: EngineLog, argument: str, told: list[str]
) -> None:
    project.file("test_it.py", THREE)
    project.split("s.jsonl", 8, "math", "qa")
    result = project.run(
        f"--speed-engine-arg={argument}",
        "--speed-timeout=3",
        "--speed-split=s.jsonl",
        "--benchmark-autosave",
    )
    result.assert_outcomes(passed=2, errors=2)
    for part in told:
        assert part in result.stdout.str()
    assert "Traceback" not in result.stdout.str()
    assert "another exception occurred" not in result.stdout.str()
    assert "pytest_speedbench/" not in result.stdout.str()
    assert len(engines.starts) == 2
    assert engines.alive == []
    assert len(project.records()) == 1  # two tests, one case


def test_an_engine_that_cannot_start_is_one_clear_error(project: Project) -> None:
    project.gate()
    result = project.run("--speed-model=missing")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["the simulated engine has no model called 'missing'"])
    assert "pytest_speedbench/" not in result.stdout.str()


def test_a_context_too_short_for_the_split_is_told_with_the_fix(project: Project) -> None:
    project.gate()
    result = project.run("--speed-engine-arg=max_model_len=20")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["sample * has * prompt tokens; with --speed-max-tokens 16 at most 4 fit the context*"]
    )
    assert "pytest_speedbench/" not in result.stdout.str()


def test_an_engine_that_miscounts_is_an_error(project: Project) -> None:
    project.gate()
    result = project.run("--speed-engine-arg=miscount=3", "--benchmark-autosave")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["the engine's counters grew by * its requests add up to *"])
    assert project.saved == []


def test_a_test_that_fails_leaves_its_engine_to_the_next(
    project: Project, engines: EngineLog
) -> None:
    project.gate("bs=[1, 2]", "assert False")
    project.run().assert_outcomes(failed=2)
    assert len(engines.starts) == 1
    assert engines.alive == []


def test_stopping_at_the_first_failure_saves_and_closes(
    project: Project, engines: EngineLog
) -> None:
    project.gate("bs=[1, 2], dl=[1, 2]", "assert speed.output_tps.value < 0")
    project.run("-x", "--benchmark-autosave").assert_outcomes(failed=1)
    assert len(project.records()) == 1
    assert engines.alive == []


# -- interrupts -------------------------------------------------------------------------------

SLOW = """
import pytest

@pytest.mark.speed(max_tokens=8)
def test_quick(speed): assert speed.acceptance_length > 0

@pytest.mark.speed(max_tokens=1000000)
def test_slow(speed): pass
"""


@contextmanager
def running(project: Project, *arguments: str) -> Iterator[tuple[Forked, Path]]:
    """A run of its own in the middle of its second, slow case; and its output."""
    project.file("test_it.py", SLOW)
    output = project.path / "output.txt"
    process = project.start("-v", *arguments)
    try:
        wait_for(lambda: "PASSED" in output.read_text())
        time.sleep(0.5)
        yield process, output
    finally:
        process.kill()
        process.wait()


def wait_for(what: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_ctrl_c_ends_engines_and_saves_what_is_finished(project: Project) -> None:
    with running(project, "--benchmark-autosave") as (process, output):
        children = children_of(process.pid)
        assert children
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == pytest.ExitCode.INTERRUPTED
    assert [pid for pid in children if is_alive(pid)] == []
    (record,) = project.records()
    assert record.sampling.max_tokens == 8
    text = output.read_text()
    assert "KeyboardInterrupt" in text
    assert "eagle3 · DL 3 · BS 1" in text  # the numbers so far


# A time limit that strikes in a check, while the engine works for it.
LATE = """
import pytest
from pytest_speedbench.engines.process.parent import ChildEngine

def late(*arguments): pytest.fail("Timeout")

@pytest.mark.speed
def test_first(speed, monkeypatch):
    monkeypatch.setattr(ChildEngine, "{method}", late)
    speed.{check}

@pytest.mark.speed
def test_second(speed): speed.{check}
"""


@pytest.mark.parametrize(
    ("check", "method", "starts"),
    [("assert_lossless()", "_receive", 3), ("assert_never_worse(than=[2])", "collect", 5)],
)
def test_what_a_time_limit_interrupts_is_not_taken_for_the_next_answer(
    project: Project, engines: EngineLog, check: str, method: str, starts: int
) -> None:
    project.file("test_it.py", LATE.format(check=check, method=method))
    result = project.run("--speed-engine-arg=divergence=0.3", speed_rounds="1")
    result.assert_outcomes(passed=1, failed=1)
    assert "Failed: Timeout" in text_of(result)
    assert len(engines.starts) == starts
    assert engines.alive == []


DIES = """
import os
import pytest

@pytest.mark.speed
def test_first(speed_engine, speed):
    os.kill(speed_engine.pid, 9)
    speed.assert_never_worse(than=[2])

@pytest.mark.speed
def test_second(speed): assert speed.acceptance_length > 0
"""


def test_an_engine_that_dies_in_a_check_is_one_message(project: Project) -> None:
    project.file("test_it.py", DIES)
    result = project.run("--benchmark-autosave", speed_rounds="1")
    result.assert_outcomes(passed=1, failed=1)
    text = result.stdout.str()
    assert "engine simulated ended by signal SIGKILL" in text
    assert "EOFError" not in text
    assert "pytest_speedbench/" not in text
    assert len(project.records()) == 1


RERUNS = """
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if any(report.failed for report in reports):
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
"""


@pytest.mark.parametrize(("deaths", "outcomes"), [(1, {"passed": 2}), (9, {"errors": 2})])
def test_a_rerun_measures_once_more_what_has_failed(
    project: Project,
    engines: EngineLog,
    monkeypatch: pytest.MonkeyPatch,
    deaths: int,
    outcomes: dict[str, int],
) -> None:
    """As pytest-rerunfailures does; two tests of one run share its attempts."""
    started = ChildEngine.submit

    def dies(self: ChildEngine, *arguments: Any, **more: Any) -> None:
        if len(engines.starts) <= deaths:
            os.kill(self.pid, signal.SIGKILL)
        started(self, *arguments, **more)

    monkeypatch.setattr(ChildEngine, "submit", dies)
    project.file("conftest.py", RERUNS)
    project.split("s.jsonl", 8, "math", "qa")
    project.gate("split='s.jsonl', category=['math', 'qa']")
    project.run().assert_outcomes(**outcomes)
    assert len(engines.starts) == 2


LEFT = """
import pytest
from pytest_speedbench import engines

@pytest.mark.speed
def test_first(speed_engine, speed_config):
    sampling = engines.Sampling(max_tokens=1_000_000, ignore_eos=True)
    speed_engine.submit([engines.Request("own", (1, 2, 3), sampling, (), speed_config)])

@pytest.mark.speed
def test_second(speed): assert speed.acceptance_length > 0
"""


def test_requests_that_a_test_leaves_in_flight_are_not_those_of_the_next(
    project: Project, engines: EngineLog
) -> None:
    project.file("test_it.py", LEFT)
    project.run().assert_outcomes(passed=2)
    assert len(engines.starts) == 2


def test_a_killed_run_leaves_no_engine(project: Project) -> None:
    with running(project) as (process, _):
        children = children_of(process.pid)
        assert children
        process.kill()
        process.wait()
        wait_for(lambda: not any(map(is_alive, children)), 10)


# -- storage ----------------------------------------------------------------------------------


def full_disk(self: FileStorage, output_json: Any, save: str) -> None:
    """What a full disk leaves: a file cut off in the middle."""
    self.get("0001_cut.json").write_text('{"benchmarks": [')
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_still_prints_the_numbers(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FileStorage, "save", full_disk)
    project.gate()
    result = project.run("--benchmark-autosave")
    result.assert_outcomes(passed=1)
    text = result.stdout.str()
    assert "eagle3 · DL 3 · BS 1" in text
    assert "NOT SAVED:" in text
    assert "No space left on device" in text
    assert "INTERNALERROR" not in text
    assert project.saved == []  # no half of a file


def test_a_full_disk_leaves_older_files_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.gate()
    project.run("--benchmark-save=base")
    before = project.saved[0].read_bytes()
    monkeypatch.setattr(FileStorage, "save", full_disk)
    project.run("--benchmark-autosave")
    assert [path.read_bytes() for path in project.saved] == [before]


def test_a_storage_that_cannot_be_written_still_prints_the_numbers(project: Project) -> None:
    project.gate()
    project.file("taken", "a file, not a folder")
    result = project.run("--benchmark-autosave", "--benchmark-storage=file://taken/x")
    result.assert_outcomes(passed=1)
    text = text_of(result)
    assert "eagle3 · DL 3 · BS 1" in text
    assert re.search("NOT SAVED: [^ ]*taken/x: Not a directory", text)


def test_a_json_file_that_cannot_be_written_is_kept_elsewhere(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    project.gate()
    result = project.run("--benchmark-json=/dev/full")
    result.assert_outcomes(passed=1)
    text = text_of(result)
    assert "NOT SAVED: /dev/full: No space left on device; kept in" in text
    (kept,) = tmp_path.rglob("unsaved/*/*.json")
    assert json.loads(kept.read_text())["benchmarks"]
