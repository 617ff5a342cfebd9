"""The example with speculators: a head is trained, and real vLLM measures its checkpoints."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_speedbench.engines.checkpoints import local_checkpoint
from pytest_speedbench.engines.demo import resolve_model
from pytest_speedbench.engines.drafter_summary import summarize

from .conftest import TIMEOUT, needs_demo, needs_vllm

SCRIPT = Path(__file__).parents[2] / "examples" / "speculators" / "train_head.py"
TINY = {"measured": 1, "trained": 2, "answer-tokens": 16, "epochs": 2, "checkpoint-epochs": 1}

needs_speculators = pytest.mark.skipif(
    importlib.util.find_spec("speculators") is None, reason="tox -e speculators installs it"
)


@needs_demo
@needs_vllm
@needs_speculators
@pytest.mark.engine
def test_a_head_is_measured_while_it_is_trained(tmp_path: Path) -> None:
    heads = tmp_path / "heads"
    options = {"model": resolve_model("demo"), "output": heads, **TINY}
    command = [sys.executable, str(SCRIPT), *(f"--{k}={v}" for k, v in options.items())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3 * TIMEOUT)
    assert done.returncode == 0, done.stderr
    logged = re.findall(r"^step (\d+): acceptance_length (\d\.\d\d)$", done.stdout, re.M)
    assert len(logged) == 2
    (first, _), (second, al) = logged
    assert int(second) > int(first)
    assert 1 <= float(al) <= 4
    title, *rows = done.stdout[done.stdout.index("step  category") :].splitlines()
    assert title.split()[-3:] == ["since", "step", first]
    assert len(rows) == 2 * 12
    assert all("%" in row for row in rows if row.split()[0] == second)
    assert (heads / "acceptance_length.svg").stat().st_size
    for epoch in "01":
        summary = summarize(local_checkpoint(str(heads / epoch)))
        assert (summary.method, summary.problems) == ("eagle3", ())
