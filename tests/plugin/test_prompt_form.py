"""Prompt forms as an axis, and what is checked before an engine starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import EngineLog, Project


def test_forms_span_the_grid_under_keys_of_their_own(project: Project) -> None:
    project.gate("prompt_form=['chat', 'raw']", "assert speed.traces[0].prompt_tokens > 0")
    project.run("--benchmark-save=a").assert_outcomes(passed=2)
    records = {record.case.prompt_form: record for record in project.records()}
    chat, raw = records["chat"].requests[0], records["raw"].requests[0]
    assert chat.prompt_tokens > raw.prompt_tokens
    assert records["raw"].template == ""


def test_a_file_of_token_ids(project: Project, engines: EngineLog) -> None:
    rows = "".join(f'{{"id": "r{n}", "token_ids": [20, 30, {40 + n}]}}\n' for n in range(3))
    project.file("ids.jsonl", rows)
    project.gate("prompt_form='ids'", "assert {t.prompt_tokens for t in speed.traces} == {3}")
    ini = {"speed_split": "ids.jsonl", "speed_category": "all"}
    project.run(**ini).assert_outcomes(passed=1)
    result = project.run("-o", "speed_category=math", speed_split="qualitative")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*is text, and --speed-prompt-form ids needs token ids*"])
    assert engines.events.count("start simulated eagle3 dl3") == 1


def test_token_ids_of_a_file_need_their_form(project: Project, engines: EngineLog) -> None:
    project.file("ids.jsonl", '{"id": "a", "token_ids": [20, 30]}\n')
    project.gate()
    result = project.run(speed_split="ids.jsonl", speed_category="all")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no chat template is applied: use --speed-prompt-form ids*"])
    assert not engines.events


def test_a_row_without_token_ids_among_others(project: Project) -> None:
    project.file("ids.jsonl", '{"id": "a", "token_ids": [20]}\n{"id": "b", "prompt": "text"}\n')
    project.gate("prompt_form='ids'")
    result = project.run(speed_split="ids.jsonl", speed_category="all")
    result.stdout.fnmatch_lines(["*ids.jsonl, row 2: 'token_ids' must be a list*"])


@pytest.mark.parametrize("ids", ["[]", "[-1]", "[1.5]", "7"])
def test_what_are_no_token_ids(project: Project, ids: str) -> None:
    project.file("ids.jsonl", f'{{"id": "a", "token_ids": {ids}}}\n')
    project.gate()
    result = project.run(speed_split="ids.jsonl", speed_category="all")
    result.stdout.fnmatch_lines(["*'token_ids' must *"])


def test_a_base_model_fails_before_an_engine_starts(
    project: Project, engines: EngineLog, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=own).save_pretrained(tmp_path)
    transformers.LlamaConfig(vocab_size=1).save_pretrained(tmp_path)
    project.gate("method='none'")
    result = project.run(f"--speed-model={tmp_path}", speed_engine="transformers")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*has no chat template, as base models have none: --speed-*"])
    assert not engines.events
