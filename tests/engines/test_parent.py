"""One child process, one connection, no orphans; driven here through the simulated engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_speedbench.engines import (
    Engine,
    EngineConfig,
    EngineDied,
    EngineError,
    Request,
    Sampling,
    Speculation,
    open_engine,
)
from pytest_speedbench.engines.process.parent import ChildEngine

SD = Speculation("eagle3", 3)


@contextmanager
def engine(timeout: float = 20, **args: object) -> Iterator[ChildEngine]:
    started = open_engine(
        EngineConfig("simulated", "org/m", SD, 4, args=tuple(args.items())), timeout
    )
    assert isinstance(started, ChildEngine)
    try:
        yield started
    finally:
        started.close()


def requests(count: int, tokens: int = 16) -> list[Request]:
    return [
        Request(f"r{i}", (1, 20 + i, 1), Sampling(max_tokens=tokens), (2,), SD)
        for i in range(count)
    ]


def collect_all(child: Engine, count: int) -> list[str]:
    ids: list[str] = []
    while len(ids) < count:
        ids += [trace.request_id for trace in child.collect(5)]
    return ids


def answer(child: Engine, count: int) -> list[str]:
    child.submit(requests(count))
    return collect_all(child, count)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pid: int) -> None:
    end = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_every_request_comes_back_once() -> None:
    with engine() as child:
        child.hold(3)
        child.submit(requests(10))
        assert sorted(collect_all(child, 10)) == sorted(r.id for r in requests(10))
        assert child.in_flight == 0
        assert child.collect(0.01) == []


def test_follow_ups_may_go_first() -> None:
    with engine() as child:
        child.hold(1)
        child.submit(requests(3, tokens=20_000))
        child.submit([Request("urgent", (1,), Sampling(max_tokens=4), (2,), SD)], first=True)
        assert collect_all(child, 4).index("urgent") <= 1


def test_cancelled_requests_come_back_as_aborted() -> None:
    with engine() as child:
        child.hold(1)
        child.submit(requests(3, tokens=5_000_000))
        child.cancel([r.id for r in requests(3)])
        reasons: list[str] = []
        while len(reasons) < 3:
            reasons += [trace.finish_reason for trace in child.collect(5)]
        assert reasons == ["abort"] * 3


def test_counters_and_scores_are_answered_between_loads() -> None:
    with engine() as child:
        child.hold(2)
        child.submit(requests(4))
        collect_all(child, 4)
        counters = child.counters()
        assert counters is not None
        assert counters.drafts > 0
        assert set(child.score([1, 2, 3], 2, [7, 8]).logprobs) == {7, 8}


def test_an_interrupted_question_leaves_the_engine_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer is still to come, and the next question must not get it."""

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with engine() as child:
        child.counters()
        assert child.in_flight == 0
        monkeypatch.setattr(ChildEngine, "_receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            child.score([1, 21, 1], 2, [5])
        assert child.in_flight == 1


def test_closing_ends_the_process_and_may_be_done_twice() -> None:
    with engine() as child:
        pid = child.pid
    child.close()
    assert not alive(pid)


def test_use_after_closing_is_a_clear_error() -> None:
    with engine() as child:
        pass
    with pytest.raises(EngineDied, match="engine simulated"):
        child.counters()


def test_a_dead_engine_is_reported_with_its_last_output() -> None:
    with engine(die_at=3) as child:
        child.hold(1)
        child.submit(requests(4))
        with pytest.raises(EngineDied, match=r"(?s)ended with code 137.*simulated: out of memory"):
            collect_all(child, 4)
        assert not alive(child.pid)


FATAL = """
import atexit
import ctypes
import os
import resource
import subprocess
import time
from pathlib import Path

from pytest_speedbench.engines.simulated import SimulatedBackend
from pytest_speedbench.errors import EngineError


class Segfault(SimulatedBackend):
    def step(self):
        if self.running:
            ctypes.string_at(0)
        return []


class Memory(SimulatedBackend):
    def step(self):
        if self.running:
            resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
            bytearray(1 << 34)
        return []


class Away(SimulatedBackend):
    def __init__(self, config):
        super().__init__(config)
        self.info.details["below"] = subprocess.Popen(
            ["sleep", "60"], start_new_session=True
        ).pid

    def step(self):
        if self.running:
            os.kill(os.getpid(), 9)
        return []


class Idle(Away):
    def step(self):
        return []


class Loud(SimulatedBackend):
    def step(self):
        if self.running:
            os.write(1, b"x" * 20_000_000 + b"\\nthe end")
            os._exit(3)
        return []


class Wordy(SimulatedBackend):
    def step(self):
        if self.running:
            raise EngineError("no such shape: " + "0, " * 1_000_000)
        return []


class Tidy(SimulatedBackend):
    def __init__(self, config):
        atexit.register(Path(__file__).with_name("tidied").touch)
        atexit.register(time.sleep, 0.5)
        raise EngineError("no such model")
"""


@pytest.fixture
def fatal(tmp_path: Path) -> Callable[[str], ChildEngine]:
    """Starts an engine that ends at its first step, in the way that its class is called."""
    (tmp_path / "fatal.py").write_text(FATAL)
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"

    def start(name: str) -> ChildEngine:
        config = EngineConfig("simulated", "org/m", SD)
        child = ChildEngine(config, f"fatal:{name}", 20, {"PYTHONPATH": path})
        child.hold(1)
        child.submit(requests(1))
        return child

    return start


def test_an_engine_that_does_not_start_cleans_up(
    fatal: Callable[[str], ChildEngine], tmp_path: Path
) -> None:
    with pytest.raises(EngineError, match="no such model"):
        fatal("Tidy")
    assert (tmp_path / "tidied").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Loud", "with code 3; its last output:\n    …x"), ("Wordy", "no such shape: 0, 0, ")],
)
def test_long_output_and_long_messages_are_cut(
    fatal: Callable[[str], ChildEngine], name: str, expected: str
) -> None:
    child = fatal(name)
    with pytest.raises(EngineError) as caught:
        collect_all(child, 1)
    child.close()
    assert expected in str(caught.value)
    assert len(str(caught.value)) < 5000
    if name == "Loud":
        assert str(caught.value).endswith("the end")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Segfault", r"by signal SIGSEGV; its last output:[\s\S]*Segmentation fault[\s\S]*in step"),
        ("Memory", r"with code 1; its last output:[\s\S]*MemoryError"),
        ("Away", r"by signal SIGKILL, as the kernel does when memory runs out"),
    ],
)
def test_a_real_fault_costs_one_engine_and_is_reported(
    fatal: Callable[[str], ChildEngine], name: str, message: str
) -> None:
    child = fatal(name)
    with pytest.raises(EngineDied, match=message):
        collect_all(child, 1)
    assert not alive(child.pid)
    with engine() as fresh:
        fresh.submit(requests(1))
        assert collect_all(fresh, 1) == ["r0"]


def test_a_process_that_has_left_the_group_is_ended_too(
    fatal: Callable[[str], ChildEngine],
) -> None:
    child = fatal("Idle")
    below = child.info.details["below"]
    assert alive(below)
    child.kill()
    wait_until_gone(below)


def test_an_engine_ended_by_a_signal_names_it() -> None:
    with engine() as child:
        child.hold(1)
        os.kill(child.pid, signal.SIGTERM)
        wait_until_gone(child.pid)
        with pytest.raises(EngineDied, match="by signal SIGTERM"):
            answer(child, 1)  # its threads may keep the connection open for a moment


def test_an_engine_that_hangs_is_killed_in_time() -> None:
    with engine(timeout=1, hang_at=2) as child:
        child.hold(1)
        child.submit(requests(3))
        with pytest.raises(EngineDied, match=r"sent nothing for 1 s.*--speed-timeout"):
            collect_all(child, 3)
        assert not alive(child.pid)


def test_an_engine_that_reads_nothing_is_killed_in_time() -> None:
    """More than a pipe holds is sent to it."""
    with engine(timeout=2) as child:
        os.kill(child.pid, signal.SIGSTOP)
        long = [replace(request, prompt_ids=(1,) * 100_000) for request in requests(20)]
        child.submit(long)
        with pytest.raises(EngineDied, match="sent nothing for 2 s and was killed"):
            child.collect(60)


def send_more_than_a_pipe_holds(child: ChildEngine) -> None:
    """Has the engine begin a long message, whose rest waits until the beginning is read."""
    child.submit([replace(requests(1)[0], sampling=Sampling(40_000, ignore_eos=True))])
    assert child._connection.poll(None)


def test_long_messages_may_cross() -> None:
    with engine() as child:
        send_more_than_a_pipe_holds(child)
        child.submit([replace(requests(1)[0], id="next", prompt_ids=(1,) * 100_000)])
        assert collect_all(child, 2) == ["r0", "next"]


def test_an_engine_that_stops_in_the_middle_of_a_message_is_killed_in_time() -> None:
    with engine(timeout=2) as child:
        send_more_than_a_pipe_holds(child)
        os.kill(child.pid, signal.SIGSTOP)
        with pytest.raises(EngineDied, match="sent nothing for 2 s and was killed"):
            child.collect(60)


def test_work_that_takes_longer_than_the_timeout_is_not_a_hang() -> None:
    with engine() as child:
        child.timeout = 2.5  # it shows progress every second
        child.hold(1)
        child.submit(requests(1, tokens=250_000))
        (trace,) = [t for _ in range(100) for t in child.collect(0.5)][:1]
        assert trace.tokens == 250_000


def test_an_idle_engine_does_not_hang() -> None:
    with engine() as child:
        child.timeout = 1.5
        child.hold(1)
        child.submit(requests(1))
        collect_all(child, 1)
        time.sleep(1.8)
        child.submit(requests(1))
        assert collect_all(child, 1) == ["r0"]
        time.sleep(1.8)
        assert child.counters() is not None


def test_an_engine_that_refuses_to_start_says_why() -> None:
    with pytest.raises(EngineError, match="no model called 'missing'"):
        open_engine(EngineConfig("simulated", "missing", SD), 20)


def test_a_backend_that_cannot_be_imported_shows_its_traceback() -> None:
    with pytest.raises(EngineDied, match=r"(?s)ended with code 1.*ModuleNotFoundError"):
        ChildEngine(EngineConfig("simulated", "m"), "no_such_module:Backend", 20)


def test_the_child_dies_with_its_parent() -> None:
    program = (
        "import time\n"
        "from pytest_speedbench.engines import EngineConfig, open_engine\n"
        "engine = open_engine(EngineConfig('simulated', 'm'), 20)\n"
        "print(engine.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert alive(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until_gone(pid)


def test_what_the_child_has_started_dies_with_the_parent_too(
    fatal: Callable[[str], ChildEngine], tmp_path: Path
) -> None:
    """In a session of its own, where no signal to the group reaches it."""
    program = (
        "import time\n"
        "from pytest_speedbench.engines import EngineConfig\n"
        "from pytest_speedbench.engines.process.parent import ChildEngine\n"
        "engine = ChildEngine(EngineConfig('simulated', 'm'), 'fatal:Idle', 20)\n"
        "print(engine.pid, engine.info.details['below'], flush=True)\n"
        "time.sleep(60)\n"
    )
    path = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert all(map(alive, pids))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for pid in pids:
        wait_until_gone(pid)


def test_ctrl_c_of_the_terminal_does_not_reach_the_child() -> None:
    with engine() as child:
        assert os.getpgid(child.pid) != os.getpgid(0)
        os.kill(child.pid, signal.SIGINT)
        assert child.counters() is not None
