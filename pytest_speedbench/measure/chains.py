"""Whether proposed draft tokens form chains: only then is there a rate at which they are accepted.

Of the nodes of a tree at most one path can be accepted, so accepted over proposed says nothing
about the drafter, and is not comparable with the rate of a chain. A number of drafts per step above
the draft length shows a tree, whatever the method is called.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_speedbench.engines.protocol import Trace
from pytest_speedbench.errors import NoData
from pytest_speedbench.measure.results import Counted, RunSetting

TREE = "drafts are trees: at most one path of their nodes can be accepted, so there is no rate"


def require_chains(setting: RunSetting, traces: Iterable[Trace], counted: Counted | None) -> None:
    """Checks that a share of accepted draft tokens means something.

    Raises:
        NoData: the engine says that it drafts trees, or drafts more tokens a step than the draft
            length.
    """
    length = setting.speculation.draft_length
    if setting.engine.details.get("draft_tree"):
        raise NoData(TREE)
    if counted is not None and counted.draft_tokens > length * counted.drafts > 0:
        raise NoData(TREE)
    if any(_branches(trace, length) for trace in traces):
        raise NoData(TREE)


def _branches(trace: Trace, length: int) -> bool:
    if trace.drafted is not None:
        return max(trace.drafted, default=0) > length
    steps, drafted = trace.decoding_steps, trace.totals and trace.totals.draft_tokens
    return bool(steps and drafted and drafted > length * steps)
