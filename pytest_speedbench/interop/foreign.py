"""What a file of another tool holds, in our terms: requests, or totals that give a threshold."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from pytest_speedbench.engines.protocol import UNKNOWN_METHOD, Trace

Known: TypeAlias = Mapping[str, str | int | float | bool]
"""Parts of a case's key and of its sampling, by their names in a record, that a file states."""
_WHOLE: Final = re.compile(r"(?:^|:)all(?: |$)")
"""Names of averages over all samples: ``all``, and those that our exports give."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a user states of a run, where its conversion depends on it and the file is silent.

    Attributes:
        method: of speculative decoding; ``unknown`` where not stated.
        draft_length: 0 where not stated.
    """

    method: str = UNKNOWN_METHOD
    draft_length: int = 0


@dataclass(frozen=True, slots=True)
class ForeignRequest:
    """One request.

    Attributes:
        sample: the tool's id of the conversation.
        trace: its tokens and steps, in our definitions.
        turn: turn of the conversation, from 0.
        turns: user messages of the whole conversation; empty where the file does not hold them.
        system: system prompt of the conversation.
        category: of the prompt; empty where the file does not say it.
    """

    sample: str
    trace: Trace
    turn: int = 0
    turns: tuple[str, ...] = ()
    system: str | None = None
    category: str = ""


@dataclass(frozen=True, slots=True)
class ForeignRun:
    """Requests one by one: they can be paired with those of a run.

    Attributes:
        tool: what wrote the file.
        requests: shape (requests,), those that were answered.
        known: what the file says of the case.
        labels: names of engine and model in the file, which need not be ours: shown, not compared.
        version: of the tool; empty where unknown.
        engine_version: of the engine; empty where unknown.
        last_steps: whether the last step of each request is among its steps.
        hidden: decoding steps that cut-off last steps may hide, over all requests.
        notes: what was left out, and what limits the numbers.
        prompts_file: name of the file that the tool writes the prompts to, beside this one.
    """

    tool: str
    requests: Sequence[ForeignRequest]
    known: Known = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    engine_version: str = ""
    last_steps: bool = True
    hidden: int = 0
    notes: tuple[str, ...] = ()
    prompts_file: str = ""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One AL without its requests, so that nothing can be paired with it.

    Attributes:
        name: what it belongs to, in the words of the file.
        acceptance_length: tokens per decoding step.
        n: requests behind it; None where the file does not say.
        least: lower limit that the file itself sets; None where it sets none.
        stated: the tool's own average, where its definition is another one.
        interval: of AL at 95%; None where the uncertainty is unknown.
        source: the tool whose definition the AL has, where it cannot be converted; empty for ours.
    """

    name: str
    acceptance_length: float
    n: int | None = None
    least: float | None = None
    stated: float | None = None
    interval: tuple[float, float] | None = None
    source: str = ""

    @property
    def limit(self) -> float:
        """What a test can assert: the limit that the file sets, else the lower end of the interval,
        else AL."""
        lower = self.interval[0] if self.interval else self.acceptance_length
        return lower if self.least is None else self.least


@dataclass(frozen=True, slots=True)
class ForeignTotals:
    """Averages of whole runs.

    Attributes:
        tool: what wrote the file.
        thresholds: shape (averages,).
        counting: how the tool counts, and how that was converted.
        notes: what cannot be converted, and what limits the numbers.
        depends_on: what a user may state because the conversion depends on it: ``method``, ``dl``.
    """

    tool: str
    thresholds: Sequence[Threshold]
    counting: str
    notes: tuple[str, ...] = ()
    depends_on: frozenset[str] = frozenset()

    @property
    def uncertain(self) -> int:
        """How many averages have no interval."""
        return sum(threshold.interval is None for threshold in self.thresholds)

    @property
    def suggested(self) -> Threshold:
        """The one for an assert: that of ``all`` where there is one; of several the smallest."""
        whole = [t for t in self.thresholds if _WHOLE.search(t.name)]
        return min(whole or self.thresholds, key=lambda threshold: threshold.limit)


Foreign: TypeAlias = ForeignRun | ForeignTotals
