"""Markers and options span a grid; ids, selection and order of its cases."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_speedbench.engines.protocol import Sampling
from pytest_speedbench.errors import CaseError
from pytest_speedbench.plan.grid import build_grid
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.session.keys import key_of

from .conftest import QUIET, EngineLog, Project


def test_id_reads_slice_then_batch_size_then_draft_length(project: Project) -> None:
    project.gate('bs=1, dl=3, category="math"')
    assert project.ids() == ["test_gate[math-bs1-dl3]"]


def test_lists_span_the_grid(project: Project) -> None:
    project.gate('bs=[1, 32], dl=[1, 3], category=["math", "qa"]')
    assert sorted(project.ids()) == sorted(
        f"test_gate[{category}-bs{bs}-dl{dl}]"
        for category in ("math", "qa")
        for bs in (1, 32)
        for dl in (1, 3)
    )


def test_a_marker_without_a_category_gives_one_case_for_each_and_for_all(project: Project) -> None:
    project.gate()
    ids = project.ids(speed_category=None)
    assert len(ids) == 12
    assert ids[0] == "test_gate[coding-bs1-dl3]"
    assert ids[-1] == "test_gate[all-bs1-dl3]"


def test_a_marker_without_a_category_gives_one_case_for_each_tier(project: Project) -> None:
    project.gate('isl="1k"')
    assert project.ids(speed_category=None) == [
        f"test_gate[{tier}-bs1-dl3]" for tier in ("low_entropy", "mixed", "high_entropy", "all")
    ]


def test_one_category_alone_is_the_whole(project: Project) -> None:
    project.split("mine.jsonl", 9, "math")
    project.gate("split=['mine.jsonl', 'random', 'qualitative:qa']")
    assert project.ids(speed_category=None) == [
        "test_gate[mine.jsonl-math-bs1-dl3]",
        "test_gate[random-random-bs1-dl3]",
        "test_gate[qualitative-qa-bs1-dl3]",
    ]


def test_category_all_gives_one_case(project: Project) -> None:
    project.gate('category="all"')
    assert project.ids() == ["test_gate[all-bs1-dl3]"]


def test_engine_and_method_stand_in_the_id_where_there_are_several(project: Project) -> None:
    project.gate('method=["ngram", "eagle3"], engine=["simulated", "vllm"]')
    assert "test_gate[vllm-ngram-math-bs1-dl3]" in project.ids()


def test_no_speculation_is_one_case_without_a_draft_length(project: Project) -> None:
    project.gate('method=["none", "ngram"], dl=[1, 3]')
    assert sorted(project.ids()) == [
        "test_gate[ngram-math-bs1-dl1]",
        "test_gate[ngram-math-bs1-dl3]",
        "test_gate[none-math-bs1]",
    ]


@pytest.mark.parametrize(
    ("marker", "word"),
    [
        ("samples=[2, 'all']", "nall"),
        ("max_tokens=[8, 16]", "max16"),
        ("temperature=[0, 0.7]", "t0.7"),
        ("temperature=0.7, top_p=[0.9, 1.0]", "top_p0.9"),
        ("temperature=0.7, top_k=[0, 20]", "top_k20"),
        ("temperature=0.7, min_p=[0.0, 0.1]", "min_p0.1"),
        ("temperature=0.7, seed=[0, 7]", "seed7"),
        ("min_tokens=[0, 4]", "min4"),
        ("model=['org/one', 'org/two']", "two-"),
        ("method='eagle3', drafter=['a/x', 'a/y']", "y-"),
    ],
)
def test_other_axes_stand_in_the_id_where_there_are_several(
    project: Project, marker: str, word: str
) -> None:
    project.gate(marker)
    ids = project.ids()
    assert len(ids) == 2
    assert sum(word in name for name in ids) == 1


def test_a_greedy_case_has_neither_filters_nor_seed() -> None:
    marker = {"temperature": [0, 0.7], "top_p": [0.9, 1.0], "seed": [0, 1], "category": "math"}
    cases, ids = build_grid(marker, Settings())
    assert len(ids) == len(set(ids)) == 5
    greedy = [case.run.sampling for case in cases if case.run.sampling.greedy]
    assert greedy == [Sampling()]


@pytest.mark.parametrize("drawing", [{"top_k": 20}, {"min_p": 1}, {"seed": [1, 2]}])
def test_ways_of_drawing_at_temperature_0_are_an_error(drawing: dict[str, Any]) -> None:
    with pytest.raises(CaseError, match=r"=.+ has no effect at temperature 0, which is greedy"):
        build_grid(drawing, Settings())


def test_a_single_seed_at_temperature_0_is_none() -> None:
    assert build_grid({"seed": 7, "category": "math"}, Settings())


@pytest.mark.parametrize(
    ("marker", "option", "ini", "top_p"),
    [
        ("temperature=0.7", "--speed-top-p=0.9", {}, 0.9),
        ("temperature=0.7", "", {"speed_top_p": "0.9"}, 0.9),
        ("top_p=0.8", "--speed-temperature=0.7", {"speed_top_p": "0.9"}, 0.8),
        ("", "--speed-temperature=0.7", {"speed_top_p": "0.9"}, 0.9),
        ("", "--speed-temperature=0", {"speed_top_p": "0.9", "speed_temperature": "0.7"}, 1),
        ("temperature=0", "", {"speed_top_p": "0.9", "speed_temperature": "0.7"}, 1),
    ],
)
def test_temperature_and_filter_may_come_from_different_levels(
    project: Project, marker: str, option: str, ini: dict[str, str], top_p: float
) -> None:
    project.gate(marker)
    project.run("--benchmark-autosave", *filter(None, [option]), **ini).assert_outcomes(passed=1)
    assert [record.sampling.top_p for record in project.records()] == [top_p]


@pytest.mark.parametrize(
    ("option", "ini", "named"),
    [
        ("--speed-top-p=0.9", {}, "--speed-top-p"),
        ("--speed-top-p=0.9", {"speed_temperature": "0.7"}, None),
        ("", {"speed_top_k": "20"}, "ini option speed_top_k"),
        ("--speed-seed=1,2", {}, "--speed-seed"),
    ],
)
def test_a_filter_that_no_case_draws_with_is_an_error(
    project: Project, option: str, ini: dict[str, str], named: str | None
) -> None:
    project.gate()
    result = project.run("--collect-only", *filter(None, [option]), **ini)
    errors = [line for line in result.errlines if "has no effect at temperature 0" in line]
    assert [line.partition(" has ")[0] for line in errors] == ([f"ERROR: {named}"] if named else [])


def test_a_temperature_of_any_test_gives_a_filter_its_use(project: Project) -> None:
    project.gate("temperature=0.7")
    project.file("test_greedy.py", "def test_greedy(speed): pass")
    assert len(project.ids("--speed-top-p=0.9")) == 2


def test_how_drafts_are_sampled_is_for_methods_with_a_drafter() -> None:
    marker = {"engine": "simulated", "method": ["ngram", "eagle3"], "category": "math"}
    cases, _ = build_grid({**marker, "draft_sampling": "greedy"}, Settings())
    assert [case.run.speculation.draft_sampling for case in cases] == ["", "greedy"]


def test_the_drafter_is_part_of_the_key_where_there_are_several() -> None:
    several, _ = build_grid(
        {"engine": "simulated", "method": "eagle3", "drafter": ["a/x", "a/y"]}, Settings()
    )
    assert {key_of(case).drafter for case in several} == {"a/x", "a/y"}
    alone, _ = build_grid({"engine": "simulated", "method": "eagle3", "drafter": "a/x"}, Settings())
    assert {key_of(case).drafter for case in alone} == {""}


def test_isl_and_entropy_choose_throughput_splits_and_tiers(project: Project) -> None:
    project.gate('isl=[1024, "2k"], entropy="mixed"')
    assert project.ids(speed_category=None) == [
        "test_gate[throughput_1k-mixed-bs1-dl3]",
        "test_gate[throughput_2k-mixed-bs1-dl3]",
    ]


def test_isl_is_the_length_of_random_input(project: Project) -> None:
    project.gate("", "assert {t.prompt_tokens for t in speed.traces} == {2048}")
    options = ("--speed-split=random", "--speed-isl=2k", "--benchmark-autosave")
    project.run(*options, speed_category=None, speed_samples="2").assert_outcomes(passed=1)
    assert project.records()[0].split.name == "random_2k"


def test_a_split_replaces_an_input_length_of_the_ini_file(project: Project) -> None:
    project.gate()
    wanted = ["test_gate[math-bs1-dl3]"]
    assert project.ids("--speed-split=qualitative", speed_isl="1k") == wanted
    project.gate("isl='1k'")
    ids = project.ids("--speed-split=qualitative", speed_category="mixed")
    assert ids == ["test_gate[mixed-bs1-dl3]"]


def test_tiers_replace_categories_of_the_ini_file(project: Project) -> None:
    project.gate("isl='1k', entropy='mixed'")
    assert project.ids(speed_category="math") == ["test_gate[mixed-bs1-dl3]"]


def test_methods_without_a_drafter_replace_a_drafter_of_the_ini_file(project: Project) -> None:
    project.gate()
    ids = project.ids("--speed-method=ngram,none", speed_drafter="org/head")
    assert ids == ["test_gate[ngram-math-bs1-dl3]", "test_gate[none-math-bs1]"]


def test_no_speculation_may_stand_beside_a_drafter(project: Project) -> None:
    project.gate()
    ids = project.ids("--speed-method=none", "--speed-drafter=org/head", "--speed-dl=1")
    assert ids == ["test_gate[math-bs1]"]


def test_k_selects_a_category(project: Project) -> None:
    project.gate("bs=[1, 32]")
    assert project.ids("-k", "math", speed_category=None) == [
        "test_gate[math-bs1-dl3]",
        "test_gate[math-bs32-dl3]",
    ]


def test_k_selects_by_several_words(project: Project) -> None:
    project.gate("bs=[1, 32], dl=[1, 3]")
    assert project.ids("-k", "bs32 and dl3") == ["test_gate[math-bs32-dl3]"]


def test_m_speed_selects_what_measures(project: Project) -> None:
    project.file(
        "test_it.py",
        "import pytest\n"
        "def test_plain(): pass\n"
        "@pytest.mark.speed\n"
        "def test_marked(speed): pass\n"
        "def test_unmarked(speed_config): pass\n",
    )
    assert project.ids("-m", "speed") == [
        "test_marked[math-bs1-dl3]",
        "test_unmarked[math-bs1-dl3]",
    ]
    assert project.ids("-m", "not speed") == ["test_plain"]


def test_collect_only_starts_nothing(project: Project, engines: EngineLog) -> None:
    project.gate()
    result = project.run("--collect-only")
    assert result.ret == 0
    assert engines.events == []
    assert "speedbench ===" not in result.stdout.str()


def test_a_class_may_carry_the_marker(project: Project) -> None:
    project.file(
        "test_it.py",
        "import pytest\n"
        "@pytest.mark.speed(bs=2)\n"
        "class TestGate:\n"
        "    def test_one(self, speed): assert speed.acceptance_length > 0\n"
        "    @pytest.mark.speed(bs=4)\n"
        "    def test_own(self, speed): pass\n"
        "    def test_no_speed(self): pass\n",
    )
    assert project.ids() == [
        "TestGate::test_one[math-bs2-dl3]",
        "TestGate::test_own[math-bs4-dl3]",
        "TestGate::test_no_speed",
    ]


def test_a_module_may_carry_the_marker(project: Project) -> None:
    project.file(
        "test_it.py",
        "import pytest\n"
        "pytestmark = pytest.mark.speed(dl=[1, 2])\n"
        "def test_gate(speed): assert speed.acceptance_length > 0\n"
        "def test_helper_of_the_module(): pass\n",
    )
    result = project.run("-v")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*test_gate?math-bs1-dl1?*", "*test_gate?math-bs1-dl2?*"])


def test_the_grid_stacks_with_parametrize(project: Project) -> None:
    project.file(
        "test_it.py",
        "import pytest\n"
        "@pytest.mark.parametrize('wanted', [0.5, 0.7])\n"
        "@pytest.mark.speed(bs=[1, 2])\n"
        "def test_gate(speed, wanted): assert speed.acceptance_length > wanted\n",
    )
    result = project.run("-v")
    result.assert_outcomes(passed=4)
    assert len({name for name in project.ids() if "math-bs2-dl3" in name}) == 2


def test_command_line_over_ini_over_default(project: Project) -> None:
    project.gate()
    assert project.ids() == ["test_gate[math-bs1-dl3]"]
    assert project.ids(speed_bs="2,4") == ["test_gate[math-bs2-dl3]", "test_gate[math-bs4-dl3]"]
    assert project.ids("--speed-bs=8", speed_bs="2,4") == ["test_gate[math-bs8-dl3]"]


def test_the_marker_beats_the_command_line_which_is_reported(project: Project) -> None:
    project.gate("bs=16, dl=None")
    assert project.ids("--speed-bs=8") == ["test_gate[math-bs16-dl3]"]
    result = project.run("--collect-only", "--speed-bs=8", "--speed-dl=2")
    result.stdout.fnmatch_lines(["speedbench: --speed-bs is overridden by the marker of test_gate"])
    assert "--speed-dl is" not in result.stdout.str()
    assert "overridden" not in project.run("--collect-only", speed_bs="8").stdout.str()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--speed-category=mth", "--speed-category: unknown category 'mth'; did you mean 'math'?*"),
        ("--speed-entropy=lo_entropy", "--speed-entropy: *; did you mean 'low_entropy'?*"),
        ("--speed-split=qualitativ", "--speed-split: *; did you mean 'qualitative'?*"),
        ("--speed-method=eagel", "--speed-method: unknown method 'eagel' (did you mean 'eagle'?)*"),
        ("--speed-engine=simulatd", "--speed-engine: *; did you mean 'simulated'?*"),
        ("", "ini option speed_category: unknown category 'mth'; did you mean 'math'?*"),
    ],
)
def test_a_misspelt_value_that_every_marker_overrides_is_named(
    project: Project, option: str, message: str
) -> None:
    marker = "method='eagle3', split='qualitative', category='math', engine='simulated'"
    project.gate(marker)
    ini = {} if option else {"speed_category": "mth"}
    result = project.run(*filter(None, [option]), **ini)
    assert result.ret is pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert project.ids("--speed-category=qa", "--speed-method=ngram") == ["test_gate[math-bs1-dl3]"]


def test_an_overridden_method_of_other_engines_is_no_mistake(project: Project) -> None:
    project.gate("method='none', engine='transformers'")
    assert project.ids("--speed-method=eagle3") == ["test_gate[math-bs1]"]


def test_cases_that_share_an_engine_run_next_to_each_other(
    project: Project, engines: EngineLog
) -> None:
    project.file(
        "test_it.py",
        "import pytest\n"
        "@pytest.mark.speed(dl=[1, 3])\n"
        "def test_one(speed): pass\n"
        "def test_plain(): pass\n"
        "@pytest.mark.speed(dl=[1, 3], bs=2)\n"
        "def test_two(speed): pass\n",
    )
    result = project.run("-v")
    result.assert_outcomes(passed=5)
    assert engines.starts == ["start simulated eagle3 dl1", "start simulated eagle3 dl3"]


def test_the_engine_without_sd_is_started_once_for_all_arms(
    project: Project, engines: EngineLog
) -> None:
    project.gate("dl=[1, 2, 3], bs=[1, 2], max_tokens=4", "speed.speedup")
    project.run(speed_rounds="1").assert_outcomes(passed=6)
    assert len(engines.starts) == len(set(engines.starts)) == 4


def test_a_deselected_case_keeps_no_engine_open(project: Project, engines: EngineLog) -> None:
    project.gate("dl=[1, 2, 3]", "pass")
    project.run("-k", "dl1 or dl3").assert_outcomes(passed=2, deselected=1)
    assert engines.events == [
        "start simulated eagle3 dl1",
        "close simulated eagle3 dl1",
        "start simulated eagle3 dl3",
        "close simulated eagle3 dl3",
    ]


def test_an_engine_is_gone_before_the_next_engines_test_ends(
    project: Project, engines: EngineLog
) -> None:
    project.gate("dl=[1, 3]", "pass")
    gone = []

    class Watch:
        def pytest_runtest_call(self, item: pytest.Item) -> None:
            gone.append(len(engines.alive))

    project._prepare({})
    result = project.pytester.inline_run(*QUIET, plugins=[Watch()])
    result.assertoutcome(passed=2)
    assert gone == [1, 1]
    assert engines.alive == []


def test_an_engine_is_closed_although_its_last_test_is_skipped(
    project: Project, engines: EngineLog
) -> None:
    project.file(
        "test_it.py",
        "import pytest\n"
        "@pytest.mark.speed(dl=1)\n"
        "def test_one(speed): pass\n"
        "@pytest.mark.skip\n"
        "@pytest.mark.speed(dl=1)\n"
        "def test_two(speed): pass\n"
        "@pytest.mark.speed(dl=2)\n"
        "def test_three(speed): pass\n",
    )
    project.run().assert_outcomes(passed=2, skipped=1)
    assert engines.events[1] == "close simulated eagle3 dl1"


def test_slices_share_one_run(project: Project, engines: EngineLog) -> None:
    project.gate('category=["math", "qa", "all"], bs=4', "pass")
    project.run("--benchmark-autosave").assert_outcomes(passed=3)
    math, qa, both = project.records()
    assert len(engines.starts) == 1
    assert {r.sample for r in both.requests} > {r.sample for r in math.requests}
    assert math.rounds == qa.rounds == both.rounds


LENGTHS = """
import pytest

def lengths(speed):
    return {trace.tokens for trace in speed.traces}

@pytest.mark.speed
def test_own(speed):
    assert min(lengths(speed)) < 9

@pytest.mark.speed(ignore_eos=True)
def test_fixed(speed):
    assert lengths(speed) == {16}

@pytest.mark.speed(min_tokens=9)
def test_floor(speed):
    assert min(lengths(speed)) >= 9
"""


def test_output_length_can_be_fixed_or_have_a_floor(project: Project) -> None:
    project.file("test_it.py", LENGTHS)
    short = ("--speed-engine-arg=tokens=4", "--speed-samples=all")
    project.run(*short).assert_outcomes(passed=3)
    project.run(*short, "--speed-ignore-eos").assert_outcomes(passed=2, failed=1)
    floor = project.run(*short, "--speed-min-tokens=9")
    floor.assert_outcomes(passed=2, failed=1)
    floor.stdout.fnmatch_lines(["FAILED *::test_own*"])


def test_arguments_of_the_chat_template_make_another_run() -> None:
    """As a dict in the marker, or by option where the marker leaves them out."""
    settings = Settings(chat_template_kwargs=(("enable_thinking", True),))
    (by_option, *_), _ = build_grid({"category": "math"}, settings)
    (by_marker, *_), _ = build_grid(
        {"category": "math", "chat_template_kwargs": {"enable_thinking": False}}, settings
    )
    assert by_option.run.template == (("enable_thinking", True),)
    assert by_marker.run.template == (("enable_thinking", False),)
    assert by_marker.run != by_option.run
