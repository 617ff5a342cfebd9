"""Every metric: unit, direction, formula, and what "no data" means.

No data raises :class:`~pytest_speedbench.errors.NoData` with the reason; it is never 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pytest_speedbench.errors import NoData
from pytest_speedbench.measure.arrivals import decoding_span, first_token_shown, in_burst

if TYPE_CHECKING:
    from pytest_speedbench.engines.protocol import RequestTotals
    from pytest_speedbench.measure.results import Counted, Round, Turn
    from pytest_speedbench.stats import Estimate, RequestTrace, StepTrace, TotalTrace
    from pytest_speedbench.stats.context import DepthBucket

Scope = Literal["slice", "run"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric means. ``scope``: whether it belongs to a slice or to the whole run."""

    name: str
    title: str
    unit: str
    higher_is_better: bool
    formula: str
    scope: Scope
    digits: int = 2


METRICS = {
    metric.name: metric
    for metric in (
        Metric(
            "acceptance_length",
            "AL",
            "tokens/step",
            True,
            "Σ(N - n0) / ΣD over requests (micro)",
            "slice",
        ),
        Metric(
            "acceptance_length_macro",
            "AL, macro",
            "tokens/step",
            True,
            "mean over requests of (N - n0) / D",
            "slice",
        ),
        Metric(
            "acceptance_rate",
            "accepted",
            "",
            True,
            "accepted / proposed draft tokens",
            "slice",
        ),
        Metric(
            "acceptance_by_position",
            "by position",
            "",
            True,
            "P(draft token k accepted | k - 1 accepted), k = 1 … DL",
            "slice",
        ),
        Metric(
            "draftless_share",
            "no draft",
            "",
            False,
            "decoding steps without a draft / decoding steps",
            "slice",
        ),
        Metric(
            "proposed_length",
            "proposed",
            "tokens/step",
            True,
            "draft tokens proposed / decoding steps",
            "slice",
        ),
        Metric(
            "cold_acceptance_length",
            "AL, cold",
            "tokens/step",
            True,
            "AL of the same samples without the prefix cache",
            "slice",
        ),
        Metric(
            "cache_hit_rate",
            "cache hits",
            "",
            True,
            "prompt tokens from the prefix cache / prompt tokens",
            "slice",
        ),
        Metric(
            "speedup",
            "speedup",
            "x",
            True,
            "output tokens/s with SD over without, geometric mean over rounds",
            "run",
        ),
        Metric(
            "output_tps", "output", "tokens/s", True, "output tokens / seconds, by round", "run", 1
        ),
        Metric(
            "user_tps",
            "user",
            "tokens/s",
            True,
            "Σ tokens after the first event / Σ time since it, over requests",
            "run",
            1,
        ),
        Metric("ttft", "TTFT", "s", False, "mean over requests of first event - sent", "run", 3),
        Metric(
            "step_time",
            "step time",
            "s",
            False,
            "Σ(last - first event) / ΣD, the first event's own step left out",
            "run",
            4,
        ),
    )
}


def request_traces(turns: Sequence[Turn]) -> list[RequestTrace]:
    """The requests in the types of the statistics: by steps where known, otherwise with totals."""
    return [
        _step_trace(turn) if turn.trace.totals is None else _total_trace(turn, turn.trace.totals)
        for turn in turns
    ]


def _step_trace(turn: Turn) -> StepTrace:
    import numpy as np

    from pytest_speedbench.measure.check import align_drafts
    from pytest_speedbench.stats import StepTrace

    trace = turn.trace
    drafts = align_drafts(trace)
    return StepTrace(
        turn.sample,
        turn.category,
        turn.turn,
        trace.prefill_tokens,
        np.asarray(trace.steps, dtype=np.int64),
        np.asarray(trace.token_ids, dtype=np.int64) if trace.token_ids else None,
        None if drafts is None else np.asarray(drafts[0], dtype=np.int64),
        None if drafts is None else np.asarray(drafts[1], dtype=np.int64),
    )


def cache_hit_rate(turns: Sequence[Turn], level: float) -> Estimate:
    """Share of the prompt tokens that came from the engine's prefix cache; samples are the units.

    Of an engine that reports it for some requests, the others have none: servers may leave a 0 out.

    Raises:
        NoData: the engine does not report it, or there is no prompt.
    """
    import numpy as np

    from pytest_speedbench.stats.data import stratum_codes
    from pytest_speedbench.stats.estimates import share_estimate

    if all(turn.trace.cached_tokens is None for turn in turns):
        raise NoData("the engine does not report which prompt tokens came from its prefix cache")
    strata = {turn.sample: turn.category for turn in turns}
    cached, prompts = dict.fromkeys(strata, 0), dict.fromkeys(strata, 0)
    for turn in turns:
        cached[turn.sample] += turn.trace.cached_tokens or 0
        prompts[turn.sample] += turn.trace.prompt_tokens
    codes = stratum_codes(list(strata.values()))
    parts, wholes = (np.array(list(of.values()), dtype=np.float64) for of in (cached, prompts))
    return share_estimate(parts, wholes, codes, level)


def acceptance_by_depth(turns: Sequence[Turn], level: float = 0.95) -> list[DepthBucket]:
    """AL by position in the context.

    Raises:
        NoData: the engine reports no decoding steps.
    """
    from pytest_speedbench.stats.context import al_by_depth
    from pytest_speedbench.stats.data import step_traces

    traces = step_traces(request_traces(turns), "AL by position in the context")
    return al_by_depth(traces, [turn.trace.prompt_tokens for turn in turns], level)


def _total_trace(turn: Turn, totals: RequestTotals) -> TotalTrace:
    from pytest_speedbench.stats import TotalTrace

    return TotalTrace(
        turn.sample,
        turn.category,
        turn.turn,
        turn.trace.prefill_tokens,
        turn.trace.tokens,
        totals.steps,
        totals.draft_tokens,
        totals.accepted_tokens,
    )


def output_tps(rounds: Sequence[Round], level: float = 0.95) -> Estimate:
    """Output tokens per second: mean over rounds, a t-interval where there are at least three."""
    import numpy as np

    from pytest_speedbench.stats import Estimate
    from pytest_speedbench.stats import delta as delta_method
    from pytest_speedbench.stats.speed import MIN_ROUNDS

    values = np.array([r.output_tps for r in rounds])
    n = len(values)
    if not n:
        raise NoData("no rounds")
    mean = float(values.mean())
    if n < MIN_ROUNDS:
        return Estimate(mean, None, None, n, level, "tokens/s")
    half = delta_method.t_quantile(level, n - 1) * float(values.std(ddof=1)) / n**0.5
    return Estimate(mean, mean - half, mean + half, n, level, "tokens/s")


def user_tps(turns: Sequence[Turn], level: float = 0.95) -> Estimate:
    """Tokens per second that one request sees after its first event: tokens over time, both summed
    over requests, so that one short answer counts for little."""
    spans = [(turn, decoding_span(turn.trace)) for turn in turns]
    pairs = [(turn, float(span.tokens), span.seconds) for turn, span in spans if span]
    return _ratio(pairs, _none_timed(turns), level, "tokens/s", higher_is_better=True)


def ttft(turns: Sequence[Turn], level: float = 0.95) -> Estimate:
    """Seconds from sending a request to its first output event."""
    shown = [turn for turn in turns if first_token_shown(turn.trace)]
    pairs = [(turn, turn.trace.times[0] - turn.trace.submitted, 1.0) for turn in shown]
    any_output = any(turn.trace.times for turn in turns)
    no_data = _none_timed(turns) if any_output else "no request has an output event"
    return _ratio(pairs, no_data, level, "s", higher_is_better=False)


def step_time(turns: Sequence[Turn], level: float = 0.95) -> Estimate:
    """Seconds per decoding step, the first event of each request left out."""
    from pytest_speedbench.stats.data import NO_STEP_COUNT

    shown = [turn for turn in turns if not turn.trace.hidden_tokens]
    spans = [(turn, span) for turn in shown if (span := decoding_span(turn.trace))]
    pairs = [(turn, span.seconds, float(span.steps)) for turn, span in spans if span.steps]
    if any(span.steps is None for _, span in spans):
        raise NoData(NO_STEP_COUNT)
    return _ratio(pairs, _none_timed(turns), level, "s", higher_is_better=False)


def _none_timed(turns: Sequence[Turn]) -> str:
    """Why no request can be timed."""
    if any(in_burst(turn.trace) for turn in turns):
        return "the stream came in bursts: the server or a proxy buffers it"
    if any(turn.trace.hidden_tokens for turn in turns):
        return "the server does not send its first tokens"
    return "no request has two output events"


def counted_estimate(
    value: float, samples: int, level: float, unit: str, higher_is_better: bool = True
) -> Estimate:
    """A value from the engine's counters, which say nothing of its spread over samples."""
    from pytest_speedbench.stats import Estimate

    return Estimate(value, None, None, samples, level, unit, higher_is_better)


def counted_step_time(
    times: Sequence[Sequence[float]], counted: Counted, level: float = 0.95
) -> Estimate:
    """Seconds per decoding step where only counters give their number.

    ``times`` are those of every request's first time; the counters may hold its copies too.
    """
    if not times:
        raise NoData("no request has an output event")
    seconds = sum(moments[-1] - moments[0] for moments in times)
    steps = counted.steps * len(times) / counted.requests
    return counted_estimate(seconds / steps, counted.samples, level, "s", False)


def _ratio(
    pairs: Sequence[tuple[Turn, float, float]],
    no_data: str,
    level: float,
    unit: str,
    *,
    higher_is_better: bool,
) -> Estimate:
    """Sum of the second over sum of the third, clustered by sample, stratified by category.

    Raises:
        NoData: ``pairs`` is empty; the message is ``no_data``.
    """
    from dataclasses import replace

    import numpy as np

    from pytest_speedbench.stats.data import stratum_codes
    from pytest_speedbench.stats.estimates import positive_ratio

    sums: dict[str, list[float]] = {}
    strata: dict[str, str] = {}
    for turn, top, bottom in pairs:
        total = sums.setdefault(turn.sample, [0.0, 0.0])
        total[0] += top
        total[1] += bottom
        strata[turn.sample] = turn.category
    if not sums:
        raise NoData(no_data)
    table = np.array(list(sums.values()))
    codes = stratum_codes([strata[sample] for sample in sums])
    estimate = positive_ratio(table[:, 0], table[:, 1], codes, level, unit=unit)
    return replace(estimate, higher_is_better=higher_is_better)
