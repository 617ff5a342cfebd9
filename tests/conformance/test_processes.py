"""What the conformance suite reads of the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_speedbench.conformance.processes import gpu_memory_used

NVIDIA_SMI = """#!/bin/sh
case "$*" in
*--id=0,1*) printf '100\\n20\\n' ;;
*--id=1*) echo 20 ;;
*) printf '100\\n20\\n3\\n' ;;
esac
"""


@pytest.mark.parametrize(
    ("visible", "mebibytes"), [(None, 123), ("1", 20), ("0,1", 120), ("", None)]
)
def test_memory_of_the_gpus_that_an_engine_may_use(
    visible: str | None,
    mebibytes: int | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What others do on another GPU of the machine is not an engine that keeps its memory."""
    program = tmp_path / "nvidia-smi"
    program.write_text(NVIDIA_SMI)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpu_memory_used() == (None if mebibytes is None else mebibytes << 20)


def test_memory_without_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory_used() is None
