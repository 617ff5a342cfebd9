"""Requests of another tool as records: what a run of ours is compared with, when it is named."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pytest_speedbench.baselines.case_key import KEY_FIELDS, CaseKey
from pytest_speedbench.baselines.provenance import ImportedRecord, MachineRecord
from pytest_speedbench.baselines.records import write_record
from pytest_speedbench.baselines.schema import EXTRA_KEY, Record
from pytest_speedbench.engines.protocol import (
    NO_SPECULATION,
    UNKNOWN_METHOD,
    EngineInfo,
    Sampling,
    Speculation,
)
from pytest_speedbench.errors import ForeignFileError, count_of
from pytest_speedbench.interop.foreign import ForeignRequest, ForeignRun
from pytest_speedbench.interop.stated import Stated, longest_step, refuse_contradictions
from pytest_speedbench.measure.results import ArmResult, RunSetting, Turn
from pytest_speedbench.measure.run import Run
from pytest_speedbench.splits import ALL, Sample, Split, load_split, make_split, split_key
from pytest_speedbench.splits.formats import DEFAULT_CATEGORY
from pytest_speedbench.splits.identity import KEY_LENGTH, content_digest
from pytest_speedbench.splits.model import name_rows

UNKNOWN: Final = "unknown"
# Must be equal to compare AL, and no file of another tool says them.
_NEVER_STATED: Final = ("model weights", "chat template", "prompt form")
# What does not matter where decoding is greedy.
_FILTERS: Final = ("top_p", "top_k", "min_p", "seed")
_NO_MACHINE: Final = MachineRecord(fingerprint="", cpu=UNKNOWN, cores=0, memory_gib=0)


@dataclass(frozen=True, slots=True)
class Import:
    """The records of a file, one a category and one for ``all``, and what was left out."""

    records: list[Record]
    notes: tuple[str, ...]


def import_run(found: ForeignRun, source: Path, stated: Stated) -> Import:
    """The records of a run.

    Raises:
        ForeignFileError: the prompts are neither in the file nor in the split, or the file says
            something else than the user.
        SplitError: the split cannot be used.
    """
    refuse_contradictions(found, source, stated)
    known = {**found.known, **stated.case}
    split, turns, left_out = _placed(found, source, stated.split)
    key = split_key(stated.split) if stated.split else split.digest[:KEY_LENGTH]
    shown = {"dl": _longest_draft(turns), **found.labels, **known}
    run = Run(_setting(found, shown, split, turns), _arm(found, shown, turns))
    imported = ImportedRecord(
        tool=found.tool,
        source=source.name,
        version=found.version,
        unverified=list(_unverified(found, stated, known)),
        last_steps=found.last_steps,
    )
    names = ", ".join(name.replace("_", " ") for name in imported.unverified)
    origin = f"measured by {found.tool}, imported from {source.name}; not verified: {names}"
    notes = [*left_out, *found.notes, origin]
    records = []
    for name in (*run.slices, ALL):
        record = write_record(run.view(name), _key(shown, key, name), _NO_MACHINE)
        update = {"imported": imported, "notes": [*record.notes, *notes]}
        records.append(record.model_copy(update=update))
    return Import(records, tuple(notes))


def document(records: Sequence[Record], measured: datetime | None = None) -> bytes:
    """A saved run with ``records``, to be named by its path.

    It has no timings in the form of pytest-benchmark: no storage is to choose from it.
    """
    benchmarks = [
        {
            "name": str(record.case),
            "fullname": str(record.case),
            "extra_info": {EXTRA_KEY: record.model_dump(mode="json", by_alias=True)},
        }
        for record in records
    ]
    moment = (measured or datetime.now(UTC)).isoformat()
    data = {"commit_info": {}, "benchmarks": benchmarks, "datetime": moment}
    return json.dumps(data, indent=1).encode() + b"\n"


# -- prompts ----------------------------------------------------------------------------------


def _placed(
    found: ForeignRun, source: Path, given: str | None
) -> tuple[Split, list[Turn], list[str]]:
    """The split, the turns under its sample ids, and what was left out."""
    has_prompts = all(request.turns for request in found.requests)
    if given is None:
        if not has_prompts:
            raise ForeignFileError(_no_prompts(found, source))
        split = make_split(source.stem, name_rows(_samples(found.requests)))
    else:
        split = load_split(given)
    place = _by_content(split) if has_prompts else {s.id: s for s in split.samples}
    turns: dict[tuple[str, int], Turn] = {}  # the first answer to each turn of each sample
    lost = repeated = 0
    for request in found.requests:
        name = _content(request) if has_prompts else request.sample
        sample = place.get(name)
        if sample is None:
            lost += 1
        elif (key := (sample.id, request.turn)) in turns:
            repeated += 1
        else:
            turns[key] = Turn(sample.id, sample.category, request.turn, request.trace)
    if not turns:
        what = "prompts" if has_prompts else "ids"
        raise ForeignFileError(
            f"{source}: none of its {len(found.requests)} {what} is in split {split.name!r}; name "
            "the split or the file that it was measured on with --split"
        )
    reasons = {"their prompts are not in the split": lost, "the same prompt again": repeated}
    notes = [f"{count_of(n, 'request')} left out: {why}" for why, n in reasons.items() if n]
    return split, list(turns.values()), notes


def _no_prompts(found: ForeignRun, source: Path) -> str:
    file = found.prompts_file
    beside = f"{found.tool} writes them to {file} beside it; without that file, " if file else ""
    return (
        f"{source} holds no prompts: {beside}name those that it was measured on with --split, as "
        "in --speed-split"
    )


def _samples(requests: Sequence[ForeignRequest]) -> Iterator[Sample]:
    """One sample a prompt."""
    contents: dict[str, ForeignRequest] = {}
    for request in requests:
        contents.setdefault(_content(request), request)
    for number, request in enumerate(contents.values(), start=1):
        category = request.category or DEFAULT_CATEGORY
        yield Sample("", category, request.turns, request.system, row=("import", number))


def _by_content(split: Split) -> dict[str, Sample]:
    """The first sample of each prompt: whether the engine met it once or twice is not known."""
    found: dict[str, Sample] = {}
    for sample in split.samples:
        found.setdefault(content_digest(sample.turns, sample.system), sample)
    return found


def _content(request: ForeignRequest) -> str:
    return content_digest(request.turns, request.system)


# -- setting ----------------------------------------------------------------------------------


def _arm(found: ForeignRun, known: Mapping[str, Any], turns: list[Turn]) -> ArmResult:
    return ArmResult(_speculation(known), turns=turns, hidden=found.hidden, answers=len(turns))


def _speculation(known: Mapping[str, Any]) -> Speculation:
    method = str(known.get("method", UNKNOWN_METHOD))
    return NO_SPECULATION if method == "none" else Speculation(method, int(known.get("dl", 0)))


def _longest_draft(turns: Sequence[Turn]) -> int:
    """What a draft length that nobody states is at least: no step emits more than DL + 1 tokens."""
    return max(1, max((longest_step(turn.trace) for turn in turns), default=0) - 1)


def _setting(
    found: ForeignRun, known: Mapping[str, Any], split: Split, turns: Sequence[Turn]
) -> RunSetting:
    rows = {sample.id: sample.digest for sample in split.samples}
    own = {turn.sample for turn in turns}
    return RunSetting(
        EngineInfo(
            str(known.get("engine", UNKNOWN)), found.engine_version or UNKNOWN, UNKNOWN, UNKNOWN
        ),
        {"name": str(known.get("model", UNKNOWN))},
        None,
        _speculation(known),
        int(known.get("bs", 1)),
        _sampling(known),
        "",
        str(known.get("prompt_form", UNKNOWN)),
        {
            "name": split.name,
            "version": split.version,
            "digest": split.digest,
            "samples": 0,
            "rows": {sample: digest for sample, digest in rows.items() if sample in own},
        },
        len(own),
    )


def _sampling(known: Mapping[str, Any]) -> Sampling:
    names = ("max_tokens", "temperature", "ignore_eos", "min_tokens", *_FILTERS)
    return Sampling(**{name: known[name] for name in names if name in known})


def _key(known: Mapping[str, Any], split: str, slice_name: str) -> CaseKey:
    own = {name: known[name] for name in KEY_FIELDS if name in known}
    speculation = _speculation(known)
    if not known.get("temperature"):
        own = {name: value for name, value in own.items() if name not in _FILTERS}
    return CaseKey(
        **{
            "engine": UNKNOWN,
            "model": UNKNOWN,
            "bs": 1,
            **own,
            "method": speculation.method,
            "dl": speculation.draft_length,
            "split": split,
            "slice": slice_name,
        }
    )


def _unverified(found: ForeignRun, stated: Stated, known: Mapping[str, Any]) -> Iterator[str]:
    """Parts of the key that nothing states, and what no file of another tool says."""
    greedy = known.get("temperature") == 0
    for name in KEY_FIELDS:
        if name in ("slice", *known) or (name in _FILTERS and greedy):
            continue
        if name == "dl" and known.get("method") == "none":
            continue
        if name != "split" or stated.split is None:
            yield name
    if "max_tokens" not in known:
        yield "sampling"
    if not all(request.turns for request in found.requests):
        yield "prompts"  # their ids alone are known
    yield from _NEVER_STATED
