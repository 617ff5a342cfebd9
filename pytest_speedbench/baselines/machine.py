"""The machine under test: what a timing depends on, and a fingerprint of it."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

from pytest_speedbench.baselines.provenance import MachineRecord

_GIB = 1 << 30


@cache
def this_machine() -> MachineRecord:
    """Processor, memory, GPUs and driver of this machine."""
    gpus, driver = _gpus()
    cpu, cores, memory = _cpu_model(), os.cpu_count() or 0, _memory_gib()
    parts = [cpu, cores, memory, sorted(gpus), driver, platform.machine()]
    return MachineRecord(
        fingerprint=hashlib.sha256(repr(parts).encode()).hexdigest()[:16],
        cpu=cpu,
        cores=cores,
        memory_gib=memory,
        gpus=gpus,
        driver=driver,
        system=f"{platform.system()} {platform.machine()}",
    )


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> int:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB)
    except (ValueError, OSError):
        return 0


def _gpus() -> tuple[list[str], str]:
    """Names and driver version as nvidia-smi reports them; nothing without it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return [], ""
    query = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return [], ""
    rows = [line.split(", ") for line in done.stdout.splitlines() if ", " in line]
    return [row[0] for row in rows], rows[0][-1] if rows else ""
