"""Records as flat rows, one a case, a request or a decoding step, for data frames and files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from pytest_speedbench.baselines.packing import unpack_numbers
from pytest_speedbench.errors import RecordError, UsageError, did_you_mean

if TYPE_CHECKING:
    from pytest_speedbench.baselines.case_key import CaseKey
    from pytest_speedbench.baselines.requests import RequestRecord as Request

Cell: TypeAlias = str | int | float | bool | None
Row: TypeAlias = Mapping[str, Cell]
Record: TypeAlias = Any  # schema.Record, which imports this module


def rows(records: Iterable[Record], level: str = "request") -> list[Row]:
    """The rows of some records.

    Args:
        records: of any runs.
        level: ``case``: its metrics with limits and n; ``request``: tokens, steps and times in
            seconds since the first request was sent; ``step``: tokens, drafted and accepted.
            Slices of one run have requests in common, as ``all`` and a category do: each is there
            once, and a row names its category, not a slice.

    Raises:
        UsageError: another level.
        RecordError: a request of a record is damaged.
    """
    if level not in LEVELS:
        known = tuple(LEVELS)
        raise UsageError(
            f"level={level!r}: expected {', '.join(known)}{did_you_mean(level, known)}"
        )
    return list(LEVELS[level](records))


def _cases(records: Iterable[Record]) -> Iterator[Row]:
    for record in records:
        yield {**record.case.model_dump(), **_setting(record), **_metrics(record)}


def _runs(records: Iterable[Record]) -> Iterator[tuple[dict[str, Cell], list[Request]]]:
    """The key of each run, without a slice, and the requests of all of its slices, each once."""
    runs: dict[CaseKey, dict[tuple[Any, ...], Request]] = defaultdict(dict)
    for record in records:
        own = runs[record.case.model_copy(update={"slice": ""})]
        for request in record.requests:
            same = request.sample, request.turn, request.sent, request.ids, request.steps
            own.setdefault(same, request)
    for case, requests in runs.items():
        yield case.model_dump(exclude={"slice"}), list(requests.values())


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


def _requests(records: Iterable[Record]) -> Iterator[Row]:
    for key, requests in _runs(records):
        start = min((request.sent for request in requests), default=0.0)
        for request in requests:
            count, drafted, accepted = _totals(request)
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
                "drafted": drafted,
                "accepted": accepted,
                "sent": request.sent - start,
                "ttft": request.first - request.sent,
                "duration": request.last - request.sent,
                "finish": request.finish,
            }


def _totals(request: Request) -> tuple[int | None, int | None, int | None]:
    """Decoding steps, and draft tokens proposed and accepted; None where they are not known."""
    if (totals := request.totals) is not None:
        return totals.steps, totals.draft_tokens, totals.accepted_tokens
    drafted, accepted = (
        None if packed is None else sum(_numbers(request, packed))
        for packed in (request.drafted, request.accepted)
    )
    return len(_numbers(request, request.steps)), drafted, accepted


def _steps(records: Iterable[Record]) -> Iterator[Row]:
    for key, requests in _runs(records):
        for request in requests:
            drafted = _numbers(request, request.drafted or "")
            accepted = _numbers(request, request.accepted or "")
            position = request.prefill_tokens
            for number, tokens in enumerate(_numbers(request, request.steps)):
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


def _numbers(request: Request, packed: str) -> list[int]:
    try:
        numbers: list[int] = unpack_numbers(packed).tolist()
    except (ValueError, TypeError) as error:
        raise RecordError(f"request {request.sample!r} is damaged: {error}") from error
    return numbers


LEVELS: Final[Mapping[str, Callable[[Iterable[Record]], Iterable[Row]]]] = {
    "case": _cases,
    "request": _requests,
    "step": _steps,
}
