"""Equal reasons of several cases are told once, with their names."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.compare.verdict import FAILING, Outcome
from pytest_speedbench.report.reasons import each_once, some

FOUND = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),
        st.sampled_from(["lost 1.5%", "lost 2%", "few samples", "n 3", "n 4"]),
        st.sampled_from([Outcome.FAIL, Outcome.UNDECIDED]),
    )
)


@given(FOUND)
def test_every_case_is_named_once_with_its_kind_of_reason(
    found: list[tuple[str, str, Outcome]],
) -> None:
    reasons = each_once(found)
    named = [(name, r.outcome) for r in reasons for name in (*r.names, *r.alike)]
    assert sorted(named) == sorted((name, outcome) for name, _, outcome in found)
    assert len({str(reason) for reason in reasons}) == len(reasons)
    assert [r.outcome in FAILING for r in reasons] == sorted(
        (r.outcome in FAILING for r in reasons), reverse=True
    )


def test_other_numbers_are_likewise() -> None:
    found = [
        ("math", "AL changed by -6.40%; about 1,250 more samples", Outcome.UNDECIDED),
        ("all", "no steps", Outcome.FAIL),
        ("qa", "AL changed by +0.10%; about 97 more samples", Outcome.UNDECIDED),
        ("rag", "AL changed by -6.40%; about 1,250 more samples", Outcome.UNDECIDED),
    ]
    assert list(map(str, each_once(found))) == [
        "fail: all: no steps",
        "undecided: math, rag: AL changed by -6.40%; about 1,250 more samples (likewise qa)",
    ]


def test_many_names_are_a_number() -> None:
    assert some("abcdefg") == "a, b, c, d and 3 more"
