"""Workers start the same engines at the same time: each compiles into a cache of its own."""

from __future__ import annotations

import os
from pathlib import Path

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ.setdefault("VLLM_CACHE_ROOT", str(Path.home() / ".cache" / f"vllm-{worker}"))
