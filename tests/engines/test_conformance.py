"""The conformance suite passes for correct adapters, and finds each fault of the others."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import pytest

from pytest_speedbench.conformance.contract import PAGE, RULES, most_at_once
from pytest_speedbench.engines import EngineType, registry

from .conftest import HEAD, needs_demo, needs_vllm

ROOT = Path(__file__).parents[2]
SUITE = "pytest_speedbench.conformance"
QUIET = ("-p", "no:cacheprovider", "-rfs")


RunFaulty = Callable[..., pytest.RunResult]


class Conformance:
    """Runs the suite on an engine that is installed."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester

    def register(self, name: str, source: str) -> None:
        """A module of a third party, with its entry point, as if it were installed."""
        module = name.replace("-", "_")
        self.pytester.makepyfile(**{module: source})
        installed = self.pytester.mkdir(f"{module}-1.0.dist-info")
        (installed / "METADATA").write_text(f"Name: {module}\nVersion: 1.0\n")
        (installed / "entry_points.txt").write_text(
            f"[pytest_speedbench.engines]\n{name} = {module}:ENGINE\n"
        )
        self.pytester.syspathinsert()
        forget_engines()

    def run(self, *arguments: str) -> pytest.RunResult:
        return self.pytester.runpytest_inprocess("--pyargs", SUITE, *QUIET, *arguments)

    def run_apart(self, *arguments: str) -> pytest.RunResult:
        """In a process of its own: real engines load much that cannot be loaded twice."""
        return self.pytester.runpytest_subprocess("--pyargs", SUITE, *QUIET, *arguments)


@pytest.fixture
def conformance(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Conformance]:
    # syspathinsert reaches this process; runs of their own read the variable.
    monkeypatch.setenv("PYTHONPATH", f"{pytester.path}:{ROOT}")
    yield Conformance(pytester)
    forget_engines()


def forget_engines() -> None:
    """Those of third parties are looked for once in a process."""
    registry._third_parties.cache_clear()
    registry.engine_type.cache_clear()


@pytest.fixture
def faulty(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunFaulty]:
    """Runs the suite on the adapter of ``faulty.py``, changed as the keywords say, right here:
    quicker by far."""
    module = import_module(f"{__package__}.faulty")
    adapter = module.ENGINE

    def run(
        *arguments: str, options: Sequence[str] = FAULTY, **declared: object
    ) -> pytest.RunResult:
        changed = replace(adapter, **declared)
        monkeypatch.setattr(registry, "_third_parties", lambda: {"faulty": Point(changed)})
        registry.engine_type.cache_clear()
        return pytester.runpytest_inprocess("--pyargs", SUITE, *QUIET, *options, *arguments)

    yield run
    registry.engine_type.cache_clear()
    for process in module.LEAKED:
        process.kill()
        process.wait()
    module.LEAKED.clear()


@dataclass
class Point:
    """What an entry point is to the registry."""

    adapter: EngineType

    def load(self) -> EngineType:
        return self.adapter


def failures(result: pytest.RunResult) -> set[str]:
    """Names of the tests that failed, without their parameters."""
    found = (re.match(r"FAILED \S*::(\w+)", line) for line in result.outlines)
    return {match[1] for match in found if match}


def skips(result: pytest.RunResult) -> str:
    return "\n".join(line for line in result.outlines if line.startswith("SKIPPED"))


def test_the_simulated_engine_keeps_the_contract(conformance: Conformance) -> None:
    result = conformance.run(
        "--speed-engine=simulated", "--speed-model=any", "--speed-method=ngram,eagle3"
    )
    counted = result.parseoutcomes()
    assert counted.keys() == {"passed", "skipped"}
    assert counted["passed"] > 60
    assert "declares a virtual clock" in skips(result)
    assert "conformance: medusa was not tried: not asked for with --speed-method" in result.outlines


MONOTONE = "test_times_are_monotone"
FORMER = "pytest_speedbench.engines.conformance.test_clock"
CLOCK = ("--speed-engine=simulated", "--speed-model=any", "--speed-method=ngram")


def test_the_former_name_of_the_suite_still_runs_it(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("--pyargs", FORMER, *QUIET, *CLOCK, "-n", "1")
    assert result.parseoutcomes()["passed"] == 2
    assert result.ret == 0


def test_the_former_name_in_this_process(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_inprocess("--pyargs", f"{FORMER}::{MONOTONE}", *QUIET, *CLOCK)
    assert result.parseoutcomes()["passed"] == 2
    assert result.ret == 0


@pytest.mark.parametrize("name", ["pytest_speedbench.engines.conformance_", "engines.conformance"])
def test_other_names_are_left_alone(pytester: pytest.Pytester, name: str) -> None:
    result = pytester.runpytest_inprocess("--pyargs", name, *QUIET)
    result.stderr.fnmatch_lines([f"*not found: {name}*"])


def test_the_engine_of_the_guide_keeps_the_contract(conformance: Conformance) -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    conformance.register("my-engine", re.findall(r"```python\n(.*?)```", page, re.S)[0])
    result = conformance.run("--speed-engine=my-engine", "--speed-model=any")
    assert failures(result) == set()
    assert result.parseoutcomes()["passed"] > 15


UNNAMED = ("--speed-engine=faulty", "--speed-model=any", "--speed-timeout=20")
FAULTY = (*UNNAMED, "--speed-method=eagle3")
SAME = {"test_greedy_output_is_that_without_speculation"}
BATCHED = {"test_output_does_not_depend_on_the_batch_size"}
CANCELLED = {"test_cancelling_one_leaves_the_others_unchanged"}
MAX = {"test_max_tokens_is_exact"}
EMPTY = {"test_an_empty_prompt_is_answered_or_refused"}
LONG = {"test_a_prompt_beyond_the_context_window_is_refused"}
IGNORE = {"test_ignore_eos_runs_through_stop_tokens"}
AGAIN = {"test_it_can_be_started_again"}

FAULTS = {
    "caches prefixes": {"test_prefix_caching_is_off_unless_asked_for"},
    "another clock": {"test_times_are_of_this_machines_clock"},
    "time runs backwards": {"test_times_are_monotone"},
    "dies of an empty prompt": EMPTY,
    "cuts long prompts": LONG,
    "ignores stop tokens": {"test_a_stop_token_ends_the_output_and_is_part_of_it"},
    "ignores ignore_eos": IGNORE,
    "ignores min_tokens": {"test_min_tokens_delays_the_end"},
    "one token too many": {
        "test_output_ends_at_its_own_end_or_at_max_tokens",
        "test_a_request_goes_on_from_a_given_output",
        "test_every_step_emits_one_to_dl_and_one_tokens",
        "test_reported_drafts_fit_the_output",
        "test_counters_agree_with_the_traces",
        "test_the_method_runs_and_drafts",
    }
    | MAX
    | IGNORE,
    "a step too long": {
        "test_every_step_emits_one_to_dl_and_one_tokens",
        "test_reported_drafts_fit_the_output",
    },
    "batches badly": BATCHED | CANCELLED,
    "scores in bits": {"test_scores_are_those_of_the_target"},
    "leaks a process": {"test_close_frees_everything"},
    "answers after close": AGAIN,
    "too many at once": {"test_never_more_than_asked"},
    "one at a time": {"test_as_many_as_asked"} | CANCELLED,
    "cancels the neighbours": CANCELLED,
    "cancels nothing": CANCELLED,
}


def test_an_engine_in_one_process_keeps_the_contract(faulty: RunFaulty) -> None:
    result = faulty()
    assert failures(result) == set()
    assert result.parseoutcomes()["passed"] > 40


@pytest.mark.parametrize(("fault", "caught_by"), FAULTS.items(), ids=FAULTS)
def test_each_fault_is_caught_by_its_test(
    faulty: RunFaulty, fault: str, caught_by: set[str]
) -> None:
    result = faulty(f"--speed-engine-arg=fault={fault}")
    assert failures(result) == caught_by
    assert result.parseoutcomes().keys() == {"passed", "skipped", "failed"}
    result.stdout.fnmatch_lines(
        ["broken: *", "  expected: *", "  got: *", f"  the contract: {PAGE}#*"]
    )


@pytest.mark.parametrize(
    ("argument", "caught_by"),
    [
        ("miscount=3", {"test_counters_agree_with_the_traces"}),
        ("speculation_off=1", {"test_the_method_runs_and_drafts"}),
        ("defect_at=5", SAME | CANCELLED | EMPTY | LONG),
    ],
)
def test_a_wrong_number_of_the_simulated_engine_is_caught(
    faulty: RunFaulty, argument: str, caught_by: set[str]
) -> None:
    result = faulty(f"--speed-engine-arg={argument}")
    assert failures(result) >= caught_by
    assert failures(result) - caught_by <= {"test_a_stop_token_ends_the_output_and_is_part_of_it"}


def test_events_of_an_engine_without_step_traces_are_steps_only_where_that_is_proven(
    faulty: RunFaulty,
) -> None:
    assert failures(faulty(step_traces=False)) == set()
    silent = failures(faulty("--speed-engine-arg=fault=reports no drafts", step_traces=False))
    assert silent == {"test_events_that_are_not_steps_come_with_totals"}


@pytest.mark.parametrize("fault", ["loses a token", "answers twice", "does not start"])
def test_a_fault_of_everything_is_reported_by_its_rule(faulty: RunFaulty, fault: str) -> None:
    """Nothing can be compared any more; the first failing test already names the cause."""
    result = faulty(f"--speed-engine-arg=fault={fault}")
    wanted = {
        "loses a token": f"broken: {RULES['tokens-add-up']}",
        "answers twice": f"broken: {RULES['every-request-comes-back']}",
        "does not start": "  got: this version has no speculation",
    }
    assert wanted[fault] in result.outlines
    assert "Traceback" not in result.stdout.str()


def test_a_method_that_was_not_asked_for_may_be_refused_at_the_start(faulty: RunFaulty) -> None:
    """Only the engine knows what its model does not have."""
    result = faulty("--speed-engine-arg=fault=does not start", options=UNNAMED)
    assert failures(result) == set()
    assert "refused at the start: this version has no speculation" in skips(result)


def test_what_is_declared_impossible_is_a_skip_with_the_reason(faulty: RunFaulty) -> None:
    result = faulty(scores=False, max_batch=1)
    assert failures(result) == set()
    reasons = skips(result)
    assert "engine faulty declares scores=False" in reasons
    assert "engine faulty declares one request at a time" in reasons


def test_an_engine_that_is_not_installed_is_a_skip_with_the_command(faulty: RunFaulty) -> None:
    result = faulty(requires="no_such_package", extra="faulty")
    assert failures(result) == set()
    assert "pip install 'pytest-speedbench[faulty]'" in skips(result)


def test_an_unknown_engine_is_one_message(faulty: RunFaulty) -> None:
    result = faulty(options=("--speed-engine=nobody", "--speed-model=any"))
    result.stdout.fnmatch_lines(["*unknown engine 'nobody'; known: *"])
    assert "Traceback" not in result.stdout.str()


def test_every_rule_has_its_place_on_the_page() -> None:
    headings = re.findall(r"^#+ (.*)$", (ROOT / PAGE).read_text(encoding="utf-8"), re.M)
    anchors = {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}
    assert set(RULES) <= anchors


@pytest.mark.parametrize(
    ("intervals", "most"),
    [([], 0), ([(0, 1), (1, 2)], 1), ([(0, 2), (1, 3)], 2), ([(0, 9), (1, 2), (2, 3)], 2)],
)
def test_touching_intervals_do_not_overlap(
    intervals: Sequence[tuple[float, float]], most: int
) -> None:
    assert most_at_once(intervals) == most


# -- real engines ---------------------------------------------------------------------------------


@needs_demo
@pytest.mark.engine
@pytest.mark.nightly
def test_transformers_keeps_the_contract(conformance: Conformance) -> None:
    result = conformance.run_apart(
        "--speed-engine=transformers",
        "--speed-model=demo",
        "--speed-method=ngram,draft_model,early_exit",
        "--speed-drafter=demo,24",
    )
    assert failures(result) == set()
    assert result.parseoutcomes()["passed"] > 60


@needs_demo
@needs_vllm
@pytest.mark.engine
@pytest.mark.nightly
def test_vllm_keeps_the_contract(conformance: Conformance) -> None:
    result = conformance.run_apart(
        "--speed-engine=vllm",
        "--speed-model=demo",
        "--speed-method=ngram,eagle3",
        f"--speed-drafter={HEAD}",
        "--speed-engine-arg=max_model_len=1024",
    )
    assert failures(result) == set()
    assert result.parseoutcomes()["passed"] > 60
