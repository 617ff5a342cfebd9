"""The processes and the memory of an engine, from the operating system (Linux)."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PAGE = 4096
# A helper process of Python, which runs as long as the process that first needed it.
_OURS = b"resource_tracker"


@dataclass(frozen=True, slots=True)
class Process:
    """One process; ``started`` (clock ticks since boot) distinguishes it from a reused id."""

    pid: int
    started: str
    command: str

    @property
    def alive(self) -> bool:
        fields = _fields(self.pid)
        return fields is not None and fields[19] == self.started and fields[0] != "Z"

    @property
    def resident(self) -> int:
        """Resident memory in bytes; 0 if the process has ended."""
        try:
            return int((_PROC / str(self.pid) / "statm").read_text().split()[1]) * _PAGE
        except OSError:
            return 0


@dataclass(frozen=True, slots=True)
class Held:
    """Child processes and memory in bytes of this process and its GPUs at one moment."""

    processes: frozenset[Process] = frozenset()
    resident: int = 0
    gpu: int | None = None

    @classmethod
    def now(cls) -> Held:
        me = Process(os.getpid(), "", "")
        return cls(frozenset(descendants()), me.resident, gpu_memory_used())


def has_proc() -> bool:
    return _PROC.is_dir() and _fields(os.getpid()) is not None


def descendants() -> set[Process]:
    """All running processes that this one has started, directly or not."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        if (fields := _fields(pid)) is not None and fields[0] != "Z":
            children.setdefault(int(fields[1]), []).append(pid)
    found, todo = set(), [os.getpid()]
    while todo:
        for pid in children.get(todo.pop(), []):
            todo.append(pid)
            if process := _process(pid):
                found.add(process)
    return found


def gpu_memory_used() -> int | None:
    """Bytes in use on the GPUs that an engine may use; None without nvidia-smi, or without one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shutil.which("nvidia-smi") is None or visible == "":
        return None
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    if visible is not None:  # numbers, as nvidia-smi counts, or UUIDs
        query.append(f"--id={visible}")
    done = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30)
    values = [line.strip() for line in done.stdout.splitlines()]
    return sum(map(int, values)) << 20 if values and all(map(str.isdigit, values)) else None


def wait_until(what: Callable[[], bool], seconds: float) -> bool:
    """Whether ``what`` becomes true within ``seconds``."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def _pids() -> Iterator[int]:
    return (int(folder.name) for folder in _PROC.iterdir() if folder.name.isdigit())


def _fields(pid: int) -> list[str] | None:
    """The fields of ``/proc/PID/stat`` after the name: state, parent, …"""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def _process(pid: int) -> Process | None:
    fields = _fields(pid)
    try:
        command = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return None
    if fields is None or _OURS in command:
        return None
    return Process(pid, fields[19], command.replace(b"\0", b" ").decode(errors="replace").strip())
