"""The options of a request are obeyed: length, stop tokens, cancelling."""

from __future__ import annotations

import pytest

from pytest_speedbench.conformance.contract import broken
from pytest_speedbench.conformance.same_output import same_output
from pytest_speedbench.conformance.subject import TOKENS, Subject
from pytest_speedbench.engines.protocol import Request, Sampling, Speculation, Trace
from pytest_speedbench.errors import EngineDied, EngineError

# Long enough to be still running when it is cancelled, even on a virtual clock.
_LONGEST = 200_000
_SHORT = 4


def test_output_ends_at_its_own_end_or_at_max_tokens(
    subject: Subject, speculation: Speculation
) -> None:
    sampling = Sampling(2 * TOKENS)
    requests = [subject.request(number, speculation, sampling) for number in range(4)]
    for trace in subject.send(speculation, requests, subject.batch_of(speculation)):
        full = trace.tokens == sampling.max_tokens
        if trace.finish_reason == "length" and not full:
            broken(
                "stop-and-length",
                f"{trace.request_id}: {sampling.max_tokens} tokens where the reason is 'length'",
                f"{trace.tokens}",
            )
        if trace.finish_reason not in ("stop", "length") or trace.tokens > sampling.max_tokens:
            broken(
                "stop-and-length",
                f"'stop' or 'length' within {sampling.max_tokens} tokens",
                f"{trace.finish_reason!r} after {trace.tokens}",
            )


@pytest.mark.parametrize("more", [0, 1, "draft"])
def test_max_tokens_is_exact(subject: Subject, speculation: Speculation, more: int | str) -> None:
    """One token, which needs no decoding step; two; and one more than a whole draft."""
    count = speculation.draft_length + 3 if more == "draft" else 1 + int(more)
    subject.reference(speculation)  # sets fixed_length
    request = subject.request(0, speculation, Sampling(count, ignore_eos=subject.fixed_length))
    (trace,) = subject.send(speculation, [request])
    ended = not subject.fixed_length and trace.finish_reason == "stop" and trace.tokens <= count
    if not ended and (trace.tokens, trace.finish_reason) != (count, "length"):
        broken(
            "stop-and-length",
            f"{count} tokens and 'length' with max_tokens={count}",
            f"{trace.tokens} and {trace.finish_reason!r}",
        )


def test_a_stop_token_ends_the_output_and_is_part_of_it(
    subject: Subject, speculation: Speculation
) -> None:
    stop, at, expected = _stop(subject, speculation)
    request = subject.request(0, speculation, Sampling(TOKENS), (stop,))
    (trace,) = subject.send(speculation, [request])
    if trace.finish_reason != "stop":
        broken(
            "stop-and-length",
            f"'stop' at token {stop}, which comes at position {at}",
            f"{trace.finish_reason!r} after {trace.tokens} tokens, "
            f"{stop} {'is' if stop in trace.token_ids else 'is not'} among them",
        )
    if trace.token_ids[-1:] != [stop] or stop in trace.token_ids[:-1]:
        broken("stop-and-length", f"an output that ends with {stop}, once", f"{trace.token_ids}")
    what = "up to the stop token"
    same_output(subject, speculation, [request], [trace], [expected], what, "stop-and-length")


def test_ignore_eos_runs_through_stop_tokens(subject: Subject, speculation: Speculation) -> None:
    stop, _, _ = _stop(subject, speculation)
    sampling = Sampling(TOKENS, ignore_eos=True)
    trace = _asked(subject, speculation, sampling, (stop,))
    if (trace.tokens, trace.finish_reason) != (TOKENS, "length"):
        broken(
            "stop-and-length",
            f"{TOKENS} tokens and 'length' with ignore_eos",
            f"{trace.tokens} and {trace.finish_reason!r}",
        )


def test_min_tokens_delays_the_end(subject: Subject, speculation: Speculation) -> None:
    stop, at, _ = _stop(subject, speculation)
    least = at + 3
    trace = _asked(subject, speculation, Sampling(TOKENS, min_tokens=least), (stop,))
    if trace.tokens < least:
        broken("stop-and-length", f"min_tokens={least} or more", f"{trace.tokens} tokens")


def _asked(
    subject: Subject, speculation: Speculation, sampling: Sampling, stop_ids: tuple[int, ...]
) -> Trace:
    """The trace under an option that a strict server may refuse: that is a skip."""
    request = subject.request(0, speculation, sampling, stop_ids)
    try:
        return subject.attempt(subject.engine(speculation), [request])[0]
    except EngineDied as error:
        subject.close()
        broken("every-request-comes-back", "its output", str(error))
    except EngineError as error:
        pytest.skip(f"engine {subject.name} refuses it: {error}")


def _stop(subject: Subject, speculation: Speculation) -> tuple[int, int, Trace]:
    """A token of the first prompt's output, its first position, and the output up to it."""
    if subject.adapter.prompt_form == "chat":
        pytest.skip("a chat server stops at its own tokens only")
    ids = subject.reference(speculation).traces[0].token_ids
    if not ids:
        pytest.skip(f"engine {subject.name} reports no token ids")
    for at in range(2, len(ids) // 2):
        if ids[at] not in ids[:at]:
            return ids[at], at, Trace("expected", 0, 0.0, ids[: at + 1], [at + 1], [0.0])
    pytest.skip("the output of the first prompt repeats one token: no stop token to choose")


# -- requests that cannot run -----------------------------------------------------------------


def test_an_empty_prompt_is_answered_or_refused(subject: Subject, speculation: Speculation) -> None:
    """An engine that adds a begin-of-sequence token may answer."""
    request = Request("empty", (), Sampling(_SHORT), subject.tokenizer.stop_ids, speculation)
    try:
        (trace,) = subject.attempt(subject.engine(speculation), [request])
    except EngineError as error:
        _refused_clearly(subject, error, "an empty prompt")
    else:
        if not 1 <= trace.tokens <= _SHORT:
            broken("a-request-that-cannot-run", f"1 to {_SHORT} tokens", f"{trace.tokens}")
    _goes_on(subject, speculation)


def test_a_prompt_beyond_the_context_window_is_refused(
    subject: Subject, speculation: Speculation
) -> None:
    window = subject.context_window(subject.engine(speculation))
    if window is None:
        pytest.skip(f"engine {subject.name} does not report its context length")
    ids = subject.reference(speculation).requests[0].prompt_ids
    long = (ids * (window // len(ids) + 2))[: window + 1]
    text = "word " * (window + 1)
    request = Request(
        "too-long",
        long,
        Sampling(_SHORT),
        subject.tokenizer.stop_ids,
        speculation,
        messages=(("user", text),),
    )
    try:
        subject.attempt(subject.engine(speculation), [request])
    except EngineError as error:
        _refused_clearly(subject, error, f"a prompt of {len(long)} tokens")
    else:
        broken(
            "a-request-that-cannot-run",
            f"a prompt of {len(long)} tokens is refused by a window of {window}",
            "an answer",
        )
    _goes_on(subject, speculation)


def _refused_clearly(subject: Subject, error: EngineError, what: str) -> None:
    if isinstance(error, EngineDied):
        subject.close()
        broken(
            "a-request-that-cannot-run", f"{what}: an EngineError, the engine goes on", str(error)
        )
    if not str(error).strip() or "Traceback" in str(error):
        broken(
            "a-request-that-cannot-run",
            f"{what}: a short message without a traceback",
            repr(str(error)),
        )


def _goes_on(subject: Subject, speculation: Speculation) -> None:
    """The engine still answers correctly."""
    expected = subject.reference(speculation).traces[0]
    request = subject.request(0, speculation)
    try:
        (trace,) = subject.attempt(subject.engine(speculation), [request])
    except EngineError as error:
        subject.close()
        broken("a-request-that-cannot-run", "the engine answers the next request", str(error))
    what, rule = "the request after one that cannot run", "a-request-that-cannot-run"
    same_output(subject, speculation, [request], [trace], [expected], what, rule)


# -- cancelling -------------------------------------------------------------------------------


def test_cancelling_one_leaves_the_others_unchanged(
    subject: Subject, speculation: Speculation
) -> None:
    """The first is cancelled when a short one beside it has finished, so while it is in flight;
    with one request at a time, while it waits."""
    batch = subject.batch_of(speculation)
    reference = subject.reference(speculation)
    engine = subject.engine(speculation)
    window = subject.context_window(engine) or 4 * TOKENS
    endless = Sampling(min(window // 2, _LONGEST), ignore_eos=subject.fixed_length)
    victim = subject.request(0, speculation, endless)
    short = subject.request(1, speculation, Sampling(_SHORT))
    others = [subject.request(number, speculation) for number in (2, 3)]
    try:
        engine.hold(batch)
        engine.submit([victim, short, *others] if batch > 1 else [short, victim, *others])
        names = [request.id for request in (victim, short, *others)]
        found = subject.collect(engine, names, [short.id] if batch > 1 else [])
        engine.cancel([victim.id])
        left = [name for name in names if name not in found]
        found |= subject.collect(engine, left, left)
    except EngineError as error:
        subject.close()
        broken("cancelling", "the others' outputs", str(error))
    gone = found[victim.id]
    if gone.finish_reason != "abort" or gone.tokens >= endless.max_tokens:
        broken(
            "cancelling",
            "the cancelled request comes back with the reason 'abort'",
            f"{gone.finish_reason!r} after {gone.tokens} tokens",
        )
    traces = [found[request.id] for request in others]
    if any(trace.finish_reason == "abort" for trace in traces):
        broken("cancelling", "the others finish", "'abort' for one of them")
    expected = [reference.traces[number] for number in (2, 3)]
    what = "beside a cancelled request"
    same_output(subject, speculation, others, traces, expected, what, "cancelling")
