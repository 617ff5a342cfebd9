"""The prompts that lost most, both outputs side by side."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

from pytest_speedbench.analysis.prompts import Decoded, PromptLoss, prompt_losses
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.escapes import shortened
from pytest_speedbench.quantities import change_of
from pytest_speedbench.report.html.evidence import NEW, OLD
from pytest_speedbench.report.texts import Texts

_MOST_PROMPTS = 8
_MOST_TOKENS = 320
_BEFORE = 80  # tokens that are shown before the first differing one
_LONGEST_PROMPT = 3000  # characters


@dataclass(frozen=True, slots=True)
class Piece:
    """Text and its class: ``d0`` or ``d1`` for accepted draft tokens of even and odd steps,
    ``differs`` for the first token that differs, empty for the target's own tokens."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Output:
    """One of the two outputs."""

    title: str
    pieces: tuple[Piece, ...]
    cut_before: bool
    cut_after: bool


@dataclass(frozen=True, slots=True)
class PromptView:
    """One prompt: a line on what it lost, its text where that is known, and both outputs."""

    title: str
    text: str
    where: str
    outputs: tuple[Output, ...]


def prompt_views(new: Record, old: Record | None, texts: Texts | None) -> list[PromptView]:
    """The prompts of ``new`` with the most lost steps against ``old``; none without requests.

    Raises:
        RecordError: a request of a record is damaged.
    """
    if old is None:
        return []
    return [_view(loss, texts) for loss in prompt_losses(old, new, _MOST_PROMPTS)]


def _view(loss: PromptLoss, texts: Texts | None) -> PromptView:
    turns = texts.prompts.get(loss.sample, ()) if texts else ()
    prompt = turns[loss.turn] if loss.turn < len(turns) else ""
    return PromptView(
        f"{loss.sample}{f', turn {loss.turn + 1}' if loss.turn else ''} ({loss.category}): "
        f"AL {loss.old.acceptance_length:.2f} → {loss.new.acceptance_length:.2f} "
        f"({change_of(loss.ratio, 0)}), {loss.lost_steps:.0f} steps lost",
        shortened(prompt, _LONGEST_PROMPT),
        _where(loss),
        tuple(
            _output(name, decoded, loss.divergence, texts)
            for name, decoded in ((OLD, loss.old), (NEW, loss.new))
        ),
    )


def _where(loss: PromptLoss) -> str:
    if not (loss.old.token_ids and loss.new.token_ids):
        return "The engine gave no token ids."
    if loss.divergence is None:
        return "Both outputs are equal as far as both reach: fewer drafts were accepted."
    return f"The outputs differ from token {loss.divergence} on (counted from 0)."


def _output(name: str, decoded: Decoded, divergence: int | None, texts: Texts | None) -> Output:
    count = len(decoded.token_ids)
    start = max(0, (divergence or 0) - _BEFORE)
    end = min(count, start + _MOST_TOKENS)
    return Output(
        f"{name}: {decoded.tokens} tokens in {len(decoded.steps)} steps",
        _pieces(decoded, divergence, range(start, end), texts),
        start > 0,
        end < count,
    )


def _pieces(
    decoded: Decoded, divergence: int | None, shown: range, texts: Texts | None
) -> tuple[Piece, ...]:
    kinds = _kinds(decoded)
    if divergence is not None and divergence < len(kinds):
        kinds[divergence] = "differs"
    window = decoded.token_ids[shown.start : shown.stop]
    pieces, done, before = [], 0, ""
    for kind, group in groupby(kinds[shown.start : shown.stop]):
        ids = window[done : (done := done + len(list(group)))]
        if texts is None:
            pieces.append(Piece(f"{' '.join(map(str, ids))} ", kind))
            continue
        # A character or a space may belong to several tokens: only the whole decodes rightly.
        text = texts.decode(window[:done]).rstrip("\ufffd")
        pieces.append(Piece(text[len(before) :], kind))
        before = text if len(text) > len(before) else before
    return tuple(pieces)


def _kinds(decoded: Decoded) -> list[str]:
    """The class of every token, shape (tokens,)."""
    kinds = [""] * decoded.prefill
    for number, length in enumerate(decoded.steps):
        kinds += [f"d{number % 2}"] * (length - 1) + [""]
    return kinds
