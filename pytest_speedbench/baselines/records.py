"""Writes records: a measured slice → :class:`Record`, free of secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pytest_speedbench.baselines.machine import this_machine
from pytest_speedbench.baselines.schema import (
    STEPS_SCHEMA,
    TOTALS_SCHEMA,
    CaseKey,
    CountedRecord,
    DriftRecord,
    EngineRecord,
    MetricRecord,
    ModelRecord,
    Record,
    RequestRecord,
    RoundRecord,
    SamplingRecord,
    SpecRecord,
    SplitRecord,
    TotalsRecord,
    digest_ids,
    pack_ids,
    pack_numbers,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_speedbench.measure.load import Turn
    from pytest_speedbench.measure.run import Run, SliceView
    from pytest_speedbench.measure.window import Round
    from pytest_speedbench.stats import Estimate

HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(
    r"(^|[_.-])(token|secret|password|passwd|passphrase|credentials?|auth|authorization|cookie"
    r"|(api|access|secret|private|signing)[_-]?key)$",
    re.I,
)
# The shapes of well-known tokens, the credentials of an address, and what follows a telling word.
_SECRET_VALUE = re.compile(
    r"\b(?:hf_[A-Za-z0-9]{10,}|sk-[\w-]{10,}|gh[pousr]_[A-Za-z0-9]{10,}|github_pat_\w{10,}"
    r"|glpat-[\w-]{10,}|xox[abprs]-[\w-]{10,}|nvapi-[\w-]{10,}|AIza[\w-]{30,}|AKIA[0-9A-Z]{16}"
    r"|eyJ[\w-]+\.eyJ[\w-]+\.[\w-]*)"
    r"|(?<=://)[^/\s@]+(?=@)"
    r"|(?P<before>(?:Bearer|Basic) +"
    r"|[?&;-][\w-]*(?:token|secret|password|passwd|key|signature|auth)[= ])[^\s&;#]+",
    re.I,
)


def write_record(view: SliceView, key: CaseKey) -> Record:
    """The record of one slice of a run."""
    run = view.run
    setting, plain = run.setting, _plain(run)
    details = hide_secrets(dict(setting.engine.details))
    stepwise = all(turn.trace.totals is None for turn in view.turns)
    return Record(
        schema=STEPS_SCHEMA if stepwise else TOTALS_SCHEMA,
        case=key,
        engine=EngineRecord(
            name=setting.engine.engine,
            version=setting.engine.version,
            device=setting.engine.device,
            dtype=setting.engine.dtype,
            details=details,
            args=hide_secrets(dict(setting.engine_args)),
        ),
        model=ModelRecord.model_validate(setting.model),
        spec=SpecRecord(
            method=setting.speculation.method,
            draft_length=setting.speculation.draft_length,
            drafter=ModelRecord.model_validate(setting.drafter) if setting.drafter else None,
        ),
        split=_split(view),
        sampling=SamplingRecord(
            max_tokens=setting.sampling.max_tokens,
            temperature=setting.sampling.temperature,
            seed=setting.sampling.seed,
            ignore_eos=setting.sampling.ignore_eos,
            min_tokens=setting.sampling.min_tokens,
        ),
        template=setting.template_digest,
        prompt_form=setting.prompt_form,
        machine=this_machine(),
        metrics=_metrics(view),
        rounds=_rounds(run.arm.rounds),
        reference_rounds=_rounds(run.reference.rounds) if run.reference else [],
        drift=[DriftRecord(**asdict(point)) for point in view.drift],
        warmup={"requests": run.arm.warmup_requests},
        counted=CountedRecord(**asdict(view.counted)) if view.counted else None,
        engine_acceptance_length=view.engine_acceptance_length(),
        speculation_off=run.speculation_off,
        partial=run.partial,
        notes=run.notes,
        requests=[_request(turn, plain.get((turn.sample, turn.turn))) for turn in view.turns],
    )


def _split(view: SliceView) -> SplitRecord:
    """The split, with the rows of this slice alone."""
    split = SplitRecord.model_validate(view.run.setting.split)
    own = {turn.sample for turn in view.turns}
    rows = {sample: digest for sample, digest in (split.rows or {}).items() if sample in own}
    return split.model_copy(update={"rows": rows})


def _metrics(view: SliceView) -> dict[str, MetricRecord | list[MetricRecord | None]]:
    from pytest_speedbench.stats import NoData

    run = view.run
    compute: Mapping[str, Callable[[], Estimate]] = {
        "acceptance_length": view.acceptance_length,
        "acceptance_length_macro": view.acceptance_length_macro,
        "acceptance_rate": view.acceptance_rate,
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


def metric_record(estimate: Estimate) -> MetricRecord:
    return MetricRecord(
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n=estimate.n,
        level=estimate.level,
        unit=estimate.unit,
    )


def _rounds(rounds: Sequence[Round]) -> list[RoundRecord]:
    return [
        RoundRecord(
            tokens=r.tokens,
            seconds=r.seconds,
            steady=r.steady,
            requests=r.requests,
            acceptance_length=r.acceptance_length,
            step_time=r.step_time,
        )
        for r in rounds
    ]


def _plain(run: Run) -> dict[tuple[str, int], str]:
    """Digests of what the arm without SD has said, by sample and turn."""
    turns = run.reference.turns if run.reference else []
    return {(turn.sample, turn.turn): digest_ids(turn.trace.token_ids) for turn in turns}


def _request(turn: Turn, plain: str | None) -> RequestRecord:
    trace = turn.trace
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
        plain=plain,
    )


def hide_secrets(value: Any, name: str = "") -> Any:
    """The same value with passwords, keys and tokens replaced, at any depth."""
    if _SECRET_NAME.search(name) and value is not None and not isinstance(value, bool):
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(key): hide_secrets(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hide_secrets(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _SECRET_VALUE.sub(lambda found: (found["before"] or "") + HIDDEN, str(value))
