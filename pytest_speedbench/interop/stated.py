"""What a user or a tool states of a run, against what the file itself counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pytest_speedbench.engines.protocol import UNKNOWN_METHOD, Trace
from pytest_speedbench.engines.registry import engine_names
from pytest_speedbench.errors import ForeignFileError
from pytest_speedbench.interop.foreign import ForeignRun, Given
from pytest_speedbench.interop.foreign_file import ForeignFile

# The engine that stands for any server with this API.
_ANY_SERVER: Final = "openai"
_ROUNDED: Final = 0.0051
"""How far apart two averages may be of which one is rounded to two digits."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What a user states of the run in a file, over what the file says.

    Attributes:
        split: the prompts that it was measured on, as in ``--speed-split``; None: those of the
            file.
        case: parts of the key, and ``max_tokens``: name → value.
    """

    split: str | None = None
    case: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @property
    def given(self) -> Given:
        """What the conversion of counts may depend on."""
        method, length = self.case.get("method"), self.case.get("dl")
        return Given(
            str(method) if method else UNKNOWN_METHOD, length if isinstance(length, int) else 0
        )


def contradiction(name: str, stated: float, counted: float) -> Iterator[str]:
    """A note where an average that a tool states is not the one of the numbers beside it."""
    if not abs(stated - counted) <= _ROUNDED:
        yield (
            f"{name} says {stated:.3f}, and the numbers beside it give {counted:.3f}: was the file "
            "edited?"
        )


def refuse_no_method(file: ForeignFile, given: Given) -> None:
    """For a file that counts drafts.

    Raises:
        ForeignFileError: the user says that there were none.
    """
    if given.method == "none":
        raise ForeignFileError(f"{file} counts drafts, and --method says none")


def refuse_contradictions(found: ForeignRun, source: Path, stated: Stated) -> None:
    """Compares what a user states with the names and the requests in a file.

    Raises:
        ForeignFileError: the file says something else; the message names both.
    """
    for name, value in stated.case.items():
        given = found.known.get(name, value)
        if given != value:
            option = f"--{name.replace('_', '-')}"
            raise ForeignFileError(f"{source} says {name} {given}, and {option} says {value}")
    _refuse_another_model(found, source, stated)
    _refuse_another_engine(found, source, stated)
    for request in found.requests:
        if problem := next(_beyond(request.trace, stated), None):
            raise ForeignFileError(f"{source}: request {request.sample!r} {problem}")


def _refuse_another_model(found: ForeignRun, source: Path, stated: Stated) -> None:
    """The folder before a model's name may be another one here."""
    named, given = found.labels.get("model", ""), stated.case.get("model")
    if given is None or not named or _last(named) == _last(str(given)):
        return
    raise ForeignFileError(
        f"{source} names the model {named}, and --model says {given}; where {named} is another "
        "name of it, leave --model out: the model is then not compared"
    )


def _refuse_another_engine(found: ForeignRun, source: Path, stated: Stated) -> None:
    """``vllm`` may be our ``vllm`` or ``vllm-server``, and any server may be called ``openai``."""
    named, given = found.labels.get("engine", ""), str(stated.case.get("engine", ""))
    known = named in engine_names() and given not in ("", _ANY_SERVER)
    if known and not given.startswith(named):
        raise ForeignFileError(f"{source} names the engine {named}, and --engine says {given}")


def _last(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2].casefold()


def _beyond(trace: Trace, stated: Stated) -> Iterator[str]:
    """What a request has and cannot have where what is stated is true."""
    given, most = stated.given, stated.case.get("max_tokens")
    step, draft, length = longest_step(trace), _longest_draft(trace), given.draft_length
    if given.method == "none" and (step > 1 or draft):
        yield f"has steps of several tokens, or drafts, and --method says {given.method}"
    if length and step > length + 1:
        yield f"has a step of {step} tokens, and a step emits at most {length + 1} at --dl {length}"
    if length and draft > length:
        yield f"has a draft of {draft} tokens, and --dl says {length}"
    if isinstance(most, int) and trace.tokens > most:
        yield f"has {trace.tokens} output tokens, and --max-tokens says {most}"


def longest_step(trace: Trace) -> int:
    """Tokens of the longest step; at least so many, where only the sums of a request are known."""
    if trace.totals is None:
        return max(trace.steps, default=0)
    steps, decoded = trace.totals.steps, trace.tokens - trace.prefill_tokens
    return -(-decoded // steps) if steps else 0


def _longest_draft(trace: Trace) -> int:
    """Tokens of the longest draft; at least so many, as for :func:`longest_step`."""
    if trace.totals is None:
        return max(trace.drafted or (), default=0)
    steps, drafted = trace.totals.steps, trace.totals.draft_tokens
    return -(-drafted // steps) if steps and drafted else 0
