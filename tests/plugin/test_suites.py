"""The ready-made suite gates a model without a line of test code."""

from __future__ import annotations

from .conftest import Project

SUITE = ("--pyargs", "pytest_speedbench.suites")


def test_the_suite_measures_by_category_and_as_a_whole(project: Project) -> None:
    ids = project.ids(*SUITE, speed_category=None)
    assert "test_gate[math-bs1-dl3]" in ids
    assert "test_gate[all-bs1-dl3]" in ids
    assert len(ids) == 12


def test_a_category_that_is_asked_for_is_all_that_runs(project: Project) -> None:
    assert project.ids(*SUITE, "--speed-category=math") == ["test_gate[math-bs1-dl3]"]
    assert project.ids(*SUITE, "--speed-category=qa,all", speed_category=None) == [
        "test_gate[qa-bs1-dl3]",
        "test_gate[all-bs1-dl3]",
    ]


def test_no_option_of_the_grid_is_overridden_by_the_suite(project: Project) -> None:
    options = (
        "--speed-split=qualitative:qa",
        "--speed-bs=2",
        "--speed-dl=1,2",
        "--speed-samples=3",
    )
    ids = project.ids(*SUITE, *options, speed_category=None)
    assert ids == ["test_gate[qa-bs2-dl1]", "test_gate[qa-bs2-dl2]"]


def test_k_selects_a_category_of_the_suite(project: Project) -> None:
    result = project.run(*SUITE, "-k", "math", "-v", speed_category=None)
    result.assert_outcomes(passed=1, deselected=11)
    assert " math " in result.stdout.str()


def test_options_choose_model_method_and_grid(project: Project) -> None:
    result = project.run(
        *SUITE,
        "--speed-model=org/new",
        "--speed-method=ngram",
        "--speed-bs=2",
        "-k",
        "qa",
        speed_category=None,
    )
    result.assert_outcomes(passed=1, deselected=11)
    assert "simulated · org/new · ngram · DL 3 · BS 2" in result.stdout.str()


def test_the_suite_gates(project: Project) -> None:
    project.run(*SUITE, "-k", "math", "--speed-compare", speed_category=None)
    result = project.run(
        *SUITE,
        "-k",
        "math",
        "--speed-compare",
        "--speed-engine-arg=speculation_off=1",
        speed_category=None,
    )
    result.assert_outcomes(failed=1, deselected=11)
