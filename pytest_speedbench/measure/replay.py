"""Replay: the new build decodes the rest of the baseline's text, by further requests.

A free output goes along the baseline's up to the first token that differs. From there on a request
resumes the baseline's text: its prompt ends with the baseline's tokens, so that its first counted
step starts where a step of the baseline starts, and it goes on to where that output ended. Where it
differs again, another one resumes. :mod:`pytest_speedbench.stats.replay` counts what came of it.

The free outputs are what a run measured. Replay adds requests and changes none of them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.engines.protocol import (
    EngineInfo,
    PromptForm,
    Request,
    Sampling,
    Speculation,
    Trace,
)
from pytest_speedbench.measure.check import check_counters, check_traces
from pytest_speedbench.measure.load import COLLECT_SECONDS, ClosedLoop, Progress, answered
from pytest_speedbench.measure.replayed import (
    BASELINE,
    Replay,
    ReplayDivergence,
    ReplayedTurn,
    ResumedRequest,
)
from pytest_speedbench.measure.results import Turn
from pytest_speedbench.measure.tokenizer import Tokenizer
from pytest_speedbench.splits import Sample

if TYPE_CHECKING:
    from pytest_speedbench.stats import Segment, StepTrace
    from pytest_speedbench.stats.data import Ints

# Settings by which the number of draft tokens changes with the load or from step to step.
_ADAPTIVE = re.compile(r"adaptive|per_batch_size|disable_by_batch_size")


@dataclass(frozen=True, slots=True)
class BaselineTurn:
    """What the baseline put out in one turn; ``along`` is the digest of its output. ``shared``: it
    is the text that several arms of a session follow, and no record has it. ``source`` names whose
    output it is."""

    trace: StepTrace
    prompt_tokens: int
    along: str
    shared: bool = False
    source: str = BASELINE


Outputs = Mapping[tuple[str, int], BaselineTurn]
"""The outputs to follow, by sample and turn."""


def refusal(
    speculation: Speculation,
    sampling: Sampling,
    info: EngineInfo,
    prompt_form: PromptForm,
    *,
    cached: bool = False,
) -> str:
    """Why the outputs of this engine cannot be replayed; empty where they can. ``cached``: its
    prefix cache is what is compared."""
    method, details = traits(speculation.method), info.details
    if not sampling.greedy:
        return f"temperature {sampling.temperature:g}: sampled outputs always differ"
    if prompt_form != "token_ids":
        return f"engine {info.engine} takes only text, and replay resumes by token ids"
    if method.remembers or details.get("shared_draft_pool"):
        return f"method {method.name} drafts from earlier requests too"
    if not method.in_table:
        return f"whether method {method.name} keeps a state beyond a request is not known"
    if details.get("prefix_caching") and not cached:
        return "prefix caching is on, so a resumed request would not start with its own prefill"
    if adaptive := [name for name, value in details.items() if value and _ADAPTIVE.search(name)]:
        return f"{adaptive[0]} changes the draft length during a run"
    return ""


def replay(
    loop: ClosedLoop,
    samples: Sequence[Sample],
    turns: Sequence[Turn],
    outputs: Outputs,
    batch_size: int,
    progress: Progress = lambda done, total: None,
) -> Replay:
    """Follows every output of ``outputs`` with the engine of ``loop``, ``batch_size`` at a time.

    Args:
        loop: the engine, its tokenizer and the sampling of the run.
        samples: the samples of the run.
        turns: what they answered freely.
        outputs: the baseline's.
        batch_size: requests to hold in flight.
        progress: gets the outputs followed so far, and how many there are.

    Raises:
        MeasurementMismatch: traces and engine counters disagree.
        EngineError: the engine failed, or refuses a resumed request.
    """
    known = {(turn.sample, turn.turn): turn for turn in turns}
    paths = [path for sample in samples for path in _paths(sample, known, outputs, loop.tokenizer)]
    if not paths:
        stepwise = any(_has_steps(turn.trace) for turn in turns)
        lacks = "no sample in common with the baseline" if stepwise else "no steps are reported"
        return Replay(refused=lacks)
    if reason := _other_tokenizer(paths, loop.tokenizer):
        return Replay(refused=reason)
    before = loop.engine.counters()
    traces = _follow(loop, paths, batch_size, progress)
    after = loop.engine.counters()
    whole = [trace for trace in traces if trace.finish_reason != "abort"]
    check_traces(whole, loop.speculation)
    counted = loop.reported.counts and len(whole) == len(traces)
    if before is not None and after is not None and counted:
        check_counters(traces, loop.speculation, after - before)
    return Replay({path.key: path.followed for path in paths})


def _follow(
    loop: ClosedLoop, paths: Sequence[_Path], batch_size: int, progress: Progress
) -> list[Trace]:
    waiting = deque((path, start) for path in paths if (start := path.next_start()) is not None)
    loop.engine.hold(batch_size)
    opened = {path.request_id(start): path for path, start in waiting}
    loop.engine.submit([path.request(start, loop) for path, start in waiting])
    traces: list[Trace] = []
    while opened:
        for trace in loop.engine.collect(COLLECT_SECONDS):
            path = answered(opened, trace)
            path.add(trace)
            traces.append(trace)
            if (start := path.next_start()) is not None:
                opened[path.request_id(start)] = path
                loop.engine.submit([path.request(start, loop)], first=True)
        progress(len(paths) - len(opened), len(paths))
    return traces


@dataclass(slots=True)
class _Path:
    """The new build along one output of the baseline: its requests so far, and what comes next."""

    sample: Sample
    turn: int
    prompt: Sequence[int]
    baseline: BaselineTurn
    free: Trace | None
    prefill_tokens: int
    resumed: list[ResumedRequest] = field(default_factory=list)
    given_up: str = ""
    divergences: list[ReplayDivergence] = field(default_factory=list)
    _start: int = 0

    @property
    def key(self) -> tuple[str, int]:
        return self.sample.id, self.turn

    @property
    def followed(self) -> ReplayedTurn:
        return ReplayedTurn(
            self.baseline.along,
            self.free is not None,
            tuple(self.resumed),
            self.given_up,
            tuple(self.divergences),
            text=tuple(_ids(self.baseline).tolist()) if self.baseline.shared else (),
            source=self.baseline.source,
        )

    def next_start(self) -> int | None:
        """Tokens of the baseline's output in the next prompt; None where all is done."""
        from pytest_speedbench.stats import divergence_of, most_divergences, next_resume

        baseline = self.baseline.trace
        latest = self._latest()
        if self.given_up or (latest is None and not baseline.output_tokens):
            return None
        if latest is None:
            return 0
        divergence = divergence_of(baseline, latest)
        if divergence is None:
            return None
        self.divergences.append(self._divergence(latest, divergence))
        resume = next_resume(baseline, divergence, prefill_tokens=self.prefill_tokens)
        if resume is None:
            return None
        if len(self.resumed) + (self.free is not None) > most_divergences(baseline):
            self.given_up = f"it diverged more than {most_divergences(baseline)} times"
            return None
        return resume.prompt_tokens

    def _divergence(self, latest: Segment, position: int) -> ReplayDivergence:
        ids, at = _ids(self.baseline), position - latest.start
        return ReplayDivergence(
            position,
            (*self.prompt, *ids[:position].tolist()),
            int(latest.token_ids[at]) if at < len(latest.token_ids) else None,
            int(ids[position]) if position < len(ids) else None,
        )

    def _latest(self) -> Segment | None:
        if self.resumed:
            return segment_of(self.resumed[-1].start, self.resumed[-1].trace)
        return None if self.free is None else segment_of(0, self.free)

    def request_id(self, start: int) -> str:
        return f"replay/{self.sample.id}/{self.turn}/{start}"

    def request(self, start: int, loop: ClosedLoop) -> Request:
        """The rest of the baseline's output from ``start`` on."""
        self._start = start
        ids, sampling = _ids(self.baseline)[:start].tolist(), loop.sampling
        return Request(
            self.request_id(start),
            (*self.prompt, *ids),
            replace(
                sampling,
                max_tokens=self.baseline.trace.output_tokens - start,
                min_tokens=max(0, sampling.min_tokens - start),
            ),
            loop.tokenizer.stop_ids,
            loop.speculation,
            self.sample.category,
            resumed=start,
        )

    def add(self, trace: Trace) -> None:
        """Takes an answer; one that cannot be counted gives the rest up."""
        if trace.finish_reason == "abort":
            self.given_up = "the engine ended a resumed request"
        elif trace.totals is not None or not trace.ids_known:
            self.given_up = "the engine did not report the steps of a resumed request"
        else:
            self.resumed.append(ResumedRequest(self._start, trace))


def segment_of(start: int, trace: Trace) -> Segment:
    """A request as the statistics count it."""
    import numpy as np

    from pytest_speedbench.stats import Segment

    ids, steps = np.asarray(trace.token_ids, np.int64), np.asarray(trace.steps, np.int64)
    return Segment(start, min(trace.prefill_tokens, trace.tokens), steps, ids)


def _paths(
    sample: Sample,
    turns: Mapping[tuple[str, int], Turn],
    outputs: Outputs,
    tokenizer: Tokenizer,
) -> Iterator[_Path]:
    """One path a turn. The history of all of them is the baseline's, so none waits for another."""
    prefill = _prefill(turns, sample)
    if prefill is None:
        return
    messages, same_history = list(sample.messages()), True
    for number in range(max(1, len(sample.turns))):
        baseline, free = outputs.get((sample.id, number)), turns.get((sample.id, number))
        if baseline is None:
            return
        prompt: Sequence[int] = sample.token_ids or ()
        free_trace = None
        if free is not None and same_history:
            prompt = free.prompt_ids
            free_trace = free.trace if _has_steps(free.trace) else None
        prompt = prompt or tokenizer.render(messages)
        yield _Path(sample, number, prompt, baseline, free_trace, prefill)
        ids = _ids(baseline).tolist()
        same_history = same_history and free is not None and free.trace.token_ids == ids
        if number + 1 < len(sample.turns):
            messages += [
                {"role": "assistant", "content": tokenizer.decode(ids)},
                {"role": "user", "content": sample.turns[number + 1]},
            ]


def _ids(baseline: BaselineTurn) -> Ints:
    assert baseline.trace.token_ids is not None  # or it could not be followed
    return baseline.trace.token_ids


def _has_steps(trace: Trace) -> bool:
    return trace.totals is None and trace.ids_known


def _prefill(turns: Mapping[tuple[str, int], Turn], sample: Sample) -> int | None:
    """Tokens that a prefill emits on this engine; None where the sample came back without steps."""
    first = turns.get((sample.id, 0))
    return first.trace.prefill_tokens if first is not None and _has_steps(first.trace) else None


def _other_tokenizer(paths: Sequence[_Path], tokenizer: Tokenizer) -> str:
    """How the baseline's tokens differ from those of this tokenizer; empty where they do not."""
    for path in paths:
        there, here = path.baseline.prompt_tokens, len(path.prompt)
        if there != here:
            return (
                f"the baseline used another tokenizer: the prompt of sample {path.sample.id!r} has "
                f"{there} tokens there, {here} here"
            )
        ids = _ids(path.baseline)
        if len(ids) and int(ids.max()) >= tokenizer.vocab_size:
            return (
                f"the baseline used another tokenizer: token id {int(ids.max())} in sample "
                f"{path.sample.id!r}, and this vocabulary has {tokenizer.vocab_size} tokens"
            )
    return ""
