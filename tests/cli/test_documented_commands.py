"""What the documentation tells users to run works from nothing, and its pipelines are valid."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest
import yaml
from engines.heads import eagle3
from engines.test_drafters import SHAPE

from .pipelines import ACTIONLINT, Runner, check_schema, check_syntax, without_expressions

DOCS = Path(__file__).parents[2] / "docs"
# Less of everything, and a storage of the test.
SHORTER = {
    "--speed-samples all": "--speed-samples 1",
    "--speed-rounds 6": "--speed-rounds 2",
}
TEST = """
import pytest

@pytest.mark.speed
def test_gate(speed):
    speed.assert_no_regression()
"""


def blocks(page: str, language: str) -> list[str]:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.M | re.S)
    return [textwrap.dedent(block) for _, block in found]


PAGES = [path.stem for path in sorted(DOCS.glob("*.md")) if blocks(path.stem, "yaml")]


def workflows(page: str) -> list[str]:
    return [block for block in blocks(page, "yaml") if "jobs" in yaml.safe_load(block)]


def steps(block: str) -> list[str]:
    jobs = yaml.safe_load(block)["jobs"].values()
    return [step["run"] for job in jobs for step in job["steps"] if "run" in step]


@pytest.mark.parametrize("page", PAGES)
def test_workflows_are_valid(page: str, tmp_path: Path) -> None:
    for number, block in enumerate(workflows(page)):
        path = tmp_path / f"{number}.yml"
        path.write_text(block)
        check_schema(path, schema="vendor.github-workflows")
        for script in steps(block):
            check_syntax(without_expressions(script))


@pytest.mark.skipif(ACTIONLINT is None, reason="actionlint is not installed")
@pytest.mark.parametrize("page", PAGES)
def test_actionlint_accepts_the_workflows(page: str, tmp_path: Path) -> None:
    assert ACTIONLINT is not None
    # Labels of one's own runners are named in a file beside the workflows.
    for number, block in enumerate(workflows(page)):
        path = tmp_path / f"{number}.yml"
        path.write_text(re.sub(r"\[self-hosted.*\]", "[self-hosted]", block))
        done = subprocess.run([ACTIONLINT, str(path)], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", ["nightly", "gate-a-pull-request"])
def test_workflows_ask_for_the_least(page: str) -> None:
    for block in workflows(page):
        data = yaml.safe_load(block)
        assert data["permissions"] == {"contents": "read"}
        for job in data["jobs"].values():
            for step in job["steps"]:
                if str(step.get("uses", "")).startswith("actions/checkout"):
                    assert step["with"]["persist-credentials"] is False


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    pytest.importorskip("setuptools", minversion="70.1")
    pytest.importorskip("matplotlib")
    return Runner(tmp_path_factory.mktemp("runner"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a package, speed tests in ``tests/speed`` and two commits."""
    folder = tmp_path / "project"
    (folder / "tests/speed").mkdir(parents=True)
    (folder / "tests/speed/test_speed.py").write_text(TEST)
    (folder / "mine").mkdir()
    (folder / "mine/__init__.py").touch()
    (folder / "pyproject.toml").write_text(
        "[project]\nname = 'mine'\nversion = '1'\n[tool.setuptools]\npackages = ['mine']\n"
    )
    (folder / ".gitignore").write_text(".benchmarks/\nbuild/\n*.egg-info/\n.venv/\n__pycache__/\n")
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    for command in (
        ("init", "-q", "-b", "main"),
        ("add", "-A"),
        ("commit", "-q", "-m", "base"),
        ("commit", "-q", "--allow-empty", "-m", "head"),
        ("update-ref", "refs/remotes/origin/main", "HEAD"),
    ):
        subprocess.run(["git", *who, *command], cwd=folder, check=True)
    return folder


def commit_of(folder: Path) -> str:
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def shortened(script: str) -> str:
    for long, short in SHORTER.items():
        script = script.replace(long, short)
    return script


@pytest.mark.nightly
@pytest.mark.parametrize("page", ["nightly", "gate-a-pull-request"])
def test_the_workflow_runs_as_written(page: str, project: Path, runner: Runner) -> None:
    """Every step of the page's workflow; a night twice, of which the second one compares."""
    (block,) = workflows(page)
    environment = {
        "STORAGE": str(project.parent / "storage"),
        "GITHUB_PATH": str(project.parent / "path"),
        "GITHUB_SHA": commit_of(project),
    }
    output = ""
    for _ in range(2 if page == "nightly" else 1):
        for script in steps(block):
            output = runner.run(shortened(script), project, **environment) + output
    assert "compared" in output or "pass" in output or "undecided" in output
    for name in ("summary.md", "report.html", "junit.xml"):
        assert (project / name).stat().st_size > 0


# The same for a drafter; a head of random weights stands for the reader's.
DRAFTER = {
    r"--speed-engine vllm ": "--speed-engine simulated ",
    r"(drafter (?:prune|coverage) .*--model) org/model": r"\1 sim --engine simulated",
}
# What stands for a reader's own choice, and sizes that take minutes.
CHOICES = {
    r'SUITE -k "bs32 and dl3"': 'SUITE --speed-bs 1,32 -k "bs32 and dl3 and math"',
    r"\bSUITE\b": "--pyargs pytest_speedbench.suites",
    r"--samples 80": "--samples 2",
    r"--speed-dl 1,3,5,7 --speed-bs 1,8,32": "--speed-dl 1,3 --speed-bs 1,2 -k math",
    r"--speed-samples \d+": "--speed-samples 8 -k all",
    r"--speed-max-tokens \d+": "--speed-max-tokens 8",
    r"--speed-engine-arg dtype=\S+": "",  # of real engines
    r"speedup:2%": "speedup:2% --speed-rounds 2",
    r"--speed-against-python=\S+": "--speed-against-arg=build=2 --speed-rounds 3 -k all",
    **DRAFTER,
}


@pytest.mark.nightly
@pytest.mark.parametrize("page", ["at-the-desk", "gate", "index", "reports", "train-a-drafter"])
def test_the_commands_of_other_pages_run(page: str, project: Path, runner: Runner) -> None:
    """In one shell, after a run that was saved under the names that the pages use."""
    for name in ("base", "dl3", "dl5", "worse"):
        options = f"--speed-samples 8 --speed-dl {name[-1] if name.startswith('dl') else 3}"
        runner.run(f"pytest tests/speed {options} --benchmark-save={name} -k all", project)
    give_head(project)
    script = []
    for command in commands(page):
        for choice, example in CHOICES.items():
            command = re.sub(choice, example, command)
        # Installations; and an example that a test of its own runs (tox -e speculators).
        if not re.match(r"(python -m )?(pip|tox)|python examples/", command):
            script.append(command)
    runner.run("\n".join(script), project)


def test_five_commands_lead_from_a_checkpoint_to_a_verdict(project: Path, runner: Runner) -> None:
    script = blocks("train-a-drafter", "bash")[0].replace("\\\n", " ")
    assert len(script.splitlines()) == 1 + 5  # an assignment first
    for choice, example in DRAFTER.items():
        script = re.sub(choice, example, script)
    give_head(project)
    output = runner.run_lines(script, project)
    assert "no problems found" in output
    assert "heads/v8192: 8,192 of 32,000 tokens" in output
    assert re.search(r"gate: .*\d+ (pass|undecided)", output)
    assert "compared" in output or "baseline" in output


def give_head(project: Path) -> None:
    """A head for the simulated target, and a text to rank its tokens by."""
    eagle3(project / "heads/full", {**SHAPE, "vocab_size": 32_000})
    (project / "answers.txt").write_text("the sky is blue\nthe sea is green\n")


def commands(page: str) -> list[str]:
    """Every command of the page's shell blocks, in order; none that needs a server elsewhere."""
    text = "".join(blocks(page, "bash")).replace("\\\n", " ")
    return [line for line in text.splitlines() if line and "http://" not in line]


def test_the_commands_of_the_nightly_page_run(project: Path, runner: Runner) -> None:
    first = "pytest tests/speed --speed-rounds 2 --speed-compare --benchmark-save=nightly"
    output = runner.run_lines(first, project)
    assert "no baseline" in output
    assert "saved: " in output
    for command in commands("nightly"):
        if "--bisect" not in command:  # there is no bad run
            runner.run_lines(shortened(command), project)
    assert (project / "speedup.csv").read_text().startswith("case,engine,")


def test_the_commands_of_the_gate_page_run(project: Path, runner: Runner) -> None:
    for command in commands("gate-a-pull-request"):
        script = command
        if command.startswith("speedbench init"):
            name = f"new-{len(list(project.glob('new-*')))}"
            script = command.replace("speedbench init", f"speedbench init {name}")
        runner.run_lines(script, project)
    for path in ("new-0/.github/workflows", "new-1/.gitlab", "new-2/.buildkite"):
        assert (project / path / "speedbench.yml").is_file()


def test_the_commands_of_the_page_on_other_tools_run(project: Path, runner: Runner) -> None:
    """From files that the tools wrote, in the folders that the page names."""
    data = Path(__file__).parents[1] / "interop" / "data"
    shutil.copytree(data / "aiperf", project / "artifacts")
    shutil.copy(data / "prompts.jsonl", project)
    shutil.copy(data / "vllm_bench.json", project)
    shutil.copytree(data / "specdec_bench", project / "results")
    give_head(project)
    script = "\n".join(commands("coming-from"))
    script = re.sub(r"\bFILE\b", "vllm_bench.json", script)
    for choice, example in DRAFTER.items():
        script = re.sub(choice, example, script)
    output = " ".join(runner.run_lines(script, project).split())
    assert "imported from AIPerf's artifacts; not verified: engine" in output
    assert (project / "specdec.json").is_file()


def test_the_commands_of_the_page_on_data_run(project: Path, runner: Runner) -> None:
    script = ["pytest tests/speed --benchmark-save=base -k all"]
    for command in commands("data"):
        tracker = re.match(r"speedbench log (\w+)", command)
        if tracker is None or importlib.util.find_spec(tracker[1]):
            script.append(re.sub(r"\bRUN(\.\.\.)?", "base", command))
    runner.run_lines("\n".join(script), project)
    assert (project / "requests.csv").read_text().startswith("run,engine,model,method")
