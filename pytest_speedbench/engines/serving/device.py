"""The device of a server started here, found without using it."""

from __future__ import annotations

import subprocess


def device_name(*, cpu: bool) -> str:
    """``cpu``, or the driver's name for the first GPU."""
    if cpu:
        return "cpu"
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.partition("\n")[0].strip() or "unknown"
