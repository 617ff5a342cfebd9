"""The ready-made suite gates a model without a line of test code."""

from __future__ import annotations

from .conftest import Project

SUITE = ("--pyargs", "pytest_speedbench.suites")


def test_the_suite_measures_by_category_and_as_a_whole(project: Project) -> None:
    ids = project.ids(*SUITE, speed_category=None)
    assert "test_category[math-bs1-dl3]" in ids
    assert "test_all[all-bs1-dl3]" in ids
    assert len(ids) == 12


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
