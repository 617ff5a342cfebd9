"""Encodes a measured slice as a :class:`Record`, free of secrets, and decodes records again.

``decode_run`` gives the run that the records of one run were written from, as far as they keep it:
its metrics are computed as those of a fresh run.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from pytest_speedbench._version import __version__
from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.baselines.machine import this_machine
from pytest_speedbench.baselines.measured import (
    ArmRecord,
    CountedRecord,
    CountersRecord,
    DepthRecord,
    DriftRecord,
    EarlyRecord,
    EmittedRecord,
    MetricRecord,
    RoundRecord,
    SoakRoundRecord,
)
from pytest_speedbench.baselines.packing import (
    digest_ids,
    pack_ids,
    pack_numbers,
    unpack_ids,
    unpack_numbers,
)
from pytest_speedbench.baselines.part import fields_of
from pytest_speedbench.baselines.provenance import (
    EngineRecord,
    MachineRecord,
    ModelRecord,
    SamplingRecord,
    SideRecord,
    SpecRecord,
    SplitRecord,
)
from pytest_speedbench.baselines.requests import (
    ReplayRecord,
    RequestRecord,
    ResumedRecord,
    TotalsRecord,
    WrongTokenRecord,
    decode_turn,
)
from pytest_speedbench.baselines.schema import SCHEMA, Record
from pytest_speedbench.engines.packages import UNKNOWN
from pytest_speedbench.engines.protocol import (
    NO_SPECULATION,
    Counters,
    EngineInfo,
    Sampling,
    Speculation,
    Trace,
)
from pytest_speedbench.errors import MeasurementMismatch, NoData, RecordError
from pytest_speedbench.measure.answers import repeats_itself
from pytest_speedbench.measure.replayed import Replay, ReplayedTurn, ResumedRequest, WrongToken
from pytest_speedbench.measure.results import (
    ArmResult,
    Counted,
    EarlyStop,
    Emitted,
    Round,
    RunSetting,
    Side,
    SoakRound,
    Turn,
)
from pytest_speedbench.measure.run import Run
from pytest_speedbench.secrets import hide_secrets
from pytest_speedbench.splits import ALL

if TYPE_CHECKING:
    from pytest_speedbench.measure.run import SliceView
    from pytest_speedbench.stats import Estimate, RequestTrace


def write_record(view: SliceView, key: CaseKey, machine: MachineRecord | None = None) -> Record:
    """The record of one slice of a run, measured on this machine where none is given."""
    run = view.run
    setting, plain = run.setting, _plain_outputs(run)
    return Record(
        schema=SCHEMA,
        case=key,
        engine=EngineRecord(
            name=setting.engine.engine,
            version=setting.engine.version,
            device=setting.engine.device,
            dtype=setting.engine.dtype,
            details=hide_secrets(dict(setting.engine.details)),
            args=hide_secrets(dict(setting.engine_args)),
            packages=dict(setting.engine.packages),
            commit=setting.engine.commit or UNKNOWN,
        ),
        model=ModelRecord.model_validate(setting.model),
        spec=SpecRecord(
            method=setting.speculation.method,
            draft_length=setting.speculation.draft_length,
            drafter=ModelRecord.model_validate(setting.drafter) if setting.drafter else None,
        ),
        split=_split(view),
        sampling=SamplingRecord(**asdict(setting.sampling)),
        template=setting.template_digest,
        prompt_form=setting.prompt_form,
        machine=machine or this_machine(),
        metrics=_metrics(view),
        rounds=_rounds(run.arm.rounds),
        reference_rounds=_rounds(run.reference.rounds) if run.reference else [],
        drift=[DriftRecord(**asdict(point)) for point in view.drift],
        depth=_depth(view),
        warmup={"requests": run.arm.warmup_requests},
        counted=CountedRecord(**asdict(view.counted)) if view.counted else None,
        arm=_arm(view),
        engine_acceptance_length=view.engine_acceptance_length(),
        speculation_off=run.speculation_off,
        partial=run.partial,
        notes=run.notes,
        requests=[_request(turn, plain, run.replay) for turn in view.turns],
        harness=__version__,
        side=SideRecord(**asdict(setting.side)) if setting.side else None,
    )


def _split(view: SliceView) -> SplitRecord:
    """The split, with the rows of this slice alone."""
    split = SplitRecord.model_validate(view.run.setting.split)
    own = {turn.sample for turn in view.turns}
    rows = {sample: digest for sample, digest in (split.rows or {}).items() if sample in own}
    return split.model_copy(update={"rows": rows})


def _metrics(view: SliceView) -> dict[str, MetricRecord | list[MetricRecord | None]]:
    run = view.run
    compute: Mapping[str, Callable[[], Estimate]] = {
        "acceptance_length": view.acceptance_length,
        "acceptance_length_macro": view.acceptance_length_macro,
        "acceptance_rate": view.acceptance_rate,
        "draftless_share": view.draftless_share,
        "proposed_length": view.proposed_length,
        "cold_acceptance_length": view.cold_acceptance_length,
        "cache_hit_rate": view.cache_hit_rate,
        "speedup": lambda: run.speedup,
        "output_tps": lambda: run.output_tps,
        "reference_tps": lambda: run.reference_tps,
        "user_tps": lambda: run.user_tps,
        "ttft": lambda: run.ttft,
        "step_time": lambda: run.step_time,
    }
    found: dict[str, MetricRecord | list[MetricRecord | None]] = {}
    for name, function in compute.items():
        try:
            found[name] = metric_record(function())
        except NoData:
            continue
    try:
        positions = view.acceptance_by_position()
    except NoData:
        return found
    found["acceptance_by_position"] = [None if p is None else metric_record(p) for p in positions]
    return found


def _depth(view: SliceView) -> list[DepthRecord]:
    try:
        buckets = view.acceptance_by_depth()
    except NoData:
        return []
    return [
        DepthRecord(
            start=bucket.start,
            end=bucket.end,
            acceptance_length=metric_record(bucket.acceptance_length),
        )
        for bucket in buckets
    ]


def metric_record(estimate: Estimate) -> MetricRecord:
    return MetricRecord(**{name: getattr(estimate, name) for name in MetricRecord.model_fields})


def _rounds(rounds: Sequence[Round]) -> list[RoundRecord]:
    return [RoundRecord(**{**asdict(r), "at_once": r.at_once or None}) for r in rounds]


def _arm(view: SliceView) -> ArmRecord:
    run, arm = view.run, view.run.arm
    return ArmRecord(
        samples=run.setting.samples,
        repeated=arm.repeated,
        reference=run.reference is not None,
        alternated=arm.alternated,
        counters=CountersRecord(**asdict(arm.counters)) if arm.counters else None,
        early=EarlyRecord(**asdict(arm.early)) if arm.early else None,
        hidden=arm.hidden,
        unknown=arm.unknown,
        answers=arm.answers,
        failed=arm.failed,
        replay=run.replay is not None,
        not_replayed=run.replay.refused if run.replay else "",
        not_scored=run.replay.unscored if run.replay else "",
        counted={
            name: CountedRecord(**asdict(counted))
            for name, counted in arm.counted.items()
            if view.name in (ALL, name)
        },
        soak=[_soak_round(round_, view.name) for round_ in arm.soak],
    )


def _soak_round(measured: SoakRound, slice_name: str) -> SoakRoundRecord:
    return SoakRoundRecord(
        start=measured.start,
        end=measured.end,
        step_time=measured.step_time,
        by_category={
            name: EmittedRecord(**asdict(emitted))
            for name, emitted in measured.by_category.items()
            if slice_name in (ALL, name)
        },
    )


def _plain_outputs(run: Run) -> dict[tuple[str, int], str]:
    """Digests of the outputs of the arm without SD, by sample and turn."""
    if run.reference is None:
        return {}
    turns = run.reference.turns
    return run.reference.digests | {
        (turn.sample, turn.turn): digest_ids(turn.trace.token_ids) for turn in turns
    }


def _request(
    turn: Turn, plain: Mapping[tuple[str, int], str], replay: Replay | None
) -> RequestRecord:
    trace, key = turn.trace, (turn.sample, turn.turn)
    replayed = replay.turns.get(key) if replay else None
    as_steps = trace.totals is None and len(trace.times) == len(trace.chunks)
    return RequestRecord(
        sample=turn.sample,
        category=turn.category,
        turn=turn.turn,
        prompt_tokens=trace.prompt_tokens,
        tokens=trace.tokens,
        prefill_tokens=trace.prefill_tokens,
        steps=pack_numbers(trace.steps) if trace.totals is None else "",
        ids=pack_ids(trace.token_ids),
        drafted=None if trace.drafted is None else pack_numbers(trace.drafted),
        accepted=None if trace.accepted is None else pack_numbers(trace.accepted),
        sent=trace.submitted,
        first=trace.times[0] if trace.times else trace.submitted,
        last=trace.times[-1] if trace.times else trace.submitted,
        finish=trace.finish_reason,
        totals=None if trace.totals is None else TotalsRecord(**asdict(trace.totals)),
        events=None if as_steps else len(trace.times),
        first_tokens=trace.chunks[0] if trace.totals is not None and trace.chunks else None,
        hidden=trace.hidden_tokens or None,
        cached=trace.cached_tokens,
        repeats=None if trace.token_ids or trace.text is None else repeats_itself(trace),
        plain=plain.get(key),
        replay=None if replayed is None else _replayed(replayed),
    )


def _replayed(turn: ReplayedTurn) -> ReplayRecord:
    resumed = [
        ResumedRecord(
            start=request.start,
            prompt_tokens=request.trace.prompt_tokens,
            prefill_tokens=request.trace.prefill_tokens,
            steps=pack_numbers(request.trace.steps),
            ids=pack_ids(request.trace.token_ids),
        )
        for request in turn.resumed
    ]
    return ReplayRecord(
        along=turn.along,
        free=turn.free,
        resumed=resumed,
        given_up=turn.given_up,
        scored=turn.scored,
        defects=list(turn.defects),
        wrong=[WrongTokenRecord(**asdict(wrong)) for wrong in turn.wrong],
        text=pack_ids(turn.text) if turn.text else "",
    )


def decode_run(records: Sequence[Record]) -> Run:
    """The run whose slices are ``records``; the record of ``all``, where it is there, suffices.

    Records of earlier versions keep neither counters nor the rounds of a soak by category.

    Raises:
        RecordError: a request is damaged, or there is no record at all.
    """
    if not records:
        raise RecordError("no records: a run has at least one")
    whole = [record for record in records if record.case.slice == ALL][:1] or list(records)
    first = whole[0]
    arm = _decode_arm(first, whole)
    arm.turns = [turn for record in whole for turn in decode_turns(record)]
    replay = None
    if first.arm is not None and first.arm.replay:
        turns = {key: turn for record in whole for key, turn in decode_replay(record).items()}
        replay = Replay(turns, first.arm.not_replayed, first.arm.not_scored)
    return Run(_decode_setting(first, whole), arm, _decode_reference(first, whole), replay)


def decode_turns(record: Record) -> list[Turn]:
    """The turns of a record, in the order in which they finished.

    Events between the first and the last are evenly spaced: their times are not kept.

    Raises:
        RecordError: a request is damaged.
    """
    try:
        return [decode_turn(request) for request in record.requests]
    except (ValueError, TypeError) as error:
        raise RecordError(f"{record.case}: its requests are damaged: {error}") from error


def decode_replay(record: Record) -> dict[tuple[str, int], ReplayedTurn]:
    """How the run went along its baseline's outputs, by sample and turn.

    Raises:
        RecordError: a resumed request is damaged.
    """
    try:
        return {
            (request.sample, request.turn): _decode_replayed(request.replay)
            for request in record.requests
            if request.replay is not None
        }
    except (ValueError, TypeError) as error:
        raise RecordError(f"{record.case}: its resumed requests are damaged: {error}") from error


def _decode_replayed(replay: ReplayRecord) -> ReplayedTurn:
    resumed = tuple(_decode_resumed(request) for request in replay.resumed)
    return ReplayedTurn(
        replay.along,
        replay.free,
        resumed,
        replay.given_up,
        scored=replay.scored,
        defects=tuple(replay.defects),
        wrong=tuple(
            WrongToken(**wrong.model_dump(include=set(WrongTokenRecord.model_fields)))
            for wrong in replay.wrong
        ),
        text=tuple(unpack_ids(replay.text).tolist()) if replay.text else (),
    )


def _decode_resumed(request: ResumedRecord) -> ResumedRequest:
    """Without times, which are not kept: nothing of a resumed request is timed."""
    steps = unpack_numbers(request.steps).tolist()
    ids = unpack_ids(request.ids, request.prefill_tokens + sum(steps)).tolist()
    chunks = [request.prefill_tokens, *steps] if request.prefill_tokens else steps
    trace = Trace(
        "", request.prompt_tokens, 0.0, ids, chunks, prefill_tokens=request.prefill_tokens
    )
    return ResumedRequest(request.start, trace)


def traces_of(record: Record) -> list[RequestTrace]:
    """The requests of a record: their steps where it keeps them, totals otherwise.

    Raises:
        RecordError: a request of the record is damaged.
    """
    from pytest_speedbench.stats.data import clusters

    try:
        found = [request.trace for request in record.requests]
        clusters(found)  # refuses the same turn twice
        return found
    except (ValueError, TypeError, MeasurementMismatch) as error:
        raise RecordError(f"{record.case}: its requests are damaged: {error}") from error


def _decode_setting(record: Record, records: Sequence[Record]) -> RunSetting:
    engine, spec, drafter = record.engine, record.spec, record.spec.drafter
    rows = [one.split.rows or {} for one in records]
    split = record.split.model_copy(update={"rows": dict(ChainMap(*reversed(rows)))})
    return RunSetting(
        EngineInfo(
            engine.name,
            engine.version,
            engine.device,
            engine.dtype,
            engine.details,
            packages=engine.packages,
            commit=engine.commit,
        ),
        record.model.model_dump(),
        drafter.model_dump() if drafter else None,
        Speculation(spec.method, spec.draft_length, drafter.name if drafter else None),
        record.case.bs,
        Sampling(**fields_of(record.sampling)),
        record.template,
        record.prompt_form,
        split.model_dump(),
        record.arm.samples if record.arm else len({r.sample for r in record.requests}),
        engine.args,
        Side(**fields_of(record.side)) if record.side else None,
        record.case.prefix_caching,
    )


def _decode_arm(first: Record, records: Sequence[Record]) -> ArmResult:
    result = ArmResult(
        Speculation(first.spec.method, first.spec.draft_length),
        rounds=_decode_rounds(first.rounds),
        warmup_requests=first.warmup.get("requests", 0),
        counted={r.case.slice: Counted(**fields_of(r.counted)) for r in records if r.counted},
    )
    if (arm := first.arm) is None:
        return result
    result.counters = Counters(**fields_of(arm.counters)) if arm.counters else None
    result.early = EarlyStop(**fields_of(arm.early)) if arm.early else None
    result.repeated, result.alternated = arm.repeated, arm.alternated
    result.hidden, result.unknown = arm.hidden, arm.unknown
    result.answers, result.failed = arm.answers, dict(arm.failed)
    arms = [record.arm for record in records if record.arm]
    result.counted = {
        name: Counted(**fields_of(counted))
        for part in arms
        for name, counted in part.counted.items()
    }
    result.soak = list(_decode_soak([part.soak for part in arms]))
    return result


def _decode_soak(parts: Sequence[Sequence[SoakRoundRecord]]) -> Iterator[SoakRound]:
    """The rounds of a soak, each put together from those of its slices."""
    for slices in zip(*parts, strict=False):
        emitted = {
            name: Emitted(**fields_of(found))
            for part in slices
            for name, found in part.by_category.items()
        }
        yield SoakRound(slices[0].start, slices[0].end, slices[0].step_time, emitted)


def _decode_reference(first: Record, records: Sequence[Record]) -> ArmResult | None:
    digests = {
        (request.sample, request.turn): request.plain
        for record in records
        for request in record.requests
        if request.plain is not None
    }
    if not (first.arm.reference if first.arm else first.reference_rounds or digests):
        return None
    rounds = _decode_rounds(first.reference_rounds)
    return ArmResult(NO_SPECULATION, rounds=rounds, digests=digests)


def _decode_rounds(rounds: Sequence[RoundRecord]) -> list[Round]:
    return [Round(**{**fields_of(r), "at_once": r.at_once or 0}) for r in rounds]
