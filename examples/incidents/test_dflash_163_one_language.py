"""z-lab/dflash #163: one language collapses, and the mean over all hides it.

A new drafter is better in English and the larger languages, and has hardly seen Danish: there it
accepts 6 % of its drafts, and speculation makes generation slower. The mean over all prompts rises,
so a bar on the mean passes. The gate has a case per category, α divided over all of them, and names
the one that fell.
"""

from __future__ import annotations

from conftest import AddRow, Measure, acceptance_length, compare
from pytest_speedbench import Outcome

LANGUAGES = ("english", "german", "french", "spanish", "portuguese", "italian", "dutch", "danish")
PROMPTS = dict.fromkeys(LANGUAGES, 40)
MARGIN = 0.05


def test_the_language_that_collapses_is_named(measure: Measure, add_row: AddRow) -> None:
    before = measure(PROMPTS, dl=7, acceptance="0.65:0.6:0.55:0.5")
    after = measure(
        PROMPTS, dl=7, acceptance="0.75:0.72:0.7:0.65", **{"acceptance.danish": "0.3:0.15:0.05:0"}
    )

    rule_passes = acceptance_length(after["all"]) >= acceptance_length(before["all"])
    verdicts = compare(before, after, MARGIN)
    ours = {language: verdicts[language].outcome for language in LANGUAGES}

    assert rule_passes
    assert [language for language, outcome in ours.items() if outcome is Outcome.FAIL] == ["danish"]
    danish = [acceptance_length(records["danish"]) for records in (before, after)]
    means = [acceptance_length(records["all"]) for records in (before, after)]
    add_row(
        "z-lab/dflash #163: one language collapses",
        f"Danish AL {danish[0]:.2f} → {danish[1]:.2f}, seven other languages better",
        f"pass: mean AL {means[0]:.2f} → {means[1]:.2f}",
        f"fail: danish; improved: {list(ours.values()).count(Outcome.IMPROVED)} others",
    )
