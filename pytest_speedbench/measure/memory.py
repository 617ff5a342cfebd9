"""How much memory is left."""

from __future__ import annotations

from pathlib import Path


def available_memory() -> int | None:
    """Bytes that can still be used without swapping; None where the system does not report it."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None
