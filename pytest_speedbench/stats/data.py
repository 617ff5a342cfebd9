"""What the statistics are computed from: the steps of one request, or its totals alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.errors import NoData

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class StepTrace:
    """One request, or one turn of a conversation, in one run.

    Attributes:
        sample: sample id; all turns of a sample are one cluster.
        stratum: category or entropy tier.
        turn: turn of the conversation, from 0.
        prefill_tokens: tokens the prefill emitted without a draft (vLLM 1, prompt lookup of
            transformers 0).
        steps: shape (decoding steps,), tokens emitted by each, in order, each at least 1.
        token_ids: shape (prefill_tokens + steps.sum(),), output token ids or a running digest of
            them; None where the engine gives none.
        drafted: shape of `steps`, draft tokens proposed in each step, where known.
        accepted: shape of `steps`, of those the accepted, before the output was cut off.
        decode_tokens: tokens that decoding steps emitted, the prefill's not among them.

    Raises:
        ValueError: shapes or ranges that no engine can produce.
    """

    sample: str
    stratum: str
    turn: int
    prefill_tokens: int
    steps: Ints
    token_ids: Ints | None = None
    drafted: Ints | None = None
    accepted: Ints | None = None
    decode_tokens: int = field(init=False)

    def __post_init__(self) -> None:
        """Refuse what no engine can produce."""
        object.__setattr__(self, "decode_tokens", int(self.steps.sum()))
        where = f"sample {self.sample!r}, turn {self.turn}"
        if self.steps.ndim != 1 or (self.steps.size and int(self.steps.min()) < 1):
            raise ValueError(f"{where}: every decoding step emits at least one token")
        if self.prefill_tokens < 0:
            raise ValueError(f"{where}: prefill_tokens is negative")
        if self.token_ids is not None and len(self.token_ids) != self.output_tokens:
            raise ValueError(
                f"{where}: {len(self.token_ids)} token ids for {self.output_tokens} output tokens"
            )
        self._check_drafts(where)

    def _check_drafts(self, where: str) -> None:
        if (self.drafted is None) != (self.accepted is None):
            raise ValueError(f"{where}: drafted and accepted come together or not at all")
        if self.drafted is None or self.accepted is None:
            return
        if self.drafted.shape != self.steps.shape or self.accepted.shape != self.steps.shape:
            raise ValueError(f"{where}: drafted and accepted need one entry per decoding step")
        if (self.accepted < 0).any() or (self.accepted > self.drafted).any():
            raise ValueError(f"{where}: accepted must lie between 0 and drafted")

    @property
    def output_tokens(self) -> int:
        """All tokens of the output."""
        return self.prefill_tokens + self.decode_tokens

    @property
    def step_count(self) -> int:
        """Decoding steps."""
        return len(self.steps)

    @property
    def draft_tokens(self) -> int | None:
        """Draft tokens proposed, where known."""
        return None if self.drafted is None else int(self.drafted.sum())

    @property
    def accepted_tokens(self) -> int | None:
        """Of those the accepted, before the output was cut off."""
        return None if self.accepted is None else int(self.accepted.sum())


@dataclass(frozen=True, slots=True, eq=False)
class TotalTrace:
    """One request, or one turn, of which an engine reports totals and no steps.

    Attributes:
        sample, stratum, turn, prefill_tokens: as those of a `StepTrace`.
        output_tokens: all tokens of the output.
        step_count: decoding steps, each of at least one token; None where it is unknown.
        draft_tokens: draft tokens proposed, where known.
        accepted_tokens: of those the accepted, before the output was cut off.

    Raises:
        ValueError: totals that no engine can produce.
    """

    sample: str
    stratum: str
    turn: int
    prefill_tokens: int
    output_tokens: int
    step_count: int | None = None
    draft_tokens: int | None = None
    accepted_tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse what no engine can produce."""
        where = f"sample {self.sample!r}, turn {self.turn}"
        given = (self.step_count, self.draft_tokens, self.accepted_tokens)
        if min(self.prefill_tokens, self.output_tokens, *(n for n in given if n is not None)) < 0:
            raise ValueError(f"{where}: a total is negative")
        if self.step_count is not None:
            steps, tokens = self.step_count, self.decode_tokens
            if steps > tokens or (tokens and not steps):
                raise ValueError(
                    f"{where}: {steps} decoding steps cannot emit {tokens} tokens, each at least 1"
                )
        drafted, accepted = self.draft_tokens, self.accepted_tokens
        if drafted is not None and accepted is not None and accepted > drafted:
            raise ValueError(f"{where}: {accepted} accepted of {drafted} drafted tokens")

    @property
    def decode_tokens(self) -> int:
        """Tokens that decoding steps emitted, the prefill's not among them."""
        return max(0, self.output_tokens - self.prefill_tokens)


RequestTrace = StepTrace | TotalTrace
"""One request as its engine reports it."""

NO_STEP_COUNT = "the engine does not report how many decoding steps a request took"


def steps_of(trace: RequestTrace) -> int:
    """Decoding steps of a request.

    Raises:
        NoData: its engine does not report it.
    """
    if trace.step_count is None:
        raise NoData(NO_STEP_COUNT)
    return trace.step_count


def step_traces(traces: Iterable[RequestTrace], purpose: str) -> list[StepTrace]:
    """The same traces, where all of them have steps; `purpose` says in words what needs them.

    Raises:
        NoData: one has totals alone.
    """
    found = list(traces)
    stepwise = [trace for trace in found if isinstance(trace, StepTrace)]
    if len(stepwise) < len(found):
        raise NoData(
            f"{purpose} needs the size of every decoding step, and the engine reports none"
        )
    return stepwise


Trace = TypeVar("Trace", bound=RequestTrace)


def clusters(traces: Iterable[Trace]) -> dict[str, list[Trace]]:
    """Group by sample id, turns in order.

    Raises:
        ValueError: a sample with the same turn twice, or with two strata.
    """
    groups: dict[str, list[Trace]] = {}
    for trace in traces:
        groups.setdefault(trace.sample, []).append(trace)
    for sample, turns in groups.items():
        turns.sort(key=lambda trace: trace.turn)
        if len({trace.turn for trace in turns}) < len(turns):
            raise ValueError(f"sample {sample!r} has the same turn twice in one run")
        if len({trace.stratum for trace in turns}) > 1:
            raise ValueError(f"sample {sample!r} has more than one stratum")
    return groups


def stratum_codes(strata: Sequence[str]) -> NDArray[np.intp]:
    """Number strata 0, 1, …; those of a single cluster share one number.

    A variance within a stratum needs two clusters. Collapsing the singletons errs on the safe
    side (Cochran, Sampling Techniques, 1977, 5A.12). Shape (clusters,).
    """
    _, codes, counts = np.unique(np.asarray(strata), return_inverse=True, return_counts=True)
    lonely = counts[codes] == 1
    codes = np.where(lonely, -1, codes)
    if int(lonely.sum()) == 1 and len(codes) > 1:
        codes = np.where(lonely, codes[~lonely][0], codes)
    dense: NDArray[np.intp] = np.unique(codes, return_inverse=True)[1]
    return dense
