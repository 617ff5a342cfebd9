"""What a check of losslessness has found, in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from pytest_speedbench.compare.lossless import Judged, Losslessness
from pytest_speedbench.compare.sampled_output import Drawn
from pytest_speedbench.errors import count_of
from pytest_speedbench.escapes import printable

_MOST_DEFECTS = 3
_MOST_TOKENS = 6
_TAIL = 12  # tokens of prompt and output that are shown

Decode = Callable[[Sequence[int]], str]


def lossless_text(found: Losslessness) -> str:
    """One line: how many outputs are equal, tied, defective, and what a tie is."""
    parts = [f"{found.equal} of {found.compared} outputs equal"]
    if found.defects:
        parts.append(f"{len(found.defects)} with a token that the target would not choose")
    if found.ties:
        widest = max(found.ties, key=lambda judged: judged.gap)
        parts.append(
            f"{len(found.ties)} diverged in ties (widest gap {widest.gap:.3g} nats; a tie is up to "
            f"{found.tolerance.describe(widest.magnitude)})"
        )
    if found.skipped:
        parts.append(f"{found.skipped} turns left out, since an earlier turn differs")
    if found.healthy:
        rates = found.healthy
        parts.append(
            f"ties in {rates.rate:.0%} of outputs, {rates.healthy_rate:.0%} between runs without "
            f"SD (p = {rates.p_value:.2g})"
        )
        if rates.far_above:
            parts.append("more than rounding at another batch size explains")
    return "; ".join(parts)


def defect_text(case: str, found: Losslessness, decode: Decode) -> str:
    """The message of a failed check: each defect with its place, both tokens and the gap."""
    lines = [f"lossless: fail: {lossless_text(found)}", f"  {case}"]
    for judged in found.defects[:_MOST_DEFECTS]:
        lines += _defect(judged, found, decode)
    if len(found.defects) > _MOST_DEFECTS:
        lines.append(f"  … and {len(found.defects) - _MOST_DEFECTS} more")
    return "\n".join(lines)


def _defect(judged: Judged, found: Losslessness, decode: Decode) -> Iterator[str]:
    divergence = judged.divergence
    yield printable(
        f"  sample {divergence.sample!r}, turn {divergence.turn}, position {divergence.position} "
        "(both from 0)"
    )
    yield f"    prompt      …{_text(divergence.prompt[-_TAIL:], decode)}"
    yield f"    output      …{_text(divergence.shared[-_TAIL:], decode)}"
    for name, token in (("with SD", divergence.speculative), ("without SD", divergence.plain)):
        yield f"    {name:<11} {_token(judged, token, decode)}"
    if judged.score and judged.score.top_token not in judged.score.logprobs:
        top = judged.score.top_token
        yield (
            f"    best        {_text([top], decode)} (id {top}), log-probability "
            f"{judged.score.top_logprob:.4g}"
        )
    if math.isfinite(judged.gap):
        yield (
            f"    gap {judged.gap:.4g} nats, tolerance {found.tolerance.describe(judged.magnitude)}"
        )
    else:
        yield "    both are equal up to there, so either both end there or neither does"


def _token(judged: Judged, token: int | None, decode: Decode) -> str:
    if token is None:
        return "the output ends"
    known = f", log-probability {judged.score.logprobs[token]:.4g}" if judged.score else ""
    return f"{_text([token], decode)} (id {token}){known}"


def _text(token_ids: Sequence[int], decode: Decode) -> str:
    return printable(repr(decode(token_ids)))


def sampling_text(drawn: Sequence[Drawn], level: float) -> str:
    """One line: what was compared with the target's probabilities, and the smallest p."""
    least = min(d.check.p_value for d in drawn)
    return (
        f"{len(drawn)} positions of {len({d.sample for d in drawn})} prompts, "
        f"{sum(d.check.n for d in drawn)} draws: smallest p = {least:.2g}, level "
        f"{level:.6g} each"
    )


def biased_text(
    case: str, rejected: Sequence[Drawn], healthy: Sequence[float], decode: Decode
) -> str:
    """The message of a failed check; ``healthy`` are the p-values of the same draws without SD."""
    what = f"{count_of(len(rejected), 'position')} drawn with other probabilities than the target's"
    lines = [f"lossless: fail: {what}", f"  {case}"]
    for drawn, own in zip(rejected, healthy, strict=True):
        lines += [
            printable(
                f"  sample {drawn.sample!r}, position {drawn.position} (from 0), after "
                f"{_text(drawn.beginning, decode)}"
            ),
            f"    p = {drawn.check.p_value:.2g} at level {drawn.check.level:.6g}, "
            f"{drawn.check.n} draws; without SD p = {own:.2g}",
        ]
        lines += [
            f"    {_text([token], decode)} (id {token}): drawn {count} times, expected {wanted:.1f}"
            for token, count, wanted in drawn.tokens[:_MOST_TOKENS]
        ]
    return "\n".join(lines)
