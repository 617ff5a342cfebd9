"""sglang #34145: AL "fell", because the output stopped at 775 of 2,048 tokens.

Long answers repeat themselves and are easier to draft the longer they get. A run that stops early
keeps only the hard beginning, and its mean AL is lower with nothing wrong in the drafter. The rule
in force compared that mean with a fixed bar. The gate also compares both runs on the text that they
have in common, where every step is the same, and does not fail.
"""

from __future__ import annotations

import re

from conftest import AddRow, Measure, acceptance_length, compare
from pytest_speedbench import Outcome

MARGIN = 0.1
PROMPTS = {"chat": 120}
DRAFTER = {"acceptance": "0.55:0.5:0.45", "rise": 1.5}


def test_a_shorter_output_is_no_regression(measure: Measure, add_row: AddRow) -> None:
    before = measure(PROMPTS, max_tokens=2048, tokens=1_000_000, **DRAFTER)
    after = measure(PROMPTS, max_tokens=2048, tokens=775, **DRAFTER)

    old, new = acceptance_length(before["chat"]), acceptance_length(after["chat"])
    bar = (1 - MARGIN) * old
    rule_fails = new < bar
    ours = compare(before, after, MARGIN)["chat"]

    assert rule_fails
    assert ours.outcome in (Outcome.PASS, Outcome.UNDECIDED)
    common = re.search(r"common prefixes lost at most ([\d.]+)%", ours.reason)
    assert common is not None
    assert float(common[1]) < 0.5
    add_row(
        "sglang #34145: the output stopped at 775 of 2,048 tokens",
        f"same drafter; mean AL {old:.2f} → {new:.2f}",
        f"FAIL: {new:.2f} is below the bar of {bar:.2f}",
        f"{ours.outcome}: on the common text AL lost at most {common[1]}%",
    )
