"""A run of another tool as a baseline: only where it is named, over what its file says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench.baselines.packing import pack_ids, pack_numbers, unpack_numbers
from pytest_speedbench.baselines.provenance import ImportedRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import read_run
from pytest_speedbench.compare.comparison import Comparison, compare_runs
from pytest_speedbench.compare.eligible import Eligibility
from pytest_speedbench.compare.gate import Levels, gate
from pytest_speedbench.compare.match import find_baseline, identity_of, match_in
from pytest_speedbench.compare.verdict import Outcome

from .saved_runs import record, save

UNVERIFIED = ["engine", "model", "environment", "model weights", "chat template", "prompt form"]


def imported(**changes: Any) -> Record:
    """A record whose file says neither engine nor model, over the same prompts."""
    origin = {"tool": "AIPerf", "source": "profile_export.jsonl", "unverified": UNVERIFIED}
    found = record("all", **{"samples": range(200), **changes})
    case = found.case.model_copy(update={"engine": "unknown", "model": "unknown"})
    machine = found.machine.model_copy(update={"fingerprint": ""})
    return found.model_copy(
        update={
            "imported": ImportedRecord.model_validate(origin),
            "case": case,
            "machine": machine,
            "template": "",
            "rounds": [],
            "model": found.model.model_copy(update={"name": "unknown", "weights": ""}),
        }
    )


def compared(folder: Path, old: Record, new: Record, margin: float = 0.3) -> Comparison:
    before, after = save(folder / "old.json", [old]), save(folder / "new.json", [new])
    margins = {"acceptance_length": margin, "output_tps": 0.05}
    return compare_runs(read_run(before), read_run(after), margins)


def test_a_named_import_is_a_baseline_and_says_what_was_not_verified(tmp_path: Path) -> None:
    found = compared(tmp_path, imported(), record("all", samples=range(200)))
    al, tps = found.verdicts
    assert al.outcome is Outcome.PASS
    assert al.ratio == 1.0
    assert "imported from AIPerf's profile_export.jsonl; not verified: engine, model" in al.reason
    assert tps.outcome is Outcome.NOT_GATED
    assert "timed by another tool" in tps.reason


def test_a_loss_against_an_import_fails(tmp_path: Path) -> None:
    worse = record("all", samples=range(200), accept=0.1)
    al, _ = compared(tmp_path, imported(), worse, margin=0.02).verdicts
    assert al.outcome is Outcome.FAIL


def test_ours_may_be_the_baseline_of_an_import(tmp_path: Path) -> None:
    al, _ = compared(tmp_path, record("all", samples=range(200)), imported()).verdicts
    assert al.outcome is Outcome.PASS


def test_an_import_is_never_a_reference_that_nobody_named(tmp_path: Path) -> None:
    new = record("all", samples=range(200))
    alike = new.model_copy(update={"imported": imported().imported})
    runs = [read_run(save(tmp_path / "old.json", [alike]))]
    assert find_baseline(identity_of(new), runs).record is None


@pytest.mark.parametrize("changes", [{"dl": 5}, {"bs": 8}])
def test_what_the_file_states_must_agree(changes: dict[str, int], tmp_path: Path) -> None:
    found = compared(tmp_path, imported(**changes), record("all", samples=range(200)))
    assert {verdict.outcome for verdict in found.verdicts} == {Outcome.NO_BASELINE}


def test_its_origin_is_told_once(tmp_path: Path) -> None:
    """A session names it, and says of any such record why it would not be chosen by itself."""
    new = record("all", samples=range(200))
    run = read_run(save(tmp_path / "old.json", [imported()]))
    match = match_in(run, identity_of(new))
    assert match.record is not None
    objection = Eligibility().objection(match.record, run)
    assert "imported from profile_export.jsonl" in objection
    named = replace(match, remark=objection)
    verdict = gate("case", new, named, "acceptance_length", 0.3, Levels(0.01, 0.01))
    assert verdict.reason.count("imported from") == 1


def test_an_unstated_output_length_is_not_compared(tmp_path: Path) -> None:
    old = imported()
    other = old.sampling.model_copy(update={"max_tokens": 4096})
    new = record("all", samples=range(200))
    changed = old.model_copy(update={"sampling": other})
    al, _ = compared(tmp_path, changed, new).verdicts
    assert al.outcome is Outcome.INCOMPARABLE
    assert old.imported is not None
    silent = old.imported.model_copy(update={"unverified": [*UNVERIFIED, "sampling"]})
    al, _ = compared(tmp_path, changed.model_copy(update={"imported": silent}), new).verdicts
    assert al.outcome is Outcome.PASS


def test_last_steps_are_left_out_on_both_sides(tmp_path: Path) -> None:
    """A cut-off last step is shorter than others: to count it on one side alone is a bias."""
    new, old = record("all", samples=range(200)), imported()
    requests = []
    for request in old.requests:
        *steps, last = unpack_numbers(request.steps).tolist()
        tokens = request.tokens - last
        update = {"steps": pack_numbers(steps), "tokens": tokens, "ids": pack_ids([])}
        requests.append(request.model_copy(update=update))
    assert old.imported is not None
    origin = old.imported.model_copy(update={"last_steps": False})
    trimmed = old.model_copy(update={"requests": requests, "imported": origin})
    al, _ = compared(tmp_path, trimmed, new).verdicts
    assert al.ratio == 1.0
    whole = trimmed.model_copy(update={"imported": old.imported})
    biased, _ = compared(tmp_path, whole, new).verdicts
    assert biased.ratio is not None
    assert biased.ratio < 1.0


def test_differences_that_the_file_does_not_hold_are_no_changes(tmp_path: Path) -> None:
    (case,) = compared(tmp_path, imported(), record("all", samples=range(200))).cases
    assert [change.field for change in case.changes] == []
