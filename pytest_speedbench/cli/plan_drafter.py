"""The second run of ``speedbench plan``: a rebuild, or another checkpoint of the drafter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pytest_speedbench.cli.arguments import find_run
from pytest_speedbench.errors import NoData

if TYPE_CHECKING:
    from pytest_speedbench.baselines.schema import Record
    from pytest_speedbench.baselines.storage import SavedRun, Store
    from pytest_speedbench.stats import Pairs


@dataclass(frozen=True, slots=True)
class SecondRun:
    """What is known of how two builds, or two checkpoints of a drafter, differ.

    ``other`` is a second run; None: a typical spread of two checkpoints is assumed. ``retrained``:
    its drafter is another checkpoint than the baseline's.
    """

    other: SavedRun | None
    retrained: bool

    @classmethod
    def of(cls, store: Store, reference: str, *, retrained: bool) -> SecondRun:
        """The run that ``reference`` names, if it names one."""
        return cls(find_run(store, reference) if reference else None, retrained)

    def pairs(self, record: Record) -> Pairs:
        """The case of ``record`` in both runs, as if AL were the same.

        Raises:
            NoData: the other run has no such case, or nothing in common with it.
        """
        from pytest_speedbench.baselines.records import traces_of
        from pytest_speedbench.compare.match import identity_of, match_in
        from pytest_speedbench.compare.replay import replayed_between
        from pytest_speedbench.stats import pair
        from pytest_speedbench.stats.retrained import (
            TYPICAL_SPREAD,
            assumed_checkpoints,
            at_equal_al,
        )

        traces = traces_of(record)
        if self.other is None:
            return assumed_checkpoints(traces, TYPICAL_SPREAD)
        match = match_in(self.other, identity_of(record))
        if match.record is None or match.incomparable:
            why = "; ".join(match.incomparable) or match.nearest
            raise NoData(f"run {self.other.number} has no record to pair it with: {why}")
        found = pair(traces, traces_of(match.record), greedy=not record.sampling.temperature)
        return at_equal_al(replace(found, replay=replayed_between(record, match.record)))

    def spread(self, record: Record) -> float:
        """Standard deviation over samples of the log of AL new / AL old.

        Raises:
            NoData: as :meth:`pairs`.
        """
        from pytest_speedbench.stats.retrained import spread_over_samples

        return spread_over_samples(self.pairs(record).whole)

    def explain(self, record: Record) -> Iterator[str]:
        """What a reader must know of a plan for checkpoints; ``record`` has most samples."""
        how = f"measured against {self.other}" if self.other else "assumed: --against RUN measures"
        try:
            yield (
                "A retrained drafter drafts some prompts better and others worse, even at the same "
                f"AL: by {self.spread(record):.0%} from prompt to prompt ({how}). The samples "
                "above average that out; a rebuilt engine needs far fewer."
            )
        except NoData as error:
            yield f"no spread between two checkpoints: {error.reason}"
