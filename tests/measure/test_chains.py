"""Trees of drafts have an AL and no acceptance rate, in whatever form an engine reports them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_speedbench.engines import RequestTotals, Trace
from pytest_speedbench.errors import NoData
from pytest_speedbench.measure.chains import require_chains
from pytest_speedbench.measure.results import Counted

from .test_run import run

SETTING = run().setting
CHAIN = Trace("r", 5, 0.0, chunks=[1, 3, 2], times=[0.1, 0.2, 0.3], drafted=[3, 3], accepted=[2, 1])
TOTALS = Trace("r", 5, 0.0, chunks=[6], times=[0.1], totals=RequestTotals(2, 6, 3))
COUNTED = Counted(1, 1, 5, 2, 0, drafts=2, draft_tokens=6, accepted_tokens=3)


def test_a_chain_has_a_rate() -> None:
    require_chains(SETTING, [CHAIN, TOTALS], COUNTED)
    unknown = replace(TOTALS, totals=RequestTotals())
    require_chains(SETTING, [unknown], None)


@pytest.mark.parametrize(
    "tree",
    [
        replace(CHAIN, drafted=[15, 15]),
        replace(TOTALS, totals=RequestTotals(2, 30, 3)),
    ],
)
def test_more_drafts_than_the_draft_length_are_a_tree(tree: Trace) -> None:
    with pytest.raises(NoData, match="drafts are trees"):
        require_chains(SETTING, [CHAIN, tree], None)


def test_counters_show_a_tree_too() -> None:
    with pytest.raises(NoData, match="drafts are trees"):
        require_chains(SETTING, [], replace(COUNTED, draft_tokens=30))
    require_chains(SETTING, [], replace(COUNTED, drafts=0, draft_tokens=30))  # steps unknown


def test_an_engine_that_says_so_is_believed() -> None:
    told = SETTING
    engine = replace(told.engine, details={"draft_tree": True})
    with pytest.raises(NoData, match="drafts are trees"):
        require_chains(replace(told, engine=engine), [CHAIN], None)
