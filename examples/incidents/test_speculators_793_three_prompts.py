"""speculators #793: three prompts; identical installs gave 0.073 to 0.118 against a bar of 0.1.

The nightly test asked for the share of drafts whose second token was accepted, over three prompts.
Four legs of one build passed and failed by chance. No rule can tell legs apart from three prompts:
the gate says so instead of guessing, and with enough prompts it passes all of them.
"""

from __future__ import annotations

from conftest import Measure, Tell, compare
from pytest_speedbench.baselines.packing import unpack_numbers
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.verdict import Outcome

BAR = 0.1
MARGIN = 0.1
DRAFTER = {"acceptance": "0.42:0.24:0.2", "spread": 0.2}
LEGS = 6
MANY = 160


def second_token(record: Record) -> float:
    """Share of drafts whose second token was accepted (speculators' ``acceptance_at_token_1``)."""
    accepted = [n for r in record.requests for n in unpack_numbers(r.accepted or "")]
    return sum(n >= 2 for n in accepted) / len(accepted)


def legs(measure: Measure, prompts: int) -> list[Record]:
    """Identical installs: the same drafter process, drawn anew for each leg."""
    return [
        measure({"code": prompts}, max_tokens=512, seed=seed, **DRAFTER)["all"]
        for seed in range(LEGS)
    ]


def test_three_prompts_decide_nothing(measure: Measure, tell: Tell) -> None:
    first, *others = legs(measure, 3)
    shares = [second_token(leg) for leg in (first, *others)]
    rule = ["pass" if share >= BAR else "FAIL" for share in shares]
    ours = [compare(first, leg, MARGIN) for leg in others]

    assert set(rule) == {"pass", "FAIL"}
    assert {verdict.outcome for verdict in ours} == {Outcome.UNDECIDED}
    assert all("a verdict needs at least 8" in verdict.reason for verdict in ours)
    tell(
        "speculators #793: three prompts, identical installs",
        f"second token accepted {min(shares):.3f} to {max(shares):.3f}, bar {BAR}",
        f"pass or FAIL by chance: {rule.count('pass')} of {LEGS} legs pass",
        f"undecided: {ours[0].reason}",
    )


def test_enough_prompts_pass_every_leg(measure: Measure, tell: Tell) -> None:
    first, *others = legs(measure, MANY)
    ours = [compare(first, leg, MARGIN, LEGS - 1).outcome for leg in others]
    assert set(ours) == {Outcome.PASS}
    tell(
        f"speculators #793, with {MANY} prompts",
        "the same installs",
        f"bar {BAR}: {sum(second_token(leg) >= BAR for leg in (first, *others))} of {LEGS} pass",
        f"{ours.count(Outcome.PASS)} of {len(ours)} legs pass at a margin of {MARGIN:.0%}",
    )
