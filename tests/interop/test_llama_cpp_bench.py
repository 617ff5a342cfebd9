"""Results of llama.cpp's benchmark of a server: totals of each request."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_speedbench.errors import ForeignFileError
from tests.interop.files import (
    llama,
    llama_result,
    records_of,
    run_in,
)


def test_llama_cpp_is_paired_by_id_in_a_split_that_is_named(tmp_path: Path) -> None:
    path = llama(
        tmp_path / "spec.json",
        [
            llama_result("coding-077"),
            llama_result("coding-131", turns=2),
            llama_result("math-034", ok=False),
        ],
    )
    record = records_of(path, dl=3)["all"]
    (request,) = record.requests
    assert request.sample == "coding-077"
    assert request.totals is not None
    assert (request.totals.steps, request.totals.accepted_tokens) == (16, 15)
    assert record.imported is not None
    assert "prompts" in record.imported.unverified
    assert any("too high" in note for note in record.notes)
    with pytest.raises(ForeignFileError, match=r"holds no prompts.*--split"):
        records_of(path, split=None)


def test_a_plain_llama_server_has_no_al(tmp_path: Path) -> None:
    path = llama(tmp_path / "p.json", [llama_result("a", draft_n=0, draft_n_accepted=0)])
    with pytest.raises(ForeignFileError, match="nothing was drafted"):
        run_in(path)
