"""What a table says of the engine: what is known of it, and nothing else."""

from __future__ import annotations

import pytest

from pytest_speedbench.baselines.provenance import EngineRecord
from pytest_speedbench.report.view import engine_text


@pytest.mark.parametrize(
    ("version", "device", "dtype", "shown"),
    [
        ("0.5.17", "NVIDIA H200", "bfloat16", "sglang 0.5.17, bfloat16 on NVIDIA H200"),
        ("0.5.17", "NVIDIA H200", "auto", "sglang 0.5.17, on NVIDIA H200"),
        ("0.5.17", "unknown", "bfloat16", "sglang 0.5.17, bfloat16"),
        ("0.5.17", "unknown", "auto", "sglang 0.5.17"),
        ("unknown", "unknown", "unknown", "sglang"),
    ],
)
def test_what_a_server_elsewhere_does_not_report_is_left_out(
    version: str, device: str, dtype: str, shown: str
) -> None:
    engine = EngineRecord(name="sglang", version=version, device=device, dtype=dtype)
    assert engine_text(engine) == shown
