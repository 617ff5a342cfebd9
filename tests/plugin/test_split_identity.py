"""A user's file is compared by what is in it, wherever it is and whatever it is called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.cli import app
from pytest_speedbench.splits import legacy_digest, load_split

from .conftest import Project

PROMPTS = [f"Prompt number {i}: say something about {word}." for i, word in enumerate("abcdefgh")]


def write(project: Project, name: str, prompts: Sequence[str], **fields: str) -> str:
    rows = [json.dumps({"prompt": prompt} | fields) + "\n" for prompt in prompts]
    return str(project.file(name, "".join(rows)))


@pytest.fixture
def saved(project: Project, kept: Path) -> Project:
    """One saved run on prompts.jsonl, rows without ids."""
    project.ini |= {"speed_category": "all", "speed_split": "prompts.jsonl"}

    def make() -> None:
        project.gate()
        write(project, "prompts.jsonl", PROMPTS)
        project.run("--benchmark-save=base")

    project.once(kept / "saved", make)
    return project


def compared(project: Project, split: str, *more: str) -> str:
    """What a run on ``split`` says beside the saved one."""
    result = project.run("--speed-compare=base", *more, speed_split=split)
    text = result.stdout.str()
    assert "no baseline" not in text
    return text


def test_a_renamed_and_a_reordered_file_are_compared(saved: Project) -> None:
    for name, prompts in (("renamed.jsonl", PROMPTS), ("prompts.jsonl", PROMPTS[::-1])):
        write(saved, name, prompts)
        text = compared(saved, name)
        assert "1 of 1 compared" in text or "gate: 1 undecided (against 0001" in text
        assert "rows are in both" not in text


def test_a_removed_row_is_left_out_and_named(saved: Project) -> None:
    removed = load_split(str(saved.path / "prompts.jsonl")).samples[0].id
    write(saved, "prompts.jsonl", PROMPTS[1:])
    text = compared(saved, "prompts.jsonl", "-rA", "--speed-inconclusive=fail")
    assert "incomparable" not in text
    assert f"7 of 8 rows are in both; removed: {removed}" in " ".join(text.split())


def test_other_prompts_are_another_split(saved: Project) -> None:
    write(saved, "prompts.jsonl", [f"{prompt} Briefly." for prompt in PROMPTS])
    result = saved.run("--speed-compare=base", "-rA")
    assert "no baseline" in result.stdout.str()


def test_a_named_file_whose_rows_changed_says_which(project: Project) -> None:
    project.ini |= {"speed_category": "all", "speed_split": "mine=prompts.jsonl"}
    project.gate()
    write(project, "prompts.jsonl", PROMPTS)
    project.run("--benchmark-save=base")
    (record,) = project.records()
    assert (record.case.split, record.split.name) == ("mine", "mine")
    write(project, "prompts.jsonl", [*PROMPTS[:2], *(f"{p} Briefly." for p in PROMPTS[2:])])
    text = " ".join(compared(project, "mine=prompts.jsonl").split())
    assert "incomparable" in text
    assert "split: 2 of 8 rows are in both; removed:" in text


def test_naming_a_file_keeps_its_baseline(saved: Project) -> None:
    assert "incomparable" not in compared(saved, "mine=prompts.jsonl")


def test_a_row_in_another_category_is_left_out(saved: Project) -> None:
    moved = write(saved, "moved.jsonl", PROMPTS[:1], category="math")
    rest = write(saved, "prompts.jsonl", PROMPTS[1:])
    rows = (saved.path / moved).read_text() + (saved.path / rest).read_text()
    saved.file("prompts.jsonl", rows)
    text = " ".join(compared(saved, "prompts.jsonl").split())
    assert "incomparable" not in text
    assert "7 of 8 rows are in both; changed:" in text


def as_earlier(project: Project, split: str) -> None:
    """Turn the saved record into what the version before content identity wrote."""
    found = load_split(str(project.path / split))
    number = {s.id: f"prompts-{i}" for i, s in enumerate(found.samples, start=1)}

    def change(record: dict[str, Any]) -> None:
        record["case"]["split"] = split
        record["split"] |= {"name": "prompts", "digest": legacy_digest(found)}
        del record["split"]["rows"]
        for request in record["requests"]:
            request["sample"] = number[request["sample"]]

    project.edit(project.saved[0], change)


@pytest.mark.parametrize("name", ["prompts.jsonl", "renamed.jsonl"])
def test_a_record_of_an_earlier_version_is_compared(saved: Project, name: str) -> None:
    as_earlier(saved, "prompts.jsonl")
    write(saved, name, PROMPTS)
    text = compared(saved, name)
    assert "incomparable" not in text
    assert "gate: 1 undecided (against 0001" in text or "1 of 1 compared" in text


def test_a_record_of_an_earlier_version_whose_file_changed_is_not(saved: Project) -> None:
    as_earlier(saved, "prompts.jsonl")
    write(saved, "prompts.jsonl", PROMPTS[1:])
    assert "no baseline" in saved.run("--speed-compare=base").stdout.str()

    def named(record: dict[str, Any]) -> None:
        record["case"]["split"] = "mine"

    saved.edit(saved.saved[0], named)
    text = " ".join(compared(saved, "mine=prompts.jsonl").split())
    assert "its split digest cannot be recomputed" in text


def test_the_command_compares_the_rows_in_both(saved: Project, capsys: Any) -> None:
    from typer.testing import CliRunner

    write(saved, "prompts.jsonl", PROMPTS[1:])
    saved.run("--benchmark-save=less")
    old, new = map(str, saved.saved)
    done = CliRunner().invoke(app, ["compare", old, new])
    assert "incomparable" not in done.output
    assert "7 of 8 rows are in both" in " ".join(done.output.split())
