"""What a session will cost before it starts, and how many samples fit into a budget."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pytest_speedbench.baselines.measured import RoundRecord
from pytest_speedbench.compare.match import Match
from pytest_speedbench.compare.planning import Outlook, plan_case
from pytest_speedbench.errors import NoData, SpeedbenchError, UsageError, count_of
from pytest_speedbench.measure.rounds import plan_parts
from pytest_speedbench.plan.cases import Case, RunKey
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH, ALL_SAMPLES
from pytest_speedbench.quantities import about
from pytest_speedbench.session.speed_session import SpeedSession
from pytest_speedbench.splits import ALL
from pytest_speedbench.stats import Rule

Arm = Literal["rounds", "reference_rounds"]
"""The field of a record that holds the rounds of an arm."""
MOST_SAMPLES = 80
"""Samples of each category at which the search for a budget's number begins, to go down."""


@dataclass(frozen=True, slots=True)
class Cost:
    """An estimate before anything is measured; engine starts, warm-up and replay are not in it.

    Attributes:
        requests: of all passes and arms.
        tokens: output tokens, at most.
        seconds: at the speed of the saved runs; None where one of the runs has none.
        passes: passes that one arm makes over the samples.
        baseline: the saved runs whose speed is taken.
        simulated: whether that is the declared speed of a simulated engine.
    """

    requests: int = 0
    tokens: int = 0
    seconds: float | None = 0.0
    passes: int = 1
    baseline: str = ""
    simulated: bool = False

    def __str__(self) -> str:
        rounds = f" in {self.passes} rounds" if self.passes > 1 else ""
        text = (
            f"{count_of(self.requests, 'request')}{rounds}, at most {self.tokens:,} output tokens"
        )
        if self.seconds is None:
            return f"{text}; the time is unknown without a saved run of each case"
        kind = " of simulated time" if self.simulated else ""
        return f"{text}; about {duration(self.seconds)}{kind} at the speed of {self.baseline}"


def duration(seconds: float) -> str:
    """``95.2`` → ``1.6 min``."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


class Costs:
    """The cost of a session's plan, for any number of samples of each category."""

    def __init__(self, session: SpeedSession) -> None:
        self._session = session
        self._settings: Settings = session.settings
        self._runs = [run for run in session.inputs.plan if not run.soak]

    @cached_property
    def _baselines(self) -> dict[RunKey, Match]:
        return {run: self._baseline(run) for run in self._runs}

    def _baseline(self, run: RunKey) -> Match:
        """A saved record of the run with its rounds, of any of its slices."""
        for name in (ALL, *self._session.inputs.plan[run]):
            with suppress(SpeedbenchError):  # raised again by the test that needs it
                match = self._session.baselines.find(self._session.identity(Case(run, name)))
                if match.record is not None and match.record.rounds:
                    return match
        return Match()

    def requests(self) -> int:
        """Requests of all passes and arms."""
        return sum(self._sent(run, None) for run, _ in self._arms())

    def of(self, samples: int | None = None) -> Cost:
        """The cost with at most ``samples`` of each category; None: as many as were asked for."""
        requests = tokens = 0
        seconds: float | None = 0.0
        for run, arm in self._arms():
            sent = self._sent(run, samples)
            requests += sent
            tokens += sent * run.sampling.max_tokens
            took = self._seconds(run, arm, sent)
            seconds = None if seconds is None or took is None else seconds + took
        matches = self._baselines.values()
        names = dict.fromkeys(match.run.number for match in matches if match.run)
        passes = max(1, self._settings.rounds)
        simulated = any(m.record.engine.simulated for m in matches if m.record)
        return Cost(
            requests=requests,
            tokens=tokens,
            seconds=seconds,
            passes=passes,
            baseline=", ".join(names),
            simulated=simulated,
        )

    def _arms(self) -> Iterable[tuple[RunKey, Arm]]:
        """Every run, and each arm without SD once."""
        known = set(self._runs)
        for run in self._runs:
            yield run, "rounds"
            if self._settings.rounds and run.base() not in known:
                known.add(run.base())
                yield run, "reference_rounds"

    def _sent(self, run: RunKey, samples: int | None) -> int:
        """Requests of all passes of one arm."""
        chosen = self._session.inputs.samples(run, samples)
        rounds = plan_parts(chosen, run.bs, self._settings.rounds, by_slice=False)
        return sum(max(1, len(s.turns)) for parts in rounds for part in parts for s in part.samples)

    def _seconds(self, run: RunKey, arm: Arm, requests: int) -> float | None:
        record = self._baselines[run].record
        if record is None:
            return None
        measured: Sequence[RoundRecord] = getattr(record, arm) or record.rounds
        tokens = sum(r.tokens for r in record.requests) / max(1, len(record.requests))
        tps = sum(r.tokens for r in measured) / sum(r.seconds for r in measured)
        return requests * tokens / tps

    def keep_within(self, budget: float) -> list[str]:
        """Takes as many samples as ``budget`` seconds leave room for; lines that say so.

        Raises:
            UsageError: as :meth:`fitting`.
        """
        count = self.fitting(budget)
        self._session.inputs.most_samples = count
        samples = count_of(count, "sample")
        line = f"--speed-budget {duration(budget)}: at most {samples} of each category"
        return [line, *self.undecided(count)]

    def fitting(self, budget: float) -> int:
        """The most samples of each category with which the session takes ``budget`` seconds.

        Raises:
            UsageError: not even one does, or no saved run says how fast the cases are.
        """
        option = f"--speed-budget {duration(budget)}"
        if self.of(1).seconds is None:
            raise UsageError(
                f"{option}: no saved run says how fast these cases are; save one first "
                "(--benchmark-autosave), or choose --speed-samples"
            )
        for count in range(self._most(), 0, -1):
            seconds = self.of(count).seconds
            if seconds is not None and seconds <= budget:
                return count
        least = self.of(1).seconds or 0.0
        raise UsageError(
            f"{option}: one sample of each category takes about {duration(least)}; give more, or "
            "choose fewer cases (--speed-category, --speed-bs, --speed-rounds)"
        )

    def _most(self) -> int:
        asked = [MOST_SAMPLES if r.samples == ALL_SAMPLES else r.samples for r in self._runs]
        return max(asked, default=1)

    def undecided(self, samples: int) -> list[str]:
        """Cases over all samples that so many of each category are not enough for."""
        found = []
        gate = self._session.gate
        for run, match in self._baselines.items():
            record = match.record
            margin = gate.margins(run.speculation.method, ALL).get(ACCEPTANCE_LENGTH)
            if record is None or margin is None or not run.speculation.active:
                continue
            family, reach = gate.judge.family, gate.judge.reach
            rule = Rule(margin, family.alpha, fail_alpha=family.share, reach=reach)
            try:
                needed = plan_case(record, rule, Outlook(replay=self._settings.replay)).pass_samples
            except NoData:
                continue
            have = len(self._session.inputs.samples(run, samples))
            if needed is None or needed > have:
                more = f"about {about(needed):,}" if needed else "more than 4,096"
                found.append(f"{run}: {have} samples, a pass within {margin:.0%} needs {more}")
        return found
