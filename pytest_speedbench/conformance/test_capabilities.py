"""What an adapter declares is true."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from pytest_speedbench.conformance.contract import broken
from pytest_speedbench.conformance.processes import descendants
from pytest_speedbench.conformance.subject import Load, Subject
from pytest_speedbench.engines.methods import METHODS, traits
from pytest_speedbench.engines.protocol import Speculation, Trace
from pytest_speedbench.engines.registry import lists, open_engine
from pytest_speedbench.errors import EngineError


def test_engine_info_is_complete(subject: Subject, speculation: Speculation) -> None:
    rule = "self-description"
    info = subject.engine(speculation).info
    if info.engine != subject.adapter.name or subject.adapter.name != subject.name:
        names = f"{info.engine!r} (info), {subject.adapter.name!r} (EngineType)"
        broken(rule, f"the name {subject.name!r} everywhere", names)
    for field in ("version", "device", "dtype"):
        if not getattr(info, field):
            broken(rule, f"info.{field}", f"{getattr(info, field)!r}")
    try:
        json.dumps(dict(info.details), allow_nan=False)
    except (TypeError, ValueError) as error:
        broken(rule, "info.details of plain JSON", f"{dict(info.details)!r}: {error}")


def test_prefix_caching_is_off_unless_asked_for(subject: Subject, speculation: Speculation) -> None:
    caching = subject.engine(speculation).info.details.get("prefix_caching")
    asked = dict(subject.settings.engine_arg)
    if subject.joined or any(
        part in name for name in asked for part in ("prefix", "radix", "cache")
    ):
        pytest.skip("prefix caching was set by the user, or by the server at --speed-url")
    if caching is not False:
        broken("self-description", "info.details['prefix_caching'] False", repr(caching))


def test_the_method_runs_and_drafts(subject: Subject, speculation: Speculation) -> None:
    load = subject.load(speculation, 1)
    if not speculation.active:
        longest = max(max(trace.steps, default=1) for trace in load.traces)
        if subject.adapter.step_traces and longest > 1:
            broken("methods", "one token per step without SD", f"a step of {longest}")
        return
    method = subject.engine(speculation).info.details.get("speculative_method")
    if method == "none":
        broken("methods", f"{speculation.method} is on", "info.details: speculative_method none")
    drafted = _drafted(load)
    if drafted is None:
        pytest.skip(f"engine {subject.name} reports nothing about drafts")
    if not drafted and not traits(speculation.method).every_step:
        pytest.skip(f"{speculation.method} found nothing to draft in these outputs")
    if not drafted:
        broken("methods", f"{speculation.method} drafts", "no draft token in any output")


def _drafted(load: Load) -> int | None:
    """Draft tokens of a load; None if the engine does not report them."""
    if load.grown is not None:
        return load.grown.draft_tokens
    found = [trace.totals.draft_tokens for trace in load.traces if trace.totals]
    found += [sum(trace.drafted) for trace in load.traces if trace.drafted is not None]
    known = [number for number in found if number is not None]
    return sum(known) if known else None


def test_events_that_are_not_steps_come_with_totals(
    subject: Subject, speculation: Speculation
) -> None:
    traces = subject.load(speculation, 1).traces
    without = [trace.request_id for trace in traces if not _reported(trace)]
    if speculation.active and not subject.adapter.step_traces and without:
        broken(
            "self-description",
            "step_traces=False: in every trace totals, what each step drafted and accepted, or "
            "steps_proven, so that its events are not taken for steps",
            f"none of them in {', '.join(without)}",
        )


def _reported(trace: Trace) -> bool:
    stepwise = trace.drafted is not None and trace.accepted is not None
    return trace.totals is not None or stepwise or trace.steps_proven


def test_an_undeclared_method_is_refused_before_the_start(subject: Subject) -> None:
    undeclared = [m for m in METHODS if m not in subject.adapter.methods]
    if subject.adapter.own_methods is None:
        undeclared.append("no_such_method")
    # What the installed engine lists itself may be tried.
    undeclared = [method for method in undeclared if not lists(subject.adapter, method)]
    _refused(subject, [(Speculation(method, 3, "x"), method) for method in undeclared])


def test_a_method_without_its_drafter_is_refused_before_the_start(subject: Subject) -> None:
    if subject.joined or subject.adapter.tokenizer == "words":
        pytest.skip("a joined server, or an engine without a model, needs no drafter")
    declared = [m for m in subject.adapter.methods if traits(m).needs_drafter]
    if not declared:
        pytest.skip(f"engine {subject.name} has no method with a drafter")
    _refused(subject, [(Speculation(method, 3), "drafter") for method in declared])


def _refused(subject: Subject, cases: Sequence[tuple[Speculation, str]]) -> None:
    """Each is refused with a message that contains the given text, and nothing is started."""
    before = descendants()
    for speculation, text in cases:
        what = f"{speculation.method} with drafter {speculation.drafter!r} is refused"
        # Unlike config(): an engine that switches per request opens without speculation.
        config = replace(subject.config(speculation), speculation=speculation)
        try:
            open_engine(config, subject.settings.timeout).close()
        except EngineError as error:
            if text not in str(error):
                broken("methods", f"{what} with a message that contains {text!r}", str(error))
        else:
            broken("methods", what, "it starts")
    if descendants() - before:
        broken("methods", "these are refused before a process is started", "one was started")


def test_scores_are_those_of_the_target(subject: Subject, speculation: Speculation) -> None:
    if not subject.adapter.scores:
        pytest.skip(f"engine {subject.name} declares scores=False")
    reference = subject.reference(speculation)
    engine = subject.engine(speculation)
    for request, trace in list(zip(reference.requests, reference.traces, strict=True))[:2]:
        at = min(3, trace.tokens - 1)
        chosen = trace.token_ids[at]
        other = chosen + 1 if chosen + 1 < subject.tokenizer.vocab_size else chosen - 1
        text = [*request.prompt_ids, *trace.token_ids[:at]]
        score = engine.score([*text, chosen], len(text), (chosen, other))
        logprobs = [score.logprobs[chosen], score.logprobs[other], score.top_logprob]
        if any(math.isnan(p) or p > 1e-6 for p in logprobs) or (
            sum(map(math.exp, logprobs[:2])) > 1 + 1e-4
        ):
            broken("scores", "natural logarithms of probabilities", f"{logprobs}")
        if max(logprobs[:2]) > score.top_logprob + 1e-6:
            broken("scores", "top_logprob is the largest", f"{logprobs}")
        # A near tie may be decided otherwise, but the token of greedy decoding is never far off.
        if score.top_logprob - score.logprobs[chosen] > 1.0:
            broken(
                "scores",
                f"token {chosen}, which greedy decoding chose, is the most likely",
                f"{score.top_token}, {score.top_logprob - score.logprobs[chosen]:.3g} nats above",
            )
