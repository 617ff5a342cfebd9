"""The fixtures are lazy, and each gives what it says."""

from __future__ import annotations

import pytest

from .conftest import EngineLog, Project


@pytest.mark.parametrize(
    ("fixture", "check"),
    [
        ("speed_config", "(speed_config.method, speed_config.draft_length) == ('eagle3', 3)"),
        ("speed_samples", "[s.category for s in speed_samples] == ['math'] * 8"),
        ("speed_baseline", "speed_baseline is None"),
    ],
)
def test_starts_no_engine(project: Project, engines: EngineLog, fixture: str, check: str) -> None:
    project.file("test_it.py", f"def test_gate({fixture}): assert {check}\n")
    project.run().assert_outcomes(passed=1)
    assert engines.events == []


def test_speed_samples_of_all_are_those_of_every_category(project: Project) -> None:
    project.file(
        "test_it.py",
        "import pytest\n"
        "@pytest.mark.speed(category='all', samples=2)\n"
        "def test_gate(speed_samples): assert len(speed_samples) == 22\n",
    )
    project.run().assert_outcomes(passed=1)


def test_speed_engine_is_started_but_measures_nothing(project: Project, engines: EngineLog) -> None:
    project.file(
        "test_it.py",
        "def test_gate(speed_engine): assert speed_engine.info.engine == 'simulated'\n",
    )
    result = project.run()
    result.assert_outcomes(passed=1)
    assert len(engines.starts) == 1
    assert engines.alive == []
    result.stdout.no_fnmatch_line("*= speedbench =*")


def test_speed_baseline_is_the_saved_record(project: Project, engines: EngineLog) -> None:
    project.gate()
    project.run("--benchmark-autosave")
    engines.events.clear()
    project.file(
        "test_it.py",
        "def test_gate(speed_baseline):\n"
        "    assert speed_baseline.metrics['acceptance_length'].value > 1\n",
    )
    project.run().assert_outcomes(passed=1)
    assert engines.events == []


def test_speed_baseline_of_another_model_is_none(project: Project) -> None:
    project.gate()
    project.run("--benchmark-autosave")
    project.file("test_it.py", "def test_gate(speed_baseline): assert speed_baseline is None\n")
    project.run("--speed-model=org/other").assert_outcomes(passed=1)


def test_a_fixture_of_the_user_may_use_speed(project: Project) -> None:
    project.file(
        "test_it.py",
        "import pytest\n"
        "@pytest.fixture\n"
        "def length(speed): return speed.acceptance_length\n"
        "@pytest.mark.speed(bs=[1, 2])\n"
        "def test_gate(length): assert length > 1\n",
    )
    project.run().assert_outcomes(passed=2)


def test_speed_gives_every_promised_metric(project: Project) -> None:
    project.gate(
        "category=['math', 'qa']",
        """
    assert 1 <= speed.acceptance_length.low <= speed.acceptance_length.value <= 4
    assert speed.acceptance_length.level == 0.95
    assert speed.acceptance_length.n == 8
    assert 0 < speed.acceptance_rate.value < 1
    assert len(speed.acceptance_by_position) == 3
    assert speed.speedup.value > 1
    for metric in (speed.output_tps, speed.user_tps, speed.ttft, speed.step_time):
        assert metric.value > 0
    assert set(speed.by_category) == {'math', 'qa'}
    assert len(speed.traces) >= 8
""",
    )
    project.run(speed_rounds="1").assert_outcomes(passed=2)


def test_speedup_without_the_other_arm_says_why(project: Project) -> None:
    project.gate("", "speed.speedup")
    result = project.run()
    result.assert_outcomes(failed=1)
    told = "*NoData: the arm without SD was not measured: --speed-rounds 3 times both arms*"
    result.stdout.fnmatch_lines([told])
    assert "pytest_speedbench/" not in result.stdout.str()  # the test's own line, none of ours
    assert "session/result.py" in project.run("--full-trace").stdout.str()


def test_multi_turn_samples_are_sent_turn_by_turn(project: Project) -> None:
    project.file(
        "talk.jsonl", '{"id": "a", "category": "math", "turns": ["one two", "three", "four"]}\n'
    )
    project.gate("", "assert len(speed.traces) == 3 and speed.acceptance_length.n == 1")
    project.run("--speed-split=talk.jsonl").assert_outcomes(passed=1)


def test_a_users_file_with_its_own_columns_and_a_bad_row(project: Project) -> None:
    project.file("t.csv", "ticket,body,queue\n7,one two three,math\n8,,math\n")
    project.gate("", "assert len(speed.traces) == 1")
    columns = "--speed-columns=prompt=body,id=ticket,category=queue"
    refused = project.run("--speed-split=t.csv", columns)
    refused.assert_outcomes(errors=1)
    refused.stdout.fnmatch_lines(["*t.csv, row 2: column 'body' is missing or empty*"])
    kept = project.run("--speed-split=t.csv", columns, "--speed-keep-good")
    kept.assert_outcomes(passed=1)
    kept.stdout.fnmatch_lines(["*left out 1 bad row, 1 good*"])
    wrong = project.run("--speed-split=t.csv", "--speed-columns=body")
    wrong.stderr.fnmatch_lines(["*--speed-columns: cannot read 'body': expected FIELD=COLUMN*"])
