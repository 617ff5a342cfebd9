"""Prompts that lost most: both outputs, step by step, as text or as token ids."""

from __future__ import annotations

from html import unescape

from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.analysis.prompts import Decoded
from pytest_speedbench.baselines.packing import pack_ids
from pytest_speedbench.report.html.prompts import _pieces, prompt_views
from pytest_speedbench.report.texts import Texts
from tests.compare.saved_runs import record


def pair(text: str):
    """Two records whose only output spells ``text``, a byte a token, and then differs."""
    ids = [*text.encode()][:47]
    ids += [46] * (48 - len(ids))
    old, new = record(samples=[1], accept=0.9), record(samples=[1], accept=0.1)
    for one, own in ((old, ids), (new, [*ids[:30], 33, *ids[31:]])):
        one.requests[0] = one.requests[0].model_copy(update={"ids": pack_ids(own)})
    return old, new


def decode(ids) -> str:
    return bytes(ids).decode("utf-8", errors="replace")


def test_outputs_are_token_ids_without_a_tokenizer() -> None:
    old, new = pair("hello")
    (view,) = prompt_views(new, old, None)
    assert view.outputs[0].pieces[0].text.startswith("104")
    assert view.text == ""
    assert "differ from token 30 on" in view.where


def test_the_first_differing_token_is_marked_on_both_sides() -> None:
    old, new = pair("hello")
    (view,) = prompt_views(new, old, Texts(decode, {"s1": ("Say **hello** <b>",)}))
    marked = [[p.text for p in out.pieces if p.kind == "differs"] for out in view.outputs]
    assert marked == [["."], ["!"]]
    assert view.text == "Say **hello** <b>"


def test_no_baseline_has_no_prompts() -> None:
    assert prompt_views(record(), None, None) == []


@given(st.text(max_size=30), st.lists(st.integers(1, 4), min_size=1, max_size=30))
def test_pieces_are_the_whole_text_whatever_the_steps(text: str, steps: list[int]) -> None:
    raw = text.encode(errors="replace")
    lengths = []
    while sum(lengths) < len(raw):
        lengths.append(min(steps[len(lengths) % len(steps)], len(raw) - sum(lengths)))
    decoded = Decoded(tuple(raw), 0, tuple(lengths), len(raw), 1.0)
    pieces = _pieces(decoded, None, range(len(raw)), Texts(decode))
    shown = "".join(piece.text for piece in pieces)
    assert shown.rstrip("\ufffd") == decode(raw).rstrip("\ufffd")


def test_steps_alternate_and_the_last_token_of_each_is_the_targets_own() -> None:
    decoded = Decoded(tuple(b"abcdefg"), 1, (3, 1, 2), 7, 2.0)
    pieces = _pieces(decoded, None, range(7), Texts(decode))
    assert [(p.text, p.kind) for p in pieces] == [
        ("a", ""),
        ("bc", "d0"),
        ("de", ""),
        ("f", "d0"),
        ("g", ""),
    ]
    assert unescape("".join(p.text for p in pieces)) == "abcdefg"
