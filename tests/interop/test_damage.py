"""Files that cannot be converted, or are damaged, end in one line that names them."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_speedbench.errors import ForeignFileError, SpeedbenchError
from pytest_speedbench.interop.foreign import ForeignRun, Given
from pytest_speedbench.interop.foreign_file import CUT
from pytest_speedbench.interop.imports import import_run
from pytest_speedbench.interop.recognise import read_foreign
from pytest_speedbench.interop.stated import Stated
from tests.interop.files import (
    ACCEPTANCE_CSV,
    DATA,
    GOLDEN,
    PROMPTS,
    TRTLLM,
    lines,
    llama,
    llama_result,
    responses,
    specdec,
    written,
)


def test_sglangs_average_since_the_start_is_refused(tmp_path: Path) -> None:
    row = {"backend": "sglang", "accept_length": 2.61, "total_output_tokens": 9, "duration": 1.0}
    path = lines(tmp_path / "sglang.jsonl", [row])
    with pytest.raises(ForeignFileError, match=r"2\.61.*since its start.*--speed-engine sglang"):
        read_foreign(path, Given())


def test_guidellm_has_no_acceptance() -> None:
    with pytest.raises(ForeignFileError, match=r"no acceptance.*acceptance\.csv"):
        read_foreign(DATA / "guidellm.json", Given())


def test_aiperfs_summary_alone_is_a_mean_of_means(tmp_path: Path) -> None:
    path = tmp_path / "profile_export_aiperf.json"
    path.write_bytes((DATA / "aiperf/profile_export_aiperf.json").read_bytes())
    with pytest.raises(ForeignFileError, match=r"means over requests.*--export-level records"):
        read_foreign(path, Given())


def published(folder: Path) -> list[Path]:
    """One file of each kind."""
    specdec(folder / "specdec", responses())
    return [
        DATA / "aiperf/profile_export.jsonl",
        DATA / "vllm_bench.json",
        DATA / "guidellm.json",
        folder / "specdec/specbench_responses.jsonl",
        llama(folder / "llama.json", [llama_result("coding-077")]),
        written(folder / "acceptance.csv", ACCEPTANCE_CSV),
        written(folder / "acceptance_length.yaml", yaml.safe_dump(TRTLLM)),
        written(folder / "golden.yaml", GOLDEN),
    ]


def refused(path: Path) -> str | None:
    """Why a file is refused; None where it is read."""
    stated = Stated(PROMPTS, {"method": "eagle3"})
    try:
        found = read_foreign(path, stated.given)
        if isinstance(found, ForeignRun):
            import_run(found, path, stated)
    except SpeedbenchError as error:
        return str(error)
    return None


def test_a_file_cut_off_anywhere_is_read_or_refused_in_one_line(tmp_path: Path) -> None:
    for path in published(tmp_path):
        content = path.read_bytes()
        for share in (0, 0.13, 0.5, 0.77, 0.999):
            cut = tmp_path / "cut" / path.name
            cut.parent.mkdir(exist_ok=True)
            cut.write_bytes(content[: int(len(content) * share)])
            problem = refused(cut)
            assert problem is None or cut.name in problem


WRONG = (None, -1, 1.5, "x", {}, 1e400)


def test_any_value_of_another_type_is_read_or_refused(tmp_path: Path) -> None:
    """Every value of every document in turn replaced by what it cannot be."""
    for path in published(tmp_path):
        if path.suffix in (".json", ".jsonl"):
            text = path.read_text()
            first = text.splitlines()[0] if path.suffix == ".jsonl" else text
            check_damage(json.loads(first), tmp_path / "wrong" / path.name)


def check_damage(data: Any, file: Path, read: Path | None = None) -> None:
    """Writes ``file`` with each wrong value at each place; ``read`` names a folder to read."""
    for place in places(data):
        for wrong in WRONG:
            written(file, replaced(copy.deepcopy(data), place, wrong))
            assert "\n" not in (refused(read or file) or "")


@pytest.mark.parametrize("name", ["inputs.json", "profile_export_aiperf.json"])
def test_damage_beside_the_requests_is_no_crash_either(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "aiperf"
    shutil.copytree(DATA / "aiperf", folder)
    head = (DATA / "aiperf/profile_export.jsonl").read_text().splitlines()[0]
    (folder / "profile_export.jsonl").write_text(head)
    data = json.loads((DATA / "aiperf" / name).read_text())
    if name == "inputs.json":
        data["data"] = data["data"][:1]
    else:
        data = {key: data[key] for key in ("aiperf_version", "input_config")}
    check_damage(data, folder / name, folder)


def places(value: Any) -> list[tuple[Any, ...]]:
    """The paths to all values of a document."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value[:2]) if isinstance(value, list) else items
    return [(), *((key, *place) for key, child in items for place in places(child))]


def replaced(document_: Any, place: tuple[Any, ...], value: Any) -> Any:
    if not place:
        return value
    document_[place[0]] = replaced(document_[place[0]], place[1:], value)
    return document_


@pytest.mark.parametrize(
    "name", ["nothing.json", "notes.txt", "empty.jsonl", "list.json", "e.yaml"]
)
def test_files_of_nobody_are_refused(name: str, tmp_path: Path) -> None:
    contents = {"notes.txt": "hello", "empty.jsonl": " \n", "list.json": "[1]", "e.yaml": "a: 1"}
    if name in contents:
        written(tmp_path / name, contents[name])
    with pytest.raises(ForeignFileError, match=name):
        read_foreign(tmp_path / name, Given())


def test_what_holds_nothing_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ForeignFileError, match="is not a folder of a known tool: it is empty"):
        read_foreign(tmp_path, Given())
    with pytest.raises(ForeignFileError, match="of a known tool: it has no named fields"):
        read_foreign(written(tmp_path / "nothing.json", "{}"), Given())


@pytest.mark.parametrize("name", ["empty.json", "empty.yaml"])
def test_an_empty_file_has_one_reason(name: str, tmp_path: Path) -> None:
    with pytest.raises(ForeignFileError) as caught:
        read_foreign(written(tmp_path / name, "\n"), Given())
    assert str(caught.value) == f"{name} is empty; {CUT}"
