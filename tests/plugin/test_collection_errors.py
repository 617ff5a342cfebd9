"""Each mistake in a marker is one clear collection error, without a traceback."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import GATE, Project

MISTAKES = [
    ("category='maths'", ["unknown category 'maths' of split", "did you mean 'math'?"]),
    ("method='eagle4'", ["unknown method 'eagle4'", "did you mean", "eagle3", "suffix"]),
    ("method='dspark'", ["unknown method 'dspark'", " has: none, ngram"]),
    ("method=''", ["method='': it is empty"]),
    ("engine='vllm', method='eagle-3'", ["did you mean 'eagle3'"]),
    ("engine='vlm'", ["unknown engine 'vlm'", "transformers", "vllm", "simulated"]),
    ("engine='transformers', method='eagle3'", ["no method 'eagle3'", "ngram"]),
    ("batch=3", ["unknown argument 'batch'; ", "known: engine, model, method"]),
    ("sample=3", ["unknown argument 'sample'; did you mean 'samples'?"]),
    ("bs=[]", ["bs=[]: it is empty"]),
    ("category=[]", ["category=[]: it is empty"]),
    ("category=''", ["category='': it is empty"]),
    ("dl=0", ["dl=0: expected an integer >= 1", "method 'none'"]),
    ("dl='3'", ["dl='3': expected an integer >= 1"]),
    ("dl=True", ["dl=True: expected an integer >= 1"]),
    ("bs=0", ["bs=0: expected an integer >= 1"]),
    ("bs=1.5", ["bs=1.5: expected an integer >= 1"]),
    ("bs={'a': 1}", ["bs={'a': 1}: expected an integer >= 1"]),
    ("bs=[[1], [2]]", ["bs=[[1], [2]]: expected an integer >= 1"]),
    ("samples=0", ["samples=0: expected an integer >= 1, or all"]),
    ("samples='8'", ["samples='8': expected an integer >= 1, or all"]),
    ("max_tokens=-1", ["max_tokens=-1: expected an integer >= 1"]),
    ("temperature=-1", ["temperature=-1: expected a number >= 0"]),
    ("temperature='0.7'", ["temperature='0.7': expected a number >= 0"]),
    ("temperature=float('nan')", ["temperature=nan: expected a number >= 0"]),
    ("min_tokens=17", ["min_tokens=17 is more than max_tokens=16"]),
    ("ignore_eos=1", ["ignore_eos=1: expected True or False"]),
    ("ignore_eos=[True, False]", ["expected one value, got 2"]),
    ("chat_template_kwargs='x'", ["chat_template_kwargs='x': expected a dict"]),
    ("split='qualitativ'", ["'qualitativ'", "qualitative"]),
    ("split='throughput_3k'", ["throughput_3k", "throughput_2k"]),
    ("split='qualitative:math', category='all'", ["unknown category 'all'", "known: math"]),
    ("isl=3000", ["isl=3000", "2k (2048)"]),
    ("isl=True", ["isl=True: expected a length in tokens"]),
    (
        "isl='1k', split='qualitative'",
        ["isl='1k' chooses", "'qualitative' names another"],
    ),
    ("isl='1k', entropy='high'", ["'high'", "high_entropy"]),
    ("method='ngram', drafter='org/d'", ["drafter org/d is given, but method ngram uses no"]),
    ("4", ["keyword arguments, such as bs=[1, 32]"]),
    ("engine=3", ["engine=3: expected text"]),
    ("soak='long'", ["soak='long': "]),
]


@pytest.fixture
def shown(project: Project, kept: Path) -> list[str]:
    """What one session says of each mistake, which stands in a file of its own."""
    output = kept / "output.txt"
    if not output.exists():
        for number, (marker, _) in enumerate(MISTAKES):
            project.file(f"test_{number:02}.py", GATE.format(marker=marker, body="pass"))
        result = project.run(speed_category=None)
        result.assert_outcomes(errors=len(MISTAKES))
        output.write_text(result.stdout.str(), encoding="utf-8")
    text = output.read_text(encoding="utf-8").partition("short test summary")[0]
    return re.split(r"^_+ ERROR collecting test_\d\d\.py _+$", text, flags=re.M)[1:]


@pytest.mark.parametrize("number", range(len(MISTAKES)), ids=lambda n: MISTAKES[n][0])
def test_mistake_in_a_marker(shown: list[str], number: int) -> None:
    text = shown[number]
    for part in MISTAKES[number][1]:
        assert part in text, text
    assert "Traceback" not in text
    assert "During handling" not in text
    assert "pytest_speedbench/" not in text
    assert f"test_{number:02}.py::test_gate: " in text


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
        ("--speed-bs=x", "--speed-bs: cannot read 'x': expected an integer >= 1"),
        ("--speed-bs=0", "--speed-bs: cannot read '0': expected an integer >= 1"),
        ("--speed-bs=", "--speed-bs: cannot read '': it is empty"),
        ("--speed-bs=,", "--speed-bs: cannot read ',': it is empty"),
        ("--speed-url=", "--speed-url: cannot read '': it is empty"),
        ("--speed-engine-arg=", "--speed-engine-arg: cannot read '': expected KEY=VALUE"),
        ("--speed-samples=few", "--speed-samples: cannot read 'few': expected an integer"),
        ("--speed-temperature=warm", "--speed-temperature: cannot read 'warm': expected a number"),
        ("--speed-inconclusive=fial", "expected one of pass, warn, fail; did you mean 'fail'?"),
        ("--speed-alpha=2", "expected a share above 0 and below 100%"),
        ("--speed-alpha=small", "--speed-alpha: cannot read 'small': expected a share"),
        ("--speed-compare-fail=AL:2%", "METRIC one of acceptance_length, speedup"),
        ("--speed-compare-fail=acceptance_lenght:2%", "did you mean 'acceptance_length'?"),
        ("--speed-compare-fail=acceptance_length:x", "'acceptance_length:x': expected a share"),
        ("--speed-compare-fail=acceptance_length/:1%", "expected METRIC[/CATEGORY]:MARGIN"),
        ("--speed-engine-arg=x", "expected KEY=VALUE"),
        ("--speed-columns=prompt", "expected FIELD=COLUMN"),
        ("--speed-columns=promt=body", "unknown field 'promt'; did you mean 'prompt'?"),
        ("--speed-min-tokens=-1", "--speed-min-tokens: cannot read '-1': expected an integer >= 0"),
        ("--speed-timeout=0", "--speed-timeout: cannot read '0': expected seconds"),
        ("--speed-rounds=-1", "--speed-rounds: cannot read '-1': expected an integer >= 0"),
        ("--speed-compare-fail=speedup:5%", "--speed-rounds 0 measures acceptance alone"),
        (
            "--speed-compare-fail=acceptance_length/maths:2%",
            "category 'maths'; did you mean 'math'",
        ),
        ("--speed-rounds=1,2", "--speed-rounds: cannot read '1,2': expected an integer >= 0"),
    ],
)
def test_mistake_in_an_option(project: Project, argument: str, wanted: str) -> None:
    project.gate()
    result = project.run(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert wanted in result.stderr.str(), result.stderr.str() + result.stdout.str()
    assert "Traceback" not in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (("--speed-split=qualitative", "--speed-isl=1k"), "--speed-isl chooses a throughput split"),
        (("--speed-early", "--speed-rounds=3"), "--speed-early times nothing, but --speed-rounds"),
        (
            ("--speed-split=qualitative", "--speed-columns=prompt=body"),
            "--speed-columns is for split files, but --speed-split names none",
        ),
        (
            ("--speed-split=random", "--speed-keep-good"),
            "--speed-keep-good is for split files, but --speed-split names none",
        ),
    ],
)
def test_options_that_contradict_each_other(
    project: Project, arguments: tuple[str, ...], wanted: str
) -> None:
    project.gate()
    result = project.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert wanted in result.stderr.str()


def test_a_margin_of_an_unknown_category_fails_each_test_under_xdist(project: Project) -> None:
    project.gate()
    result = project.run("-n1", "--speed-compare-fail=acceptance_length/maths:2%")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*unknown category 'maths'; did you mean 'math'?*"])


def test_a_margin_may_name_a_category_of_another_test(project: Project) -> None:
    project.split("mine.jsonl", 9, "legal", "math")
    project.file(
        "test_it.py",
        "import pytest\n"
        "def test_gate(speed): pass\n"
        "@pytest.mark.speed(split='mine.jsonl', category='legal')\n"
        "def test_mine(speed): pass\n",
    )
    margins = "acceptance_length/legal:5%,acceptance_length/mixed:5%"
    project.run("--collect-only", f"--speed-compare-fail={margins}").assert_outcomes()
    assert project.ids(f"--speed-compare-fail={margins}") == [
        "test_gate[math-bs1-dl3]",
        "test_mine[legal-bs1-dl3]",
    ]


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
