"""llama.cpp's server from the package ``xllamacpp``, with the flags of ``llama-server``.

The package contains the server as a library. Run as ``python -m
pytest_speedbench.engines.llama_cpp.xllamacpp_server --model FILE --port N …`` it serves until it
is ended.
A flag that is not in the tables below sets the parameter of its name; dots reach nested ones
(``--cpuparams.poll 0``).
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from enum import Enum
from importlib.metadata import version
from typing import Any

from pytest_speedbench.errors import UsageError

_PARAMETERS: Mapping[str, str] = {
    "model": "model.path",
    "host": "hostnames",
    "ctx-size": "n_ctx",
    "parallel": "n_parallel",
    "batch-size": "n_batch",
    "ubatch-size": "n_ubatch",
    "threads": "cpuparams.n_threads",
    "threads-batch": "cpuparams_batch.n_threads",
    "threads-http": "n_threads_http",
    "gpu-layers": "n_gpu_layers",
    "flash-attn": "flash_attn_type",
    "metrics": "endpoint_metrics",
    "slots": "endpoint_slots",
    "props": "endpoint_props",
    "cache-ram": "cache_ram_mib",
    "seed": "sampling.seed",
    "spec-type": "speculative.types",
    "spec-draft-model": "speculative.draft.mparams.path",
    "spec-draft-ngl": "speculative.draft.n_gpu_layers",
    "spec-draft-threads": "speculative.draft.cpuparams.n_threads",
    "spec-draft-threads-batch": "speculative.draft.cpuparams_batch.n_threads",
    "spec-draft-type-k": "speculative.draft.cache_type_k",
    "spec-draft-type-v": "speculative.draft.cache_type_v",
    "spec-synth-len": "speculative.synth_len",
}
# --spec-draft-n-max → speculative.draft.n_max, and so on.
_GROUPS: Mapping[str, str] = {
    "spec-draft-": "speculative.draft.",
    "spec-ngram-simple-": "speculative.ngram_simple.",
    "spec-ngram-map-k-": "speculative.ngram_map_k.",
    "spec-ngram-map-k4v-": "speculative.ngram_map_k4v.",
    "spec-ngram-mod-": "speculative.ngram_mod.",
}


def parameter(flag: str) -> str:
    """The parameter that ``--flag`` sets, as a dotted path."""
    if flag in _PARAMETERS:
        return _PARAMETERS[flag]
    for prefix, group in _GROUPS.items():
        if flag.startswith(prefix):
            return group + flag.removeprefix(prefix).replace("-", "_")
    return flag.replace("-", "_")


def apply(parameters: Any, arguments: Sequence[str]) -> None:
    """Sets parameters from command-line arguments.

    Raises:
        UsageError: a flag or its value is unknown.
    """
    left = list(arguments)
    while left:
        argument = left.pop(0)
        if not argument.startswith("--"):
            raise UsageError(f"unexpected argument {argument!r}")
        flag = argument.removeprefix("--")
        value = left.pop(0) if left and not left[0].startswith("--") else None
        _set(parameters, flag, value)


def _set(parameters: Any, flag: str, value: str | None) -> None:
    negated = flag.startswith("no-")
    path = parameter(flag.removeprefix("no-") if negated else flag).split(".")
    holder = parameters
    try:
        for name in path[:-1]:
            holder = getattr(holder, name)
        now = getattr(holder, path[-1])
    except AttributeError:
        raise UsageError(f"xllamacpp has no parameter for --{flag}") from None
    if value is None:
        if not isinstance(now, bool):
            raise UsageError(f"--{flag} needs a value")
        setattr(holder, path[-1], not negated)
        return
    try:
        setattr(holder, path[-1], _converted(value, now))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--{flag} {value}: {error}") from None


def _converted(value: str, now: object) -> object:
    """``value`` as the type of ``now``."""
    if isinstance(now, list):
        like = now[0] if now else ""
        return [_converted(item, like) for item in value.split(",")]
    if isinstance(now, bool):
        return value.lower() in ("1", "on", "true", "yes")
    if isinstance(now, Enum) or hasattr(type(now), "__members__"):
        return _member(type(now), value)
    if isinstance(now, int | float):
        return type(now)(value)
    return value


def _member(kind: Any, value: str) -> object:
    """``draft-simple`` → the member of its enumeration."""
    wanted = "_" + value.upper().replace("-", "_")
    for name, member in kind.__members__.items():
        if name.endswith(f"TYPE{wanted}") or name == wanted[1:]:
            return member
    known = ", ".join(_value(name) for name in kind.__members__)
    raise ValueError(f"not one of: {known}")


def _value(member: str) -> str:
    return member.rpartition("TYPE_")[2].lower().replace("_", "-")


def information(flag: str) -> str:
    """The output of ``llama-server --help``, ``--version`` or ``--list-devices``."""
    import xllamacpp

    if flag == "--version":
        return f"version: xllamacpp {version('xllamacpp')}"
    if flag == "--list-devices":
        found = [d for d in xllamacpp.get_device_info() if "GPU" in d["type"].name]
        lines = [f"  {device['name']}: {device['description']}" for device in found]
        return "\n".join(["Available devices:", *lines])
    kinds = [_value(name) for name in xllamacpp.common_speculative_type.__members__]
    return "\n".join(
        [
            *(f"--{flag} VALUE" for flag in _PARAMETERS if flag != "spec-type"),
            *(f"{prefix}* VALUE" for prefix in _GROUPS),
            f"--spec-type {','.join(kind for kind in kinds if kind != 'count')}",
        ]
    )


def main(arguments: Sequence[str]) -> int:
    if len(arguments) == 1:
        sys.stdout.write(information(arguments[0]) + "\n")
        return 0
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    try:
        apply(parameters, arguments)
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
