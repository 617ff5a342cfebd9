"""What replay yields, as plain data: the further requests, and the tokens that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pytest_speedbench.engines.protocol import Trace

BASELINE = "the baseline"
"""Whose outputs are followed, where a run is compared with a saved one."""


@dataclass(frozen=True, slots=True)
class ResumedRequest:
    """A request whose prompt ends with the first ``start`` tokens of the baseline's output."""

    start: int
    trace: Trace


@dataclass(frozen=True, slots=True)
class ReplayDivergence:
    """A token that differs from the baseline's: after ``text``, prompt included, the build emitted
    ``token`` where the baseline has ``expected``. None where that output had ended."""

    position: int
    text: Sequence[int]
    token: int | None
    expected: int | None


@dataclass(frozen=True, slots=True)
class WrongToken:
    """A token of the new build that its own target ranks below its best one by more than a tie.

    Attributes:
        position: in the baseline's output.
        token: id of the token.
        expected: id of the baseline's.
        probability: of ``token``, by the target without SD.
        expected_probability: of ``expected``.
        ulps: the gap of ``token`` to the target's best, in units in the last place of its logits.
    """

    position: int
    token: int
    expected: int
    probability: float
    expected_probability: float
    ulps: float


@dataclass(frozen=True, slots=True)
class ReplayedTurn:
    """How the new build went along the baseline's output of one turn.

    Attributes:
        along: digest of that output (:func:`~pytest_speedbench.baselines.packing.digest_ids`).
        free: whether the free output answered the baseline's prompt, and so is the first of its
            requests; a later turn of a conversation that has diverged answered another one.
        resumed: the further requests, in order.
        given_up: why the rest is left out on both sides; empty where nothing is.
        divergences: where it differed; not kept in records.
        scored: of how many of them the target was asked.
        defects: positions in the output of those that are no numerical tie.
        wrong: those of them at which the new build's token is the one to blame.
        text: ids of that output where it is what several arms of a session follow.
        source: whose output it is; not kept in records.
    """

    along: str
    free: bool = True
    resumed: tuple[ResumedRequest, ...] = ()
    given_up: str = ""
    divergences: tuple[ReplayDivergence, ...] = field(default=(), repr=False, compare=False)
    scored: int = 0
    defects: tuple[int, ...] = ()
    wrong: tuple[WrongToken, ...] = ()
    text: tuple[int, ...] = field(default=(), repr=False)
    source: str = field(default=BASELINE, compare=False)


@dataclass(frozen=True, slots=True)
class Replay:
    """The baseline's outputs, followed: by (sample, turn). ``refused`` says why nothing was,
    ``unscored`` why the target was not asked about the tokens that differ."""

    turns: Mapping[tuple[str, int], ReplayedTurn] = field(default_factory=dict)
    refused: str = ""
    unscored: str = ""

    @property
    def requests(self) -> int:
        """How many further requests were sent."""
        return sum(len(turn.resumed) for turn in self.turns.values())

    @property
    def output_tokens(self) -> int:
        """Tokens that they decoded."""
        resumed = (request for turn in self.turns.values() for request in turn.resumed)
        return sum(request.trace.tokens for request in resumed)

    @property
    def source(self) -> str:
        """Whose outputs were followed."""
        return next((turn.source for turn in self.turns.values()), BASELINE)

    @property
    def scored(self) -> int:
        """Number of divergences about which the target was asked."""
        return sum(turn.scored for turn in self.turns.values())

    @property
    def defects(self) -> list[tuple[str, int, int]]:
        """(sample, turn, position) of those that are no numerical tie."""
        return [(*key, at) for key, turn in self.turns.items() for at in turn.defects]

    @property
    def prompt_tokens(self) -> int:
        """Tokens of their prompts."""
        resumed = (request for turn in self.turns.values() for request in turn.resumed)
        return sum(request.trace.prompt_tokens for request in resumed)
