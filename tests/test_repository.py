"""The files around the package: valid by their published schemas, and true."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from pytest_speedbench import __version__
from pytest_speedbench.cli.errors import ISSUES

ROOT = Path(__file__).parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
CONFIG = ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"
FORMS = sorted(set(CONFIG.parent.glob("*.yml")) - {CONFIG})


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("github-workflows", WORKFLOWS),
        ("github-issue-forms", FORMS),
        ("github-issue-config", [CONFIG]),
        ("citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_a_file_has_its_published_form(schema: str, files: list[Path]) -> None:
    pytest.importorskip("check_jsonschema")
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}"]
    done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_may_read_and_nothing_else(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert "permissions" not in job, name
        assert job["timeout-minutes"] <= 120, name
        for step in job["steps"]:
            action, _, version = step.get("uses", "run@v1").partition("@")
            assert re.fullmatch(r"v\d+(\.\d+)*|[0-9a-f]{40}", version), action
            if action == "actions/checkout":
                assert step["with"]["persist-credentials"] is False, name


def test_the_workflow_runs_what_ci_runs_on_every_supported_python() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["all"]
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    named = "Programming Language :: Python :: "
    classifiers = SETTINGS["project"]["classifiers"]
    pythons = [text.removeprefix(named) for text in classifiers if text.startswith(named)]
    assert job["strategy"]["matrix"]["python"] == pythons


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (__version__, "Apache-2.0")


def test_there_is_one_address_of_the_project() -> None:
    urls = SETTINGS["project"]["urls"]
    assert urls["Issues"] == ISSUES == f"{urls['Source']}/issues"
    named = {
        address.rstrip(".")
        for path in (*ROOT.glob("*.md"), ROOT / "CITATION.cff", CONFIG, ROOT / "docs/versions.md")
        for address in re.findall(
            r"https://github\.com/[\w-]+/pytest-speedbench\b", path.read_text(encoding="utf-8")
        )
    }
    assert named == {urls["Source"]}


def test_nothing_refers_to_a_document_outside_of_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    outside = re.compile(r"\bDESIGN(\.md|'s)?\b|\.\./shared|\bengines\.md [0-9§]|\bstyle\.md\b")
    found = [
        f"{name}: {match[0]}"
        for name in listed.stdout.split()
        if name.endswith((".py", ".md", ".toml", ".ini", ".yml", ".txt", ".html"))
        and (ROOT / name).is_file()
        and name != "tests/test_repository.py"
        for match in outside.finditer((ROOT / name).read_text(encoding="utf-8"))
    ]
    assert found == []


def test_no_import_is_exempt_from_the_layers_but_the_one_of_the_suites() -> None:
    settings = SETTINGS["tool"]["importlinter"]
    exempt = {line for c in settings["contracts"] for line in c.get("ignore_imports", ())}
    assert exempt == {"pytest_speedbench.suites.* -> pytest_speedbench"}
    assert settings["exclude_type_checking_imports"] is False


def test_the_picture_of_the_layers_is_drawn_from_the_contract() -> None:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import draw_architecture as tool
    finally:
        del sys.path[0]
    names = re.compile(r'class="name"[^>]*>([^<]+)<')
    drawn = names.findall(tool.draw(tool.layers()))
    kept = names.findall(tool.PICTURE.read_text(encoding="utf-8"))
    assert kept == drawn, "out of date: python tools/draw_architecture.py"


def test_the_page_on_the_architecture_names_what_exists() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:pytest_speedbench|docs|tests|tools|splits)/[\w./-]*)`", page)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
    (contract,) = (
        c for c in SETTINGS["tool"]["importlinter"]["contracts"] if c["type"] == "layers"
    )
    layers = {name.strip(" ()") for row in contract["layers"] for name in row.split(":")}
    there = {name for name in layers if (ROOT / "pytest_speedbench" / name).is_dir()}
    assert {f"`{name}/`" for name in there} <= set(re.findall(r"`\w+/`", page))
