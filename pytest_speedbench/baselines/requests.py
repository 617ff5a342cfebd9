"""One turn of one sample in a record: its form, and what it decodes to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

from pydantic import Field

from pytest_speedbench.baselines.packing import MOST_IDS, unpack_ids, unpack_numbers
from pytest_speedbench.baselines.part import Count, Part, fields_of
from pytest_speedbench.errors import RecordError

if TYPE_CHECKING:
    from pytest_speedbench.engines.protocol import FinishReason
    from pytest_speedbench.measure.results import Turn
    from pytest_speedbench.stats.data import Ints, RequestTrace, StepTrace

# As :mod:`~.packing` writes them; what is no such text is refused with the file that holds it.
_Numbers = Annotated[str, Field(pattern=r"^[0-9 ]*$")]
_Ids = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*=*$")]
# A server may send a token in several events, and some without any.
_EVENTS_PER_TOKEN, _SPARE_EVENTS = 4, 64


class TotalsRecord(Part):
    """Decoding steps and draft tokens of a whole request; null where the engine does not report
    them."""

    steps: Count | None = None
    draft_tokens: Count | None = None
    accepted_tokens: Count | None = None


class ResumedRecord(Part):
    """A further request along the baseline's output: its prompt ends with the first ``start``
    tokens of it. The rest is as in a request."""

    start: Count
    prompt_tokens: Count
    prefill_tokens: Count
    steps: _Numbers
    ids: _Ids


class WrongTokenRecord(Part):
    """A token of the run that the target without SD ranks below its best one by so many ``ulps`` of
    its logits: its id, that of the baseline, and the probability of either."""

    position: Count
    token: Count
    expected: Count
    probability: float
    expected_probability: float
    ulps: float


class ReplayRecord(Part):
    """How the run went along the baseline's output of one turn: ``along`` is the digest of that
    output, ``free`` whether the free output is the first of its requests, ``given_up`` why the rest
    is left out on both sides. The target was asked about ``scored`` tokens that differ; ``defects``
    are the positions of those that are no numerical tie, ``wrong`` those of them at which the run's
    own token is to blame. ``text`` has the ids of that output where several arms of a session
    followed it, and no record does."""

    along: str
    free: bool = True
    resumed: list[ResumedRecord] = Field(default_factory=list)
    given_up: str = ""
    scored: Count = 0
    defects: list[Count] = Field(default_factory=list)
    wrong: list[WrongTokenRecord] = Field(default_factory=list)
    text: _Ids = ""


class RequestRecord(Part):
    """One turn of one sample. ``steps`` are tokens per decoding step, separated by blanks;
    ``ids`` the output's token ids (see :func:`~.packing.pack_ids`), of none where the engine gives
    text alone; times in seconds. ``totals`` (schema 2) is there where the engine reports no steps:
    ``steps`` is empty then, and ``first_tokens`` are the tokens of the first output event.
    ``events`` counts the output events where they are not the steps."""

    sample: str
    category: str
    turn: Count
    prompt_tokens: Count
    tokens: Count
    prefill_tokens: Count
    steps: _Numbers
    ids: _Ids
    drafted: _Numbers | None = None
    accepted: _Numbers | None = None
    sent: float
    first: float
    last: float
    finish: str
    totals: TotalsRecord | None = None
    events: Count | None = None
    first_tokens: Count | None = None
    hidden: Count | None = None
    """Output tokens that the server counted and did not send; null for none."""
    cached: Count | None = None
    """Prompt tokens that came from the prefix cache, where the engine reports it."""
    repeats: bool | None = None
    """Whether the answer is a loop for a good part, by its text; null where ``ids`` say that."""
    plain: str | None = None
    """Digest (:func:`~.packing.digest_ids`) of the same turn's output in the arm without SD."""
    replay: ReplayRecord | None = None

    @cached_property
    def token_ids(self) -> Ints:
        """``ids``, decoded once; shape (tokens,), or (0,) where the engine gave none.

        Raises:
            RecordError: they are damaged.
        """
        return unpack_ids(self.ids, self.tokens)

    @cached_property
    def trace(self) -> RequestTrace:
        """The turn as the statistics count it, decoded once: its steps, or totals where it has no
        steps.

        Raises:
            ValueError, MeasurementMismatch: it is damaged.
        """
        from pytest_speedbench.measure.metrics import request_traces

        return self._step_trace() or request_traces([decode_turn(self)])[0]

    def _step_trace(self) -> StepTrace | None:
        """The common form, without the detour over a turn; None for others."""
        from pytest_speedbench.measure.check import every_step_drafts
        from pytest_speedbench.stats.data import StepTrace

        if self.totals is not None or not self.tokens:
            return None
        steps = unpack_numbers(self.steps)
        drafted, accepted = (
            None if packed is None else unpack_numbers(packed)
            for packed in (self.drafted, self.accepted)
        )
        if drafted is None or accepted is None:
            drafted = accepted = None
        elif len(drafted) != len(accepted) or not every_step_drafts(
            steps.tolist(), accepted.tolist()
        ):
            return None
        ids = self.token_ids if len(self.token_ids) else None
        own = self.sample, self.category, self.turn, self.prefill_tokens
        return StepTrace(*own, steps, ids, drafted, accepted)

    @cached_property
    def repeats_itself(self) -> bool | None:
        """Whether the answer is a loop for a good part; None where neither its token ids nor
        ``repeats`` are known.

        Raises:
            RecordError: they are damaged.
        """
        from pytest_speedbench.stats.repetition import repeats_itself

        text_alone = self.tokens and not len(self.token_ids)
        return self.repeats if text_alone else repeats_itself(self.token_ids)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values, of which nothing is decoded yet."""
        copied = super().model_copy(update=update, deep=deep)
        for decoded in ("token_ids", "trace", "repeats_itself"):
            copied.__dict__.pop(decoded, None)
        return copied


def decode_turn(request: RequestRecord) -> Turn:
    """The turn of a request. Events between the first and the last are evenly spaced: their times
    are not kept.

    Raises:
        ValueError, TypeError: the request is damaged.
    """
    from pytest_speedbench.engines.protocol import RequestTotals, Trace
    from pytest_speedbench.measure.results import Turn

    trace = Trace(
        f"{request.sample}/{request.turn}",
        request.prompt_tokens,
        request.sent,
        request.token_ids.tolist(),
        chunks := _chunks(request),
        _times(request, len(chunks) if request.events is None else request.events),
        prefill_tokens=request.prefill_tokens,
        drafted=_optional(request.drafted),
        accepted=_optional(request.accepted),
        finish_reason=cast("FinishReason", request.finish),
        hidden_tokens=request.hidden or 0,
        totals=None if request.totals is None else RequestTotals(**fields_of(request.totals)),
        cached_tokens=request.cached,
    )
    return Turn(request.sample, request.category, request.turn, trace)


def _chunks(request: RequestRecord) -> list[int]:
    if not request.tokens:
        return []
    if request.totals is None:
        head = [request.prefill_tokens] if request.prefill_tokens else []
        return [*head, *unpack_numbers(request.steps).tolist()]
    first = request.first_tokens or 1  # earlier versions did not keep it
    return [first, request.tokens - first] if request.tokens > first else [first]


def _times(request: RequestRecord, count: int) -> list[float]:
    """Earlier versions did not keep how many ``events`` there were where they are not steps."""
    if request.events is None and request.totals is not None:
        count = 1 + (request.last > request.first)
    most = min(MOST_IDS, _EVENTS_PER_TOKEN * request.tokens + _SPARE_EVENTS)
    if count > most:
        raise RecordError(
            f"{count} output events of {request.tokens} tokens: expected at most {most}"
        )
    if count < 2:
        return [request.first] * count
    step = (request.last - request.first) / (count - 1)
    begin = request.first
    return [begin + step * number for number in range(count - 1)] + [request.last]


def _optional(packed: str | None) -> list[int] | None:
    return None if packed is None else unpack_numbers(packed).tolist()
