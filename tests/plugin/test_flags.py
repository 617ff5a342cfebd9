"""pytest-benchmark's flags and our own switch."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from .conftest import EngineLog, Project

MIXED = (
    "def test_plain(): pass\n"
    "def test_bench(benchmark): benchmark(lambda: 1)\n"
    "def test_gate(speed): assert speed.acceptance_length > 0\n"
)
QUICK = "--benchmark-max-time=0.01"


def test_benchmark_only_keeps_our_cases(project: Project) -> None:
    project.file("test_it.py", MIXED)
    project.run("--benchmark-only", QUICK).assert_outcomes(passed=2, skipped=1)


def test_benchmark_only_keeps_an_own_skip(project: Project) -> None:
    project.file(
        "test_it.py",
        "import pytest\n@pytest.mark.skip(reason='mine')\ndef test_gate(speed): pass\n",
    )
    result = project.run("--benchmark-only", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*mine*"])


@pytest.mark.parametrize(
    ("flag", "passed"),
    [("--benchmark-skip", 1), ("--benchmark-disable", 2), ("--speed-disable", 2)],
)
def test_our_cases_are_skipped_with_the_flag_as_reason(
    project: Project, engines: EngineLog, flag: str, passed: int
) -> None:
    project.file("test_it.py", MIXED)
    result = project.run(flag, "-rs", QUICK)
    result.assert_outcomes(passed=passed, skipped=3 - passed)
    result.stdout.fnmatch_lines([f"SKIPPED*{flag}*"])
    assert engines.events == []


def test_speed_disable_works_from_the_ini_file(project: Project) -> None:
    project.gate()
    project.run(speed_disable="true").assert_outcomes(skipped=1)
    project.run(speed_disable="false").assert_outcomes(passed=1)


def test_a_disabled_comparison_does_not_fail_for_want_of_it(project: Project) -> None:
    project.gate()
    project.run("--benchmark-autosave")
    assert project.run("--speed-disable", "--speed-compare").ret == 0


def test_a_batch_that_the_samples_cannot_fill_is_said(project: Project) -> None:
    project.gate("bs=32, samples=4")
    result = project.run()
    result.stdout.fnmatch_lines(["*note: 4 samples cannot fill BS 32"])


@pytest.mark.skipif(not find_spec("transformers"), reason="pip install transformers")
def test_a_batch_that_the_engine_cannot_run_is_skipped_with_the_reason(project: Project) -> None:
    project.gate("engine='transformers', method='ngram', model='org/none', bs=2")
    result = project.run("-rs", speed_method=None)
    result.assert_outcomes(skipped=1)
    result.stdout.re_match_lines([r"SKIPPED .*at most 1 request at a time, this case has bs=2"])


def test_seed_and_temperature_reach_the_record(project: Project) -> None:
    project.gate()
    project.run("--benchmark-autosave", "--speed-seed=3", "--speed-temperature=0.5")
    sampling = project.records()[0].sampling
    assert (sampling.seed, sampling.temperature) == (3, 0.5)


def test_engine_arguments_reach_engine_and_record(project: Project) -> None:
    project.gate("", "assert speed.acceptance_length <= 1.3")
    project.run(
        "--benchmark-autosave", "--speed-engine-arg=acceptance=0.05", "--speed-engine-arg=step_ms=5"
    ).assert_outcomes(passed=1)
    assert project.records()[0].engine.args == {"acceptance": 0.05, "step_ms": 5}


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "acceptence=0.1",
            "engine 'simulated' has no argument 'acceptence' (--speed-engine-arg); "
            "did you mean 'acceptance'?; known: acceptance, *",
        ),
        ("gpu_memory=4096", "engine 'simulated' has no argument 'gpu_memory'*known: *"),
        ("acceptance=7", "--speed-engine-arg acceptance=7: expected numbers from 0 to 1*"),
        ("acceptance.math=x", "--speed-engine-arg acceptance.math=x: expected numbers from 0*"),
        ("schedule=3", "--speed-engine-arg schedule=3: expected BS:DL pairs, such as 1:3,4:0"),
        ("reports=lies", "--speed-engine-arg reports=lies: expected one of steps, totals*"),
        ("spread=wide", "--speed-engine-arg spread=wide: expected a number >= 0"),
        ("step_ms=nan", "--speed-engine-arg step_ms=nan: expected a number above 0"),
        ("step_ms=-4", "--speed-engine-arg step_ms=-4: expected a number above 0"),
        ("loops=3", "--speed-engine-arg loops=3: expected a number from 0 to 1"),
        ("die_at=1.5", "--speed-engine-arg die_at=1.5: expected an integer >= 0"),
    ],
)
def test_an_argument_that_the_engine_cannot_have_is_one_clear_error(
    project: Project, engines: EngineLog, argument: str, message: str
) -> None:
    """One for the session, before the first of its cases."""
    project.gate("bs=[1, 2]")
    result = project.run(f"--speed-engine-arg={argument}")
    result.assert_outcomes()
    assert result.ret is pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])
    assert engines.events == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speed-url=foo"], "--speed-url=foo: expected an address such as *"),
        (
            ["--speed-url=http://x:1", "--speed-engine-arg=reference_url=http://x:99999"],
            "--speed-engine-arg reference_url=http://x:99999: expected an address such as *",
        ),
    ],
)
def test_an_address_that_can_be_none_is_one_clear_error(
    project: Project, arguments: list[str], message: str
) -> None:
    project.gate()
    result = project.run(*arguments, speed_engine="openai")
    assert result.ret is pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {message}"])


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["--speed-engin=simulated"], "--speed-engine"),
        (["--speed-methd", "eagle", "--Speed-DL=3", "--speed-dll=3"], "--speed-method, --speed-dl"),
        (["--speed-zebra"], ""),
    ],
)
def test_an_unknown_option_like_ours_is_named(
    project: Project, arguments: list[str], meant: str
) -> None:
    project.gate()
    result = project.run(*arguments)
    assert result.ret is pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*error: unrecognized arguments: *"])
    found = [line for line in result.errlines if "did you mean" in line]
    assert found == ([f"  did you mean: {meant}"] if meant else [])


def test_an_option_of_a_conftest_that_is_like_ours_works(project: Project) -> None:
    project.file(
        "conftest.py", "def pytest_addoption(parser):\n    parser.addoption('--speed-engines')\n"
    )
    project.gate()
    project.run("--speed-engines=2").assert_outcomes(passed=1)


def test_the_acceptance_of_one_category_is_an_argument(project: Project) -> None:
    project.gate("", "assert speed.acceptance_length <= 1.3")
    project.run("--speed-engine-arg=acceptance.math=0.05").assert_outcomes(passed=1)
