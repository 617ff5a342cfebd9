"""Which saved record is the baseline of a case, and what may be compared with it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from pytest_speedbench.baselines.case_key import KEY_FIELDS, CaseKey
from pytest_speedbench.baselines.provenance import (
    ImportedRecord,
    MachineRecord,
    ModelRecord,
    SamplingRecord,
    SplitRecord,
)
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.baselines.storage import SavedRun
from pytest_speedbench.compare.eligible import ANY, Eligibility
from pytest_speedbench.compare.rows import EarlierIds, earlier_ids_of, match_rows, same_split
from pytest_speedbench.errors import BaselineError, warn


@dataclass(frozen=True, slots=True)
class Identity:
    """What a case will be measured on: known before any engine starts."""

    case: CaseKey
    model: ModelRecord
    split: SplitRecord
    sampling: SamplingRecord
    template: str
    prompt_form: str
    machine: MachineRecord
    drafter: str = ""
    """Free to differ, since it is under test; it only chooses between records of one case."""
    across: frozenset[str] = frozenset()
    """Parts of the key that differ on purpose (``--map``)."""
    imported: ImportedRecord | None = None
    """The file of another tool that the measurement comes from; None for one of ours."""
    earlier_ids: EarlierIds = field(kw_only=True, compare=False)
    """Recognises records of this split that were saved before rows had digests."""


def identity_of(record: Record) -> Identity:
    """The identity that a record was measured with."""
    return Identity(
        case=record.case,
        model=record.model,
        split=record.split,
        sampling=record.sampling,
        template=record.template,
        prompt_form=record.prompt_form,
        machine=record.machine,
        drafter=record.spec.drafter.name if record.spec.drafter else "",
        imported=record.imported,
        earlier_ids=earlier_ids_of(record.split),
    )


@dataclass(frozen=True, slots=True)
class Match:
    """The baseline of a case, or why there is none.

    Attributes:
        record: the baseline, under the sample ids of the new split; None where there is none.
        run: the saved run that has it.
        incomparable: why the record must not be compared at all; empty where it may.
        timing: why its timings must not be compared; empty where they may.
        part: which rows are left out where only a part of the split is compared.
        nearest: in what the most similar record differs, where there is none of the case.
        remark: why a record that was named would not have been chosen by itself.
        beside: the latest run, shown beside a promoted one and not gated.
        earlier: lists the saved runs before the one under test, oldest first: a stored timing is
            compared with them.
    """

    record: Record | None = None
    run: SavedRun | None = None
    incomparable: tuple[str, ...] = ()
    timing: tuple[str, ...] = ()
    part: str = ""
    nearest: str = ""
    remark: str = ""
    beside: SavedRun | None = None
    earlier: Callable[[], Sequence[SavedRun]] = field(default=tuple, compare=False, repr=False)

    @property
    def comparable(self) -> bool:
        return self.record is not None and not self.incomparable


def find_baseline(new: Identity, runs: Sequence[SavedRun], eligibility: Eligibility = ANY) -> Match:
    """The latest eligible and comparable record of ``new`` in ``runs`` (oldest first).

    One of the same prompts is preferred to a later one that has only a part of them. Where records
    of the same case exist but none is comparable, the newest of them is returned with the reasons.
    """
    part, refused = Match(), Match()
    for run in reversed(runs):
        try:
            match = match_in(run, new, eligibility)
        except BaselineError as error:  # it was there when the storage was listed
            warn(f"left out as a baseline: {error}")
            continue
        if match.comparable and not match.part:
            return match
        if match.comparable and part.record is None:
            part = match
        if refused.record is None:
            refused = match
    found = part if part.record is not None else refused
    return found if found.record is not None else Match(nearest=nearest(new, runs, eligibility))


def match_in(run: SavedRun, new: Identity, eligibility: Eligibility | None = None) -> Match:
    """The record of one saved run that suits ``new`` best; with a rule, an eligible one only."""
    records = (
        run.candidates(new.case)
        or records_under_another_key(run, new)
        or imported_records(run, new)
    )
    matches = [
        compare_identity(record, run, new)
        for record in records
        if eligibility is None or not eligibility.objection(record, run)
    ]
    best = min(matches, key=lambda match: _match_distance(match, new), default=None)
    return Match(nearest=nearest(new, [run], eligibility or ANY)) if best is None else best


def nearest(new: Identity, runs: Sequence[SavedRun], eligibility: Eligibility) -> str:
    """How the most similar saved case differs, field by field; for the same case, why it is no
    baseline.

    The most similar one differs in the fewest fields, then the least in BS and DL; of equals it is
    the latest.
    """
    cases = [(run, summary) for run in reversed(runs) for summary in run.summaries]
    if not cases:
        return "no record of this case: nothing is saved yet"
    run, summary = min(cases, key=lambda found: _key_distance(found[1].case, new.case))
    differences = _key_differences(summary.case, new.case)
    if not differences:
        why = eligibility.objection(summary, run) or "it cannot be read, or is of a reference build"
        return f"no record of this case can be a baseline; run {run.number}: {why}"
    return f"no record of this case; the nearest, in run {run.number}, has {', '.join(differences)}"


def _key_distance(old: CaseKey, new: CaseKey) -> tuple[int, float]:
    """How many fields differ, and by what factors BS and DL do."""
    factors = [abs(math.log((a + 1) / (b + 1))) for a, b in ((old.bs, new.bs), (old.dl, new.dl))]
    return len(_key_differences(old, new)), sum(factors)


def _key_differences(old: CaseKey, new: CaseKey) -> list[str]:
    return [
        f"{name} {_shown(getattr(old, name))} (here {_shown(getattr(new, name))})"
        for name in KEY_FIELDS
        if getattr(old, name) != getattr(new, name)
    ]


def _shown(value: object) -> str:
    return "–" if value == "" else str(value)


def records_under_another_key(run: SavedRun, new: Identity) -> list[Record]:
    """Records of the same case whose key differs: a split or a model was renamed or moved, some
    rows of an unnamed split have changed, or one of the grids had several drafters."""
    here = {"split": new.case.split, "model": new.case.model, "drafter": new.case.drafter}
    keys = {key for key in run.keys if key.model_copy(update=here) == new.case}
    if not keys:  # without reading the file
        return []
    return [
        record
        for record in run.measured
        if record.case in keys
        and _same_model(record.model, new.model)
        and _same_drafter(record, new)
        and (
            record.case.split == new.case.split
            or same_split(record, new.split, new.case.split, new.earlier_ids)
        )
    ]


def imported_records(run: SavedRun, new: Identity) -> list[Record]:
    """Records whose key agrees with ``new`` in all that is stated, where one of the two comes from
    a file of another tool."""
    if new.imported is None and not any(summary.imported for summary in run.summaries):
        return []
    found = []
    for record in run.measured:
        unknown = not_verified(record.imported, new.imported)
        stated = [name for name in KEY_FIELDS if name not in unknown]
        if unknown and all(getattr(record.case, n) == getattr(new.case, n) for n in stated):
            found.append(record)
    return found


def not_verified(*imported: ImportedRecord | None) -> tuple[str, ...]:
    """What the files of other tools behind two measurements do not say."""
    return tuple(dict.fromkeys(name for one in imported if one for name in one.unverified))


def _same_drafter(record: Record, new: Identity) -> bool:
    """Whether the drafter is the one that a key names, where either names one."""
    named = record.case.drafter or new.case.drafter
    return not named or identity_of(record).drafter == new.drafter


def _same_model(old: ModelRecord, new: ModelRecord) -> bool:
    """Whether both are one model: a folder keeps its weights when it is renamed."""
    return old.name == new.name or (bool(old.weights) and old.weights == new.weights)


def _match_distance(match: Match, new: Identity) -> tuple[int, bool, int]:
    assert match.record is not None
    other_drafter = identity_of(match.record).drafter != new.drafter
    return len(match.incomparable), other_drafter, len(match.timing)


def compare_identity(record: Record, run: SavedRun | None, new: Identity) -> Match:
    """What of ``record`` may be compared with a measurement of ``new``."""
    rows = match_rows(record, new.split, new.earlier_ids)
    old = identity_of(record)
    left_out = {*new.across, *not_verified(old.imported, new.imported)}
    acceptance = _differences(_for_acceptance(old, left_out), _for_acceptance(new, left_out))
    timing = _differences(_for_timing(old), _for_timing(new))
    if old.imported or new.imported:
        timing = ("timed by another tool",)
    return Match(
        rows.record,
        run,
        tuple(filter(None, (*acceptance, rows.incomparable))),
        tuple(filter(None, (*timing, rows.part))),
        rows.part,
    )


def _for_acceptance(identity: Identity, left_out: Collection[str]) -> dict[str, object]:
    """Must be equal to compare AL. Engine, its arguments and the drafter are under test: free.
    What is ``left_out`` differs on purpose, or is not known."""
    model, sampling = identity.model, identity.sampling
    must: dict[str, object] = {
        "model weights": model.weights or model.revision,
        "chat template": identity.template,
        "sampling": _length_text(sampling),
        "prompt form": identity.prompt_form,
    }
    if "prompt_form" in left_out:
        left_out = {*left_out, "chat template", "prompt form"}
    return {name: value for name, value in must.items() if name not in left_out}


def _for_timing(identity: Identity) -> dict[str, object]:
    """Must also be equal to compare timings."""
    return {
        "machine": f"{identity.machine.fingerprint} ({_machine_text(identity.machine)})",
        "samples of each category": identity.split.samples or "all",
    }


def _differences(old: dict[str, object], new: dict[str, object]) -> Iterable[str]:
    for name, value in old.items():
        if value != new[name]:
            yield f"{name}: {value} there, {new[name]} here"


def _length_text(sampling: SamplingRecord) -> str:
    limits = [f"max_tokens {sampling.max_tokens}"]
    if sampling.ignore_eos:
        limits.append("ignore_eos")
    if sampling.min_tokens:
        limits.append(f"min_tokens {sampling.min_tokens}")
    return ", ".join(limits)


def _machine_text(machine: MachineRecord) -> str:
    return ", ".join([machine.cpu, f"{machine.cores} cores", *machine.gpus])
