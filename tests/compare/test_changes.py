"""What changed between two records: every difference once, causes of a change of AL first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.changes import changes
from pytest_speedbench.secrets import HIDDEN

from .saved_runs import record

LOOKUP = "speculative.prompt_lookup_min"
ENGINE = {"name": "vllm", "version": "1", "device": "cpu", "dtype": "float32"}


def measured(
    args: dict[str, Any] | None = None, details: dict[str, Any] | None = None, **other: Any
) -> Record:
    engine = {**ENGINE, "args": args or {}, "details": details or {}, **other.pop("engine", {})}
    return record(samples=(), **{"engine": engine, "harness": "1.0", **other})


def lines(old: Record, new: Record) -> list[str]:
    return [str(change) for change in changes(old, new)]


def test_an_argument_that_one_side_was_not_given() -> None:
    assert lines(measured(), measured({LOOKUP: 4})) == [f"{LOOKUP}: – → 4"]


def test_a_resolved_value_stands_for_the_argument() -> None:
    old = measured({}, {"speculative": {"prompt_lookup_min": 2}})
    new = measured({LOOKUP: 4}, {"speculative": {"prompt_lookup_min": 4}})
    assert lines(old, new) == [f"{LOOKUP}: 2 → 4"]


def test_an_argument_that_resolves_to_the_same_value_changes_nothing() -> None:
    resolved = {"speculative": {"prompt_lookup_min": 2}}
    assert lines(measured({}, resolved), measured({LOOKUP: 2}, resolved)) == []
    assert lines(measured(), measured({"dtype": "float32"})) == []


def test_a_default_that_the_engine_has_changed_is_seen_without_any_argument() -> None:
    old, new = measured({}, {"block_size": 16}), measured({}, {"block_size": 128})
    assert lines(old, new) == ["block_size: 16 → 128"]


def test_likely_causes_come_first() -> None:
    drafter = {"name": "head", "weights": "d1"}
    spec = {"method": "eagle3", "draft_length": 3}
    old = measured(
        {"max_num_seqs": 4},
        {"attention_backend": "A", "speculative": {"x": 1}},
        spec={**spec, "drafter": drafter},
        engine={"packages": {"torch": "2.8"}},
    )
    new = measured(
        {"max_num_seqs": 8},
        {"attention_backend": "B", "speculative": {"x": 2}},
        spec={**spec, "drafter": {**drafter, "weights": "d2"}},
        engine={
            "version": "2",
            "dtype": "bfloat16",
            "packages": {"torch": "2.9", "flash-attn": "2"},
        },
        model={"name": "m", "weights": "w2"},
        machine={"fingerprint": "f2", "cpu": "CPU", "cores": 4, "memory_gib": 8},
        template="t2",
        harness="1.1",
    )
    assert lines(old, new) == [
        "drafter.weights: d1 → d2",
        "speculative.x: 1 → 2",
        "model.weights: w1 → w2",
        "chat_template: t1 → t2",
        "engine.version: 1 → 2",
        "dtype: float32 → bfloat16",
        "attention_backend: A → B",
        "max_num_seqs: 4 → 8",
        "packages.flash-attn: – → 2",
        "packages.torch: 2.8 → 2.9",
        "machine.cores: 2 → 4",
        "pytest-speedbench: 1.0 → 1.1",
    ]


def test_what_one_record_does_not_know_is_not_a_change() -> None:
    """Records of earlier versions have neither packages nor all settings."""
    early = measured(harness="")
    late = measured(
        {}, {"attention_backend": "A"}, engine={"packages": {"torch": "2.9", "cuda": "12.8"}}
    )
    assert lines(early, late) == lines(late, early) == []
    for dtype in ("unknown", "auto"):
        joined = measured(engine={"device": "unknown", "dtype": dtype})
        assert lines(joined, measured()) == []


def test_a_setting_that_was_not_set_is_known_and_one_that_is_missing_is_not() -> None:
    old = measured({}, {"quantization": None, "debug": True})
    new = measured({}, {"quantization": "fp8", "fast_path": True})
    assert lines(old, new) == ["quantization: – → fp8"]


def test_environment_variables_are_recorded_together() -> None:
    old = measured({}, {"environment": {"VLLM_A": "1"}})
    new = measured({}, {"environment": {"VLLM_A": "1", "VLLM_B": "1"}})
    assert lines(old, new) == ["environment.VLLM_B: – → 1"]
    assert lines(measured(), new) == []


def test_an_argument_is_compared_where_only_one_engine_reports_its_configuration() -> None:
    """As ``vllm serve`` with and without its development mode."""
    old = measured({}, {"speculative": {"prompt_lookup_min": 2, "prompt_lookup_max": 4}})
    assert lines(old, measured({LOOKUP: 4})) == [f"{LOOKUP}: – → 4"]


def test_a_drafter_on_one_side_alone() -> None:
    new = measured(spec={"method": "eagle3", "draft_length": 3, "drafter": {"name": "head"}})
    assert lines(measured(), new) == ["drafter.name: – → head"]


def test_what_an_engine_reports_of_the_case_itself_stands_once() -> None:
    """``--map dl=3:5`` compares different cases on purpose."""

    def drafting(length: int) -> Record:
        resolved = {"speculative": {"num_speculative_tokens": length, "method": "eagle3"}}
        return measured({}, resolved, spec={"method": "eagle3", "draft_length": length})

    assert lines(drafting(3), drafting(5)) == ["draft_length: 3 → 5"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"kv_blocks": 100}, {"kv_blocks": 101}),
        ({"model_path": "/a/m.gguf"}, {"model_path": "/b/m.gguf"}),
        ({"server": "http://127.0.0.1:1"}, {"server": "http://127.0.0.1:2"}),
        ({"cache": "/tmp/a1/kernels"}, {"cache": "/tmp/b2/kernels"}),
    ],
)
def test_what_varies_from_run_to_run_is_left_out(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert lines(measured({}, old), measured({}, new)) == []


def test_secrets_are_not_shown() -> None:
    old = measured({"hf_token": "one", "header": "Bearer abcdef"})
    new = measured({"header": "Bearer uvwxyz", "api_key": "two"})
    found = lines(old, new)
    assert found == [f"api_key: – → {HIDDEN}", f"hf_token: {HIDDEN} → –"]


def test_long_values_are_shown_where_they_differ() -> None:
    old = measured({"overrides": {"text": "a" * 200 + "b" + "c" * 200}})
    (change,) = changes(old, measured({"overrides": {"text": "a" * 200 + "d" + "c" * 200}}))
    assert change.field == "overrides.text"
    assert change.old == f"…{'a' * 12}b{'c' * 35}…"
    assert change.new == f"…{'a' * 12}d{'c' * 35}…"


NAMES = st.sampled_from(["dtype", "a", "b", "speculative", "max_num_seqs", "hf_token", "kv_blocks"])
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text("ab/é\n", max_size=80)
    | st.lists(st.integers())
)
VALUES = st.recursive(PLAIN, lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=4)
CONFIGS = st.dictionaries(NAMES, VALUES, max_size=4)
WORDS = st.sampled_from(["", "1", "2"])
RECORDS = st.builds(
    lambda args, details, version, weights, drafter, packages, harness: measured(
        args,
        details,
        engine={"version": version, "packages": packages},
        model={"name": "m", "weights": weights},
        spec={"method": "eagle3", "draft_length": 3, "drafter": drafter},
        harness=harness,
    ),
    CONFIGS,
    CONFIGS,
    WORDS,
    WORDS,
    st.none() | st.builds(lambda weights: {"name": "d", "weights": weights}, WORDS),
    st.dictionaries(st.sampled_from(["torch", "triton"]), st.sampled_from(["1", "2"])),
    WORDS,
)


@given(RECORDS)
def test_a_record_does_not_differ_from_itself(one: Record) -> None:
    assert changes(one, one) == ()


@given(RECORDS, RECORDS)
def test_changes_are_symmetric_and_visible(one: Record, other: Record) -> None:
    there, back = changes(one, other), changes(other, one)
    assert [(c.field, c.old, c.new) for c in there] == [(c.field, c.new, c.old) for c in back]
    assert len({change.field for change in there}) == len(there)
    for change in there:
        assert change.old != change.new
        assert all(len(side) <= 60 for side in (change.old, change.new) if side is not None)
