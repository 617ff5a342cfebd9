"""What the server of ``forked_engines`` has done before it forks: each engine would do it again."""

from __future__ import annotations

import gc
from functools import cache
from importlib import import_module

import forked_engines

from pytest_speedbench.engines.process import child
from pytest_speedbench.engines.protocol import EngineConfig, Speculation

for module in (
    "pydantic.main",
    "pytest_speedbench.engines.serving.schema",
    "pytest_speedbench.engines.sglang.backend",
    "pytest_speedbench.engines.tensorrt_llm.backend",
):
    import_module(module)
child._load(forked_engines.SIMULATED)(EngineConfig("simulated", "any", Speculation("eagle3", 3), 1))
child.commit_of = cache(child.commit_of)
child.commit_of("simulated")  # it looks through the folders of all packages
gc.collect()
gc.freeze()  # an engine that collected what is here would copy its memory
