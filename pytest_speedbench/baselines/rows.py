"""Records as flat rows, one a case, a request or a decoding step, for data frames and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from pytest_speedbench.baselines.packing import unpack_numbers
from pytest_speedbench.errors import RecordError, UsageError, did_you_mean

Cell: TypeAlias = str | int | float | bool | None
Row: TypeAlias = Mapping[str, Cell]
Record: TypeAlias = Any  # schema.Record, which imports this module


def rows(records: Iterable[Record], level: str = "request") -> list[Row]:
    """The rows of some records.

    Args:
        records: of any runs.
        level: ``case``: its metrics with limits and n; ``request``: tokens, steps and times in
            seconds since the first request was sent; ``step``: tokens, drafted and accepted.

    Raises:
        UsageError: another level.
        RecordError: a request of a record is damaged.
    """
    if level not in LEVELS:
        known = tuple(LEVELS)
        raise UsageError(
            f"level={level!r}: expected {', '.join(known)}{did_you_mean(level, known)}"
        )
    return [row for record in records for row in LEVELS[level](record)]


def _case(record: Record) -> Iterator[Row]:
    yield {**_key(record), **_setting(record), **_metrics(record)}


def _key(record: Record) -> dict[str, Cell]:
    return dict(record.case.model_dump())


def _setting(record: Record) -> dict[str, Cell]:
    drafter = record.spec.drafter
    return {
        "engine_version": record.engine.version,
        "device": record.engine.device,
        "dtype": record.engine.dtype,
        "target_weights": record.model.weights,
        "drafter_name": drafter.name if drafter else "",
        "drafter_weights": drafter.weights if drafter else "",
        "max_tokens": record.sampling.max_tokens,
        "split_digest": record.split.digest,
        "speculation_off": record.speculation_off,
        "partial": record.partial,
    }


def _metrics(record: Record) -> dict[str, Cell]:
    found: dict[str, Cell] = {}
    for name, metric in record.metrics.items():
        if not isinstance(metric, list):
            found |= {
                name: metric.value,
                f"{name}_low": metric.low,
                f"{name}_high": metric.high,
                f"{name}_n": metric.n,
            }
            continue
        positions = enumerate(metric, 1)
        found |= {f"acceptance_{k}": p.value if p is not None else None for k, p in positions}
    return found


def _requests(record: Record) -> Iterator[Row]:
    start = min((request.sent for request in record.requests), default=0.0)
    key = _key(record)
    for request in record.requests:
        steps = _numbers(record, request.steps)
        count = len(steps) if request.totals is None else request.totals.steps
        decoded = request.tokens - request.prefill_tokens
        yield {
            **key,
            "sample": request.sample,
            "category": request.category,
            "turn": request.turn,
            "prompt_tokens": request.prompt_tokens,
            "tokens": request.tokens,
            "prefill_tokens": request.prefill_tokens,
            "steps": count,
            "acceptance_length": decoded / count if count else None,
            "sent": request.sent - start,
            "ttft": request.first - request.sent,
            "duration": request.last - request.sent,
            "finish": request.finish,
        }


def _steps(record: Record) -> Iterator[Row]:
    key = _key(record)
    for request in record.requests:
        drafted = _numbers(record, request.drafted or "")
        accepted = _numbers(record, request.accepted or "")
        position = request.prefill_tokens
        for number, tokens in enumerate(_numbers(record, request.steps)):
            yield {
                **key,
                "sample": request.sample,
                "category": request.category,
                "turn": request.turn,
                "step": number,
                "position": position,
                "tokens": tokens,
                "drafted": drafted[number] if number < len(drafted) else None,
                "accepted": accepted[number] if number < len(accepted) else None,
            }
            position += tokens


def _numbers(record: Record, packed: str) -> list[int]:
    try:
        numbers: list[int] = unpack_numbers(packed).tolist()
    except (ValueError, TypeError) as error:
        raise RecordError(f"{record.case}: its requests are damaged: {error}") from error
    return numbers


LEVELS: Final[Mapping[str, Callable[[Record], Iterable[Row]]]] = {
    "case": _case,
    "request": _requests,
    "step": _steps,
}
