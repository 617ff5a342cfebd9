"""The agentic splits: what ships, how scripts become sessions, and how long they are."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_speedbench.splits import Split, SplitError, data_dir, list_splits, load_split
from pytest_speedbench.splits import agentic as package
from pytest_speedbench.splits.agentic import ANSWER_TOKENS, CATEGORIES, LENGTHS, load_agentic
from pytest_speedbench.splits.agentic.script import KINDS, estimate_tokens, parse
from pytest_speedbench.splits.check import duplicates
from pytest_speedbench.splits.loading import AGENTIC, split_slices


@pytest.fixture(scope="module")
def splits() -> dict[str, Split]:
    return {name: load_split(name) for name in LENGTHS}


def test_56_sessions_of_four_categories_and_eight_scenarios(splits: dict[str, Split]) -> None:
    assert tuple(LENGTHS) == AGENTIC
    for name, split in splits.items():
        assert split.slices == split_slices(name) == tuple(CATEGORIES)
        assert [len(split.select(category)) for category in CATEGORIES] == [14] * 4
        assert len({s.sub_category for s in split.samples}) == 8
        assert len({s.id for s in split.samples}) == 56
        assert all(6 <= len(s.turns) <= 12 for s in split.samples)
        assert split.licence == "Apache-2.0"
        first = [s.sub_category for s in split.select("coding", 4)]
        assert first == ["debugging", "refactoring"] * 2  # a small draw has both


def test_all_share_one_long_system_prompt_with_the_tools(splits: dict[str, Split]) -> None:
    (system,) = {s.system for split in splits.values() for s in split.samples}
    assert system is not None
    assert estimate_tokens(system) > 1000
    tools = {
        turn.split("\n")[i + 1].removeprefix("name: ")
        for s in splits["agentic_8k"].samples
        for turn in s.turns
        for i, line in enumerate(turn.split("\n"))
        if line == "<tool_result>"
    }
    assert len(tools) >= 12
    assert all(f"\n{tool} {{" in system for tool in tools)


def test_sessions_fit_their_length_with_short_answers(splits: dict[str, Split]) -> None:
    for name, length in LENGTHS.items():
        sizes = []
        for s in splits[name].samples:
            text = estimate_tokens(s.system or "") + sum(map(estimate_tokens, s.turns))
            sizes.append(text + ANSWER_TOKENS * len(s.turns))
        assert max(sizes) <= length
        assert max(sizes) >= 0.9 * length  # one reaches the length
    assert len({round(size, -3) for size in sizes}) > 4  # and the others vary


def test_every_session_has_tool_results_and_results_are_closed(splits: dict[str, Split]) -> None:
    for s in itertools.chain(*(split.samples for split in splits.values())):
        results = [turn for turn in s.turns if turn.startswith("<tool_result>")]
        assert len(results) >= 2, s.id
        assert all(t.count("<tool_result>") == t.count("</tool_result>") for t in s.turns), s.id
        assert not s.turns[0].startswith("<tool_result>"), s.id
        assert "<<" not in "".join(t for t in s.turns if "python - <<" not in t), s.id


def test_a_shorter_session_has_the_beginnings_of_a_longer_ones_results(
    splits: dict[str, Split],
) -> None:
    for short, long in zip(splits["agentic_8k"].samples, splits["agentic"].samples, strict=True):
        assert short.id == long.id
        for less, more in zip(short.turns, long.turns, strict=True):
            lines = iter(more.split("\n"))
            assert all(line in lines for line in less.split("\n"))  # in order


def test_no_two_turns_are_alike(splits: dict[str, Split]) -> None:
    split = splits["agentic"]
    assert duplicates(split.samples) == ()
    turns = [turn for s in split.samples for turn in s.turns]
    assert len(set(turns)) == len(turns)
    long = [line for turn in turns for line in set(turn.split("\n")) if len(line) > 60]
    assert len(set(long)) > 0.95 * len(long)


def test_the_listing_and_the_digests(splits: dict[str, Split]) -> None:
    listed = {line.name: line for line in list_splits()}
    for name, split in splits.items():
        assert (listed[name].samples, listed[name].digest) == (56, split.digest)
    assert len({split.digest for split in splits.values()}) == 3
    assert load_split("agentic_8k:data").digest == splits["agentic_8k"].digest


def test_changed_scripts_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(data_dir() / "agentic", tmp_path / "agentic")
    path = tmp_path / "agentic" / "triage.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("Monday", "Tuesday"))
    monkeypatch.setattr(package, "data_dir", lambda: tmp_path)
    load_agentic.cache_clear()
    with pytest.raises(SplitError, match=r"'agentic_8k': its scripts do not match the digest"):
        load_split("agentic_8k")
    (tmp_path / "agentic" / "split.json").write_text("{")
    with pytest.raises(SplitError, match=r"'agentic': cannot read .*split\.json"):
        load_split("agentic_8k")


# --- scripts -------------------------------------------------------------------------------------

SCRIPT = """## one
@user
Look at this.
@tool read_file {"path": "a.py"}
before

<<source words=cat,dog lang=LANG weight=2>>
after
@also git {"arguments": ["log"]}
<<commits words=cat,dog>>
@then
And now?

Really.
@user
Thanks.
## two
@user
Hello.
"""


def test_a_script_becomes_turns() -> None:
    one, two = parse(SCRIPT.replace("LANG", "go"))
    assert (one.id, two.id, len(one.turns)) == ("one", "two", 3)
    first, second, third = one.render(6000)
    assert (first, third, two.render(100)) == ("Look at this.", "Thanks.", ("Hello.",))
    head, _, rest = second.partition("\n\nbefore\n\n")
    assert head == '<tool_result>\nname: read_file\narguments: {"path": "a.py"}'
    code, _, rest = rest.partition("\nafter\n</tool_result>\n<tool_result>\nname: git\n")
    assert code.startswith("// ")
    assert rest.endswith("</tool_result>\n\nAnd now?\n\nReally.")
    log = rest.partition("\n\n")[2].partition("\n</tool_result>")[0]
    assert estimate_tokens(code) > 1.3 * estimate_tokens(log)  # by their weights


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("<<sauce words=a,b>>", "line 3: unknown kind of output 'sauce'"),
        ('@tool git {"a": }', "line 3: Expecting value"),
    ],
)
def test_a_script_that_cannot_be_read_names_the_line(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(f"## x\n@user\n{line}\n")


@settings(max_examples=3 * len(KINDS))
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 99), st.floats(10, 1500))
def test_generated_output_is_seeded_and_more_begins_with_less(
    kind: str, seed: int, tokens: float
) -> None:
    text = f"## s{seed}\n@tool git {{}}\n<<{kind} words=index,batch,entry,address>>\n"
    (session,) = parse(text)
    (less,), (more,) = session.render(tokens), session.render(2 * tokens)
    assert session.render(tokens) == (less,)
    body, close = less[: -len("</tool_result>")].rstrip("\n"), "</tool_result>"
    assert less.endswith(close)
    assert more.startswith(body)
    assert "indexs" not in less
    assert "{" not in less.replace("{}", "") or kind in ("events", "source", "queries", "changes")


def test_the_card_counts_what_there_is() -> None:
    card = json.loads((data_dir() / "agentic" / "split.json").read_text(encoding="utf-8"))
    assert card["categories"] == dict.fromkeys(CATEGORIES, 14)
    assert set(card["digests"]) == set(LENGTHS)
