"""Estimates in asserts fail only on evidence, and say what they know."""

from __future__ import annotations

import pytest

from .conftest import Project, text_of


def test_a_clear_yes_passes(project: Project) -> None:
    project.gate("", "assert speed.acceptance_length >= 1.0")
    result = project.run()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*undecided*")


@pytest.mark.parametrize("comparison", [">= 3.5", "> 3.5", "<= 1.01", "< 1.01"])
def test_a_clear_no_fails(project: Project, comparison: str) -> None:
    project.gate("", f"assert speed.acceptance_length {comparison}")
    project.run().assert_outcomes(failed=1)


def test_a_number_on_the_left_fails_just_so(project: Project) -> None:
    project.gate("", "assert 3.5 <= speed.acceptance_length")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*acceptance_length >= 3.5: measured *"])


def test_the_message_of_a_failure(project: Project) -> None:
    """Interval, threshold, and the categories that pull the value down."""
    project.gate("category=['all']", "assert speed.acceptance_length >= 3.5")
    result = project.run("--speed-engine-arg=acceptance.rag=0.1", speed_samples="5")
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines(
        [
            r"E .*assert acceptance_length >= 3\.5: measured \d\.\d{3}$",
            r"E .*\d\.\d{3} tokens/step \[\d\.\d{3}, \d\.\d{3}\] \(n 55\)",
            r"E .*at this assert's α = 0\.0017 it lies in \[\d\.\d{3}, \d\.\d{3}\]",
            r"E .*lowest: rag \d\.\d\d, ",
        ]
    )


def test_an_undecided_assert_names_the_samples_missing(project: Project) -> None:
    project.gate("", "assert speed.acceptance_length >= 2.2")
    result = project.run(speed_inconclusive="fail")
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r"E .*about \d+ more samples like these would settle it"])


# AL of the eight samples of math is near 2.3, its interval wide.
UNDECIDED = "assert speed.acceptance_length >= 2.2"


def test_an_undecided_assert_warns_by_default(project: Project) -> None:
    project.gate("", UNDECIDED)
    result = project.run()
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*assert: undecided, acceptance_length >= 2.2*"])
    assert "1 undecided" in result.stdout.str()


def test_the_warning_points_at_the_line_of_the_assert(project: Project) -> None:
    project.gate("", UNDECIDED)
    result = project.run()
    result.stdout.fnmatch_lines(["*test_it.py:6: SpeedWarning*"])


def test_an_undecided_assert_can_pass_in_silence(project: Project) -> None:
    project.gate("", UNDECIDED)
    result = project.run("--speed-inconclusive=pass")
    result.assert_outcomes(passed=1, warnings=0)
    assert "1 undecided" in result.stdout.str()


def test_an_undecided_assert_can_fail(project: Project) -> None:
    project.gate("", UNDECIDED)
    result = project.run("--speed-inconclusive=fail")
    result.assert_outcomes(failed=1)
    assert "acceptance_length >= 2.2: measured" in result.stdout.str()


def test_too_few_samples_for_an_interval_decide_nothing(project: Project) -> None:
    project.gate("samples=3", "assert speed.acceptance_length >= 1.5")
    result = project.run()
    result.assert_outcomes(passed=1, warnings=1)
    assert "too few for an interval" in " ".join(result.stdout.str().split())


@pytest.mark.parametrize("comparison", ["== 2.0", "!= 2.0"])
def test_equality_is_refused(project: Project, comparison: str) -> None:
    project.gate("", f"assert speed.acceptance_length {comparison}")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*TypeError: acceptance_length is an estimate and equals no*"])


def test_two_estimates_are_not_compared(project: Project) -> None:
    project.gate("", "assert speed.acceptance_length >= speed.acceptance_length_macro")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*TypeError*another estimate*assert_no_regression*"])


@pytest.mark.parametrize("other", ["'2.0'", "None", "float('nan')"])
def test_what_is_no_number_is_refused(project: Project, other: str) -> None:
    project.gate("", f"assert speed.acceptance_length >= {other}")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*TypeError: acceptance_length is compared with*give a number*"])


def test_an_estimate_reads_as_value_interval_and_count(project: Project) -> None:
    project.gate("", "print('AL', speed.acceptance_length, f'{speed.acceptance_length:.1f}')")
    result = project.run("-s")
    result.stdout.re_match_lines([r".*AL \d\.\d{3} tokens/step \[.*\] \(n 8\) \d\.\d$"])


def test_a_sweep_divides_the_error_rate(project: Project) -> None:
    """Eleven cases: each assert is held to a part of the session's α."""
    project.gate("", "assert speed.acceptance_length >= 3.9")
    result = project.run("-k", "math or qa", speed_category=None)
    assert "at this assert's α = 0.00083 " in result.stdout.str()


def test_other_asserts_of_a_test_show_as_usual(project: Project) -> None:
    project.gate("", "assert [1, 2] == [1, 3]")
    result = project.run()
    result.stdout.fnmatch_lines(["E*At index 1 diff: 2 != 3"])


def test_progress_is_shown_past_the_capture(project: Project) -> None:
    project.gate("", "assert False")
    project.start().wait()
    output = (project.path / "output.txt").read_text()
    shown, _, failure = output.partition("FAILURES")
    assert "starting simulated with eagle3 dl3" in shown
    assert "warming up simulated bs1" in shown
    assert "1/8 samples" in shown
    assert "starting simulated" not in failure


def test_qq_shows_no_progress(project: Project) -> None:
    project.gate()
    assert project.start("-qq").wait() == 0
    assert "starting simulated" not in (project.path / "output.txt").read_text()


def test_the_table_shows_every_slice(project: Project) -> None:
    project.gate("category=['math', 'qa']")
    text = text_of(project.run())
    assert "simulated · org/model · eagle3 · DL 3 · BS 1" in text
    assert " math 8 " in text
    assert " qa 8 " in text
