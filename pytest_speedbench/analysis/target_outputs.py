"""Outputs as the analyses of vocabularies want them: from measured turns, and from saved runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pytest_speedbench.analysis.coverage import Output
from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.records import decode_run
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.errors import NoData
from pytest_speedbench.measure.results import Turn
from pytest_speedbench.splits import ALL, Sample, load_split
from pytest_speedbench.splits.bundled import BUNDLED


def outputs_of_turns(turns: Sequence[Turn], languages: Mapping[str, str]) -> list[Output]:
    """The output of every turn; ``languages`` is by sample id, where known.

    Raises:
        NoData: the engine gave no token ids.
    """
    found = []
    for turn in turns:
        trace = turn.trace
        if not trace.ids_known:
            raise NoData("the engine gives no token ids: use one that does, such as vllm")
        found.append(
            Output(
                turn.sample,
                turn.category,
                languages.get(turn.sample, ""),
                np.array(trace.token_ids, dtype=np.int64),
                trace.prefill_tokens,
                None if trace.totals else np.array(trace.steps, dtype=np.int64),
            )
        )
    return found


def languages_of(samples: Sequence[Sample]) -> dict[str, str]:
    """Sample id → its language, as far as the split declares them."""
    return {sample.id: sample.language for sample in samples if sample.language}


def outputs_of_records(records: Sequence[Record]) -> tuple[Record, list[Output]]:
    """The outputs of one run of a session, and a record that describes it.

    Where a session has measured several, the one with the longest drafts is taken: it says most of
    the drafter. Languages are known where the split is bundled and has not changed since.

    Raises:
        NoData: no run has token ids.
        RecordError: a request is damaged.
    """
    runs: dict[CaseKey, list[Record]] = {}
    # Some files keep the requests of the categories alone, to have each of them once.
    for record in (record for record in records if record.requests):
        runs.setdefault(record.case.model_copy(update={"slice": ALL}), []).append(record)
    if not runs:
        raise NoData("the saved run keeps no requests")
    chosen = max(runs.values(), key=lambda own: own[0].spec.draft_length)
    turns = decode_run(chosen).arm.turns
    return chosen[0], outputs_of_turns(turns, _bundled_languages(chosen[0]))


def _bundled_languages(record: Record) -> dict[str, str]:
    if record.split.name not in BUNDLED:
        return {}
    split = load_split(record.split.name)
    return languages_of(split.samples) if split.digest == record.split.digest else {}
