"""GPUs and cores of xdist workers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.baselines.machine import this_machine
from pytest_speedbench.errors import DeviceError
from pytest_speedbench.session import devices
from pytest_speedbench.session.devices import (
    Gpus,
    gpus_of_engine,
    share_cores,
    share_gpus,
    visible_gpus,
)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> object:
    """Says how many GPUs of NVIDIA this machine has, and ends up with no variable set."""
    for name in ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    real = this_machine()

    def has(count: int) -> None:
        told = real.model_copy(update={"gpus": ["H100"] * count})
        monkeypatch.setattr(devices, "this_machine", lambda: told)

    return has


@pytest.mark.parametrize(
    ("environment", "variable", "ids"),
    [
        ({"CUDA_VISIBLE_DEVICES": "3,5"}, "CUDA_VISIBLE_DEVICES", ("3", "5")),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a, MIG-b"}, "CUDA_VISIBLE_DEVICES", ("GPU-a", "MIG-b")),
        ({"CUDA_VISIBLE_DEVICES": "1,-1,2"}, "CUDA_VISIBLE_DEVICES", ("1",)),
        ({"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES", ()),
        ({"ROCR_VISIBLE_DEVICES": "0,1"}, "ROCR_VISIBLE_DEVICES", ("0", "1")),
        ({"HIP_VISIBLE_DEVICES": "2"}, "HIP_VISIBLE_DEVICES", ("2",)),
    ],
)
def test_what_the_user_has_left_visible_is_what_there_is(
    environment: dict[str, str], variable: str, ids: tuple[str, ...]
) -> None:
    assert visible_gpus(environment) == Gpus(variable, ids, chosen=True)


def test_without_a_variable_the_machine_is_asked(machine: object) -> None:
    machine(2)
    assert visible_gpus({}) == Gpus("CUDA_VISIBLE_DEVICES", ("0", "1"))


def test_gpus_of_amd_are_counted_by_the_kernels_nodes(tmp_path: Path) -> None:
    for number, simd in enumerate((0, 304, 304)):
        (tmp_path / str(number)).mkdir()
        text = f"cpu_cores_count {0 if simd else 64}\nsimd_count {simd}\n"
        (tmp_path / str(number) / "properties").write_text(text)
    assert devices._amd_gpus(tmp_path) == 2


@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        ((), 1),
        ((("tensor_parallel_size", 2),), 2),
        ((("tp_size", 4), ("dp_size", 2)), 8),
        ((("--tensor-parallel-size", 2), ("pipeline_parallel_size", 3)), 6),
        ((("tensor_parallel_size", "auto"), ("max_model_len", 4096)), 1),
    ],
)
def test_an_engine_takes_as_many_gpus_as_its_arguments_say(
    arguments: tuple[tuple[str, object], ...], count: int
) -> None:
    assert gpus_of_engine(arguments) == count


@given(st.integers(1, 16), st.integers(1, 6), st.integers(1, 4))
def test_shares_are_equal_and_apart_or_refused(count: int, workers: int, needed: int) -> None:
    gpus = Gpus("CUDA_VISIBLE_DEVICES", tuple(map(str, range(count))))
    try:
        shares = [share_gpus(gpus, slot, workers, needed) for slot in range(workers)]
    except DeviceError:
        assert count < workers * needed
        return
    assert {len(share) for share in shares} == {count // workers}
    assert len(shares[0]) >= needed
    everything = [gpu for share in shares for gpu in share]
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize(
    ("gpus", "workers", "needed", "told"),
    [
        (2, 4, 1, "-n 4: every worker has its own GPUs and an engine needs 1 GPU, but this "
                  "machine has 2 GPUs: -n 2"),
        (4, 4, 2, "an engine needs 2 GPUs (its parallel sizes), but this machine has 4 GPUs: -n 2"),
        (1, 2, 2, "this machine has 1 GPU: at most 1 for tensor_parallel_size and the like"),
    ],
)  # fmt: skip
def test_too_few_gpus_is_one_error_with_its_fix(
    gpus: int, workers: int, needed: int, told: str
) -> None:
    found = Gpus("CUDA_VISIBLE_DEVICES", tuple(map(str, range(gpus))))
    with pytest.raises(DeviceError) as error:
        share_gpus(found, 0, workers, needed)
    assert told in str(error.value)
    with pytest.raises(DeviceError, match="CUDA_VISIBLE_DEVICES shows"):
        share_gpus(Gpus(found.variable, found.ids, chosen=True), 0, workers, needed)


def test_a_worker_shows_its_engines_its_own_gpus_alone(
    machine: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(4)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    environment = dict(os.environ)
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(devices, "visible_gpus", lambda: visible_gpus(environment))
    assert devices.claim(1, 2, 2) == "GPU 2,3"
    assert environment["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


@pytest.mark.parametrize("siblings", [1, 2])
def test_workers_share_cores_and_not_hardware_threads(
    siblings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_core_of", lambda cpu: str(cpu % (8 // siblings)))
    shares = [share_cores(range(8), slot, 2) for slot in range(2)]
    assert sorted(shares[0] + shares[1]) == list(range(8))
    assert not {cpu % (8 // siblings) for cpu in shares[0]} & {
        cpu % (8 // siblings) for cpu in shares[1]
    }


def test_more_workers_than_cores_share_all_of_them() -> None:
    assert share_cores([0, 1], 0, 3) == []
