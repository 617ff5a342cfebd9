"""Each mistake in a marker is one clear collection error, without a traceback."""

from __future__ import annotations

import pytest

from .conftest import Project


@pytest.mark.parametrize(
    ("marker", "wanted"),
    [
        ("category='maths'", ["unknown category 'maths'", "math", "writing", "all"]),
        ("method='eagle4'", ["unknown method 'eagle4'", "did you mean", "eagle3", "suffix"]),
        ("method='dspark'", ["unknown method 'dspark'", "it has: none, ngram"]),
        ("method=''", ["unknown method ''"]),
        ("engine='vllm', method='eagle-3'", ["did you mean 'eagle3'"]),
        ("engine='vlm'", ["unknown engine 'vlm'", "transformers", "vllm", "simulated"]),
        ("engine='transformers', method='eagle3'", ["no method 'eagle3'", "ngram"]),
        ("batch=3", ["unknown argument 'batch'", "bs, dl, method"]),
        ("bs=[]", ["bs is an empty list"]),
        ("category=[]", ["category is an empty list"]),
        ("dl=0", ["dl=0", "from 1 on", "method='none'"]),
        ("dl='3'", ["dl='3'", "from 1 on"]),
        ("dl=True", ["dl=True", "from 1 on"]),
        ("bs=0", ["bs=0", "from 1 on"]),
        ("bs=1.5", ["bs=1.5", "from 1 on"]),
        ("samples=0", ["samples=0", "'all'"]),
        ("max_tokens=-1", ["max_tokens=-1", "from 1 on"]),
        ("temperature=-1", ["temperature=-1", "from 0 on"]),
        ("temperature=float('nan')", ["temperature=nan", "from 0 on"]),
        ("min_tokens=17", ["min_tokens=17 is more than max_tokens=16"]),
        ("ignore_eos=[True]", ["ignore_eos=[True]", "True or False"]),
        ("chat_template_kwargs='x'", ["chat_template_kwargs='x'", "want a dict"]),
        ("split='qualitativ'", ["'qualitativ'", "qualitative"]),
        ("split='throughput_3k'", ["throughput_3k", "throughput_2k"]),
        ("isl=3000", ["isl=3000", "2k (2048)"]),
        ("isl='1k', split='qualitative'", ["isl chooses a throughput split"]),
        ("isl='1k', entropy='high'", ["'high'", "high_entropy"]),
        ("4", ["keyword arguments, such as bs=[1, 32]"]),
        ("engine=3", ["engine=3", "a name, or a list of names"]),
        ("bs={'a': 1}", ["bs={'a': 1}", "a list of values"]),
        ("bs=[[1], [2]]", ["bs=[[1], [2]]", "a list of values"]),
    ],
)
def test_mistake_in_a_marker(project: Project, marker: str, wanted: list[str]) -> None:
    project.gate(marker)
    result = project.run(speed_category=None)
    result.assert_outcomes(errors=1)
    text = result.stdout.str()
    for part in wanted:
        assert part in text, text
    assert "Traceback" not in text
    assert "During handling" not in text
    assert "pytest_speedbench/" not in text
    assert "test_it.py::test_gate: " in text


def test_a_marker_without_a_speed_fixture(project: Project) -> None:
    project.file("test_it.py", "import pytest\n@pytest.mark.speed\ndef test_gate(): pass\n")
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_gate: marked with speed*speed, speed_engine*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_none_in_a_marker_counts_as_left_out(project: Project) -> None:
    project.gate("bs=None")
    assert project.ids(speed_bs="2") == ["test_gate[math-bs2-dl3]"]


def test_a_fixture_asked_for_too_late_says_so(project: Project) -> None:
    project.file("test_it.py", "def test_gate(request): request.getfixturevalue('speed')\n")
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*named in the signature*"])


def test_a_mistake_in_one_test_leaves_the_others_alone(project: Project) -> None:
    project.file(
        "test_it.py",
        "import pytest\n@pytest.mark.speed(bs=0)\ndef test_bad(speed): pass\n",
    )
    project.file("test_other.py", "def test_good(): pass\n")
    project.run("--continue-on-collection-errors").assert_outcomes(passed=1, errors=1)


def test_the_speed_fixtures_work_where_the_marker_is_left_out(project: Project) -> None:
    project.file("test_it.py", "def test_gate(speed): assert speed.acceptance_length > 0\n")
    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("argument", "wanted"),
    [
        ("--speed-bs=x", "--speed-bs: cannot read 'x': want whole numbers"),
        ("--speed-bs=", "--speed-bs: cannot read '': it is empty"),
        ("--speed-bs=,", "--speed-bs: cannot read ',': it is empty"),
        ("--speed-samples=few", "--speed-samples: cannot read 'few': want"),
        ("--speed-temperature=warm", "--speed-temperature: cannot read 'warm': want numbers"),
        ("--speed-inconclusive=maybe", "want one of pass, warn, fail"),
        ("--speed-alpha=2", "must lie between 0 and 100 %"),
        ("--speed-alpha=small", "--speed-alpha: cannot read 'small': want a share"),
        ("--speed-compare-fail=AL:2%", "METRIC one of acceptance_length, speedup"),
        ("--speed-compare-fail=acceptance_length:x", "cannot read 'acceptance_length:x': want"),
        ("--speed-engine-arg=x", "want KEY=VALUE"),
        ("--speed-min-tokens=-1", "--speed-min-tokens: cannot read '-1': want"),
        ("--speed-timeout=0", "--speed-timeout: cannot read '0': want"),
        ("--speed-rounds=-1", "--speed-rounds: cannot read '-1': want"),
    ],
)
def test_mistake_in_an_option(project: Project, argument: str, wanted: str) -> None:
    project.gate()
    result = project.run(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert wanted in result.stderr.str(), result.stderr.str() + result.stdout.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


def test_mistake_in_the_ini_file_names_the_ini_option(project: Project) -> None:
    project.gate()
    result = project.run(speed_bs="many")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "ini option speed_bs: cannot read 'many'" in result.stderr.str()


def test_mistake_in_an_option_names_values_of_the_grid(project: Project) -> None:
    project.gate()
    result = project.run("--speed-category=maths")
    result.assert_outcomes(errors=1)
    assert "unknown category 'maths'" in result.stdout.str()
