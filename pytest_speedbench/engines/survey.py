"""Run by another interpreter: answers whether it can run an engine, and with which variables.

Reads the question of :func:`~.process.interpreter.survey` from standard input and writes its answer
as the last line of standard output.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from pytest_speedbench.engines.process.wire import decode, read_config
from pytest_speedbench.engines.registry import check, engine_type
from pytest_speedbench.errors import EngineError


def answer(question: bytes) -> dict[str, Any]:
    """``missing``: a package; ``error``: why the engine cannot run; else its ``environment``."""
    _, _, data, function = decode(question)
    config = replace(read_config(data), python="")  # here, it is this one
    try:
        needed = engine_type(config.engine).requires
        if needed and importlib.util.find_spec(needed) is None:
            return {"missing": needed}
        check(config)
    except EngineError as error:
        return {"error": str(error)}
    environment: Mapping[str, str] = {}
    if function:
        module, _, name = function.partition(":")
        environment = getattr(import_module(module), name)(config)
    return {"environment": dict(environment)}


if __name__ == "__main__":
    sys.stdout.write(f"\n{json.dumps(answer(sys.stdin.buffer.read()))}\n")
