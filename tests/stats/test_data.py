from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pytest_speedbench.stats import NoData, StepTrace
from pytest_speedbench.stats.data import clusters, stratum_codes

from .stats_makers import trace


def test_counts_tokens_without_the_prefills_own() -> None:
    one = trace(steps=[2, 1, 3], prefill=1)
    assert (one.decode_tokens, one.output_tokens) == (6, 7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": np.array([1, 0])}, "at least one token"),
        ({"prefill_tokens": -1}, "negative"),
        ({"token_ids": np.arange(3)}, "3 token ids for 4 output tokens"),
        ({"drafted": np.array([3, 3])}, "together or not at all"),
        ({"drafted": np.array([3]), "accepted": np.array([1])}, "one entry per decoding step"),
        ({"drafted": np.array([1, 1]), "accepted": np.array([2, 0])}, "between 0 and drafted"),
    ],
)
def test_refuses_what_no_engine_can_produce(arguments: dict[str, object], message: str) -> None:
    fields: dict[str, object] = {"prefill_tokens": 1, "steps": np.array([2, 1])} | arguments
    with pytest.raises(ValueError, match=message):
        StepTrace(sample="a", stratum="math", turn=0, **fields)  # type: ignore[arg-type]


def test_a_sample_has_one_stratum_and_each_turn_once() -> None:
    with pytest.raises(ValueError, match="same turn twice"):
        clusters([trace(), trace()])
    with pytest.raises(ValueError, match="more than one stratum"):
        clusters([trace(), trace(turn=1, stratum="coding")])


def test_turns_are_put_in_order() -> None:
    assert [t.turn for t in clusters([trace(turn=1), trace(turn=0)])["a"]] == [0, 1]


def test_strata_of_one_cluster_share_a_number() -> None:
    assert stratum_codes(["a", "a", "b", "c"]).tolist() == [1, 1, 0, 0]
    assert len(set(stratum_codes(["a", "a", "b"]).tolist())) == 1
    assert stratum_codes(["a"]).tolist() == [0]


def test_no_data_is_a_value_error_with_its_reason() -> None:
    assert issubclass(NoData, ValueError)
    assert NoData("why").reason == "why"


def test_import_leaves_scipy_alone() -> None:
    code = "import sys, pytest_speedbench.stats; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
