"""The GPUs and cores of one xdist worker: its own, so that workers do not disturb each other.

The share is set in the worker's own process, before any engine: every engine that it starts, a
library's child or a server, inherits it. Nothing of an engine or of torch is imported here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_speedbench.baselines.machine import this_machine
from pytest_speedbench.errors import DeviceError, count_of

# In the order in which a set one is believed; the last is what is set on machines of AMD.
_VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
# The engines' own names of how many GPUs one engine takes; the numbers of the rows multiply.
_PARALLEL = (
    ("tensor_parallel_size", "tp_size", "tp"),
    ("pipeline_parallel_size", "pp_size", "pp"),
    ("data_parallel_size", "dp_size", "dp"),
)
_KFD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")
_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@dataclass(frozen=True, slots=True)
class Gpus:
    """GPUs that may be used, as ``variable`` names them; ``chosen`` where the user has set it."""

    variable: str
    ids: tuple[str, ...]
    chosen: bool = False


def visible_gpus(environment: Mapping[str, str] = os.environ) -> Gpus:
    """What the user has left visible, else every GPU of the machine."""
    for name in _VISIBLE:
        if name in environment:
            return Gpus(name, _listed(environment[name]), chosen=True)
    if nvidia := this_machine().gpus:
        return Gpus(_VISIBLE[0], tuple(map(str, range(len(nvidia)))))
    return Gpus(_VISIBLE[-1], tuple(map(str, range(_amd_gpus()))))


def _listed(value: str) -> tuple[str, ...]:
    """Numbers or UUIDs; CUDA ignores what comes after the first that is no device."""
    found = []
    for part in value.split(","):
        if not part.strip() or part.strip().startswith("-"):
            break
        found.append(part.strip())
    return tuple(found)


def _amd_gpus(nodes: Path = _KFD_NODES) -> int:
    """The kernel driver's nodes that have SIMD units are GPUs; the others are processors."""
    count = 0
    for properties in nodes.glob("*/properties"):
        try:
            words = properties.read_text(encoding="ascii").split()
        except OSError:
            continue
        pairs = dict(zip(words[::2], words[1::2], strict=False))
        count += int(pairs.get("simd_count", "0")) > 0
    return count


def gpus_of_engine(arguments: Iterable[tuple[str, object]]) -> int:
    """How many GPUs one engine with these arguments takes."""
    given = {name.lstrip("-").replace("-", "_"): value for name, value in arguments}
    count = 1
    for names in _PARALLEL:
        sizes = [size for name in names if isinstance(size := given.get(name), int)]
        count *= max(1, sizes[0]) if sizes else 1
    return count


def share_gpus(gpus: Gpus, slot: int, workers: int, needed: int) -> tuple[str, ...]:
    """The GPUs of the worker in ``slot`` of ``workers``; each gets the same number.

    Raises:
        DeviceError: a share is too small for an engine, which takes ``needed``.
    """
    each = len(gpus.ids) // workers
    if each < needed:
        raise DeviceError(_too_few(gpus, workers, needed))
    return gpus.ids[slot * each : (slot + 1) * each]


def _too_few(gpus: Gpus, workers: int, needed: int) -> str:
    where = f"{gpus.variable} shows" if gpus.chosen else "this machine has"
    have = f"{where} {count_of(len(gpus.ids), 'GPU')}"
    each = count_of(needed, "GPU") + (" (its parallel sizes)" if needed > 1 else "")
    fit = len(gpus.ids) // needed
    if fit:
        fix = f"-n {fit}"
    else:
        fix = f"at most {len(gpus.ids)} for tensor_parallel_size and the like, with -n 1"
    return (
        f"-n {workers}: every worker has its own GPUs and an engine needs {each}, but {have}: "
        f"{fix} (engines that run on the CPU: {_VISIBLE[0]}= )"
    )


def claim(slot: int, workers: int, needed: int) -> str:
    """Takes this process's share of the machine: GPUs, or where there are none, cores.

    Returns:
        The share, for a message; empty where it shares everything.

    Raises:
        DeviceError: as :func:`share_gpus`.
    """
    gpus = visible_gpus()
    if gpus.ids:
        own = share_gpus(gpus, slot, workers, needed)
        _show_only(gpus, own, os.environ)
        return f"GPU {','.join(own)}"
    if sys.platform != "linux":
        return ""
    cores = share_cores(sorted(os.sched_getaffinity(0)), slot, workers)
    if not cores:
        return ""
    os.sched_setaffinity(0, cores)
    return f"CPU {','.join(map(str, cores))}"


def _show_only(gpus: Gpus, own: Sequence[str], environment: MutableMapping[str, str]) -> None:
    environment[gpus.variable] = ",".join(own)
    if not gpus.chosen and gpus.variable == _VISIBLE[0]:
        # As nvidia-smi counts; CUDA would put the fastest first.
        environment.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")


def share_cores(allowed: Sequence[int], slot: int, workers: int) -> list[int]:
    """The logical CPUs of one worker: whole cores; none where there are fewer cores than workers.

    An engine takes as many threads as it may use CPUs, and binds them (vLLM), so workers that
    shared all of them would sit on the same cores.
    """
    cores: dict[str, list[int]] = {}
    for cpu in allowed:
        cores.setdefault(_core_of(cpu), []).append(cpu)
    each = len(cores) // workers
    own = list(cores.values())[slot * each : (slot + 1) * each]
    return [cpu for core in own for cpu in core]


def _core_of(cpu: int) -> str:
    """What is equal for the hardware threads of one core."""
    try:
        return Path(_SIBLINGS.format(cpu)).read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)
