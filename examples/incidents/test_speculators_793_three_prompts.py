"""speculators #793: three prompts; identical installs gave 0.073 to 0.118 against a bar of 0.1.

The nightly test asked for the share of drafts whose second token was accepted, over three prompts.
Four legs of one build passed and failed by chance. No rule can tell legs apart from three prompts:
the gate says so instead of guessing, and with enough prompts it passes all of them.
"""

from __future__ import annotations

from conftest import AddRow, Measure, Run, compare
from pytest_speedbench import Outcome

BAR = 0.1
MARGIN = 0.1
DRAFTER = {"acceptance": "0.42:0.22:0.2", "spread": 0.05}
LEGS = 4
MANY = 48


def second_token(run: Run) -> float:
    """Share of drafts whose second token was accepted (speculators' ``acceptance_at_token_1``)."""
    requests = run["code"].requests
    accepted = [int(n) for request in requests for n in (request.accepted or "").split()]
    return sum(n >= 2 for n in accepted) / len(accepted)


def legs(measure: Measure, prompts: int, count: int) -> list[Run]:
    """Identical installs: the same drafter, and numerical ties decided anew in each leg."""
    ties = {"divergence": 0.05}
    return [
        measure({"code": prompts}, max_tokens=512, build=leg, **ties, **DRAFTER)
        for leg in range(count)
    ]


def test_three_prompts_decide_nothing(measure: Measure, add_row: AddRow) -> None:
    first, *others = legs(measure, 3, LEGS)
    shares = [second_token(leg) for leg in (first, *others)]
    rule = ["pass" if share >= BAR else "FAIL" for share in shares]
    ours = [compare(first, leg, MARGIN)["code"] for leg in others]

    assert set(rule) == {"pass", "FAIL"}
    assert {verdict.outcome for verdict in ours} == {Outcome.UNDECIDED}
    assert all("a verdict needs at least 8" in verdict.reason for verdict in ours)
    add_row(
        "speculators #793: three prompts, identical installs",
        f"second token accepted {min(shares):.3f} to {max(shares):.3f}, bar {BAR}",
        f"pass or FAIL by chance: {rule.count('pass')} of {LEGS} legs pass",
        f"undecided: {ours[0].reason}",
    )


def test_enough_prompts_pass_every_leg(measure: Measure, add_row: AddRow) -> None:
    first, *others = legs(measure, MANY, 3)
    ours = [compare(first, leg, MARGIN)["code"].outcome for leg in others]
    assert set(ours) == {Outcome.PASS}
    passed = sum(second_token(leg) >= BAR for leg in (first, *others))
    add_row(
        f"speculators #793, with {MANY} prompts",
        "the same installs",
        f"bar {BAR}: {passed} of {1 + len(others)} pass",
        f"{ours.count(Outcome.PASS)} of {len(ours)} legs pass at a margin of {MARGIN:.0%}",
    )
