"""An acceptance process, and its fit to recorded steps.

The process is that of the simulated engine: draft token k of a request is accepted with a chance
whose logit is the position's own plus the request's shift, normal over requests. A step without a
draft counts as one whose first token was rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import Floats, StepTrace, clusters

NODES = 21  # of the Gauss-Hermite rule over the request's shift
# A weak normal prior on every logit, for positions that were always or never accepted.
PRIOR_SPREAD = 5.0
SMALLEST_SPREAD = 1e-3


@dataclass(frozen=True, slots=True)
class AcceptanceProcess:
    """How drafts of one category are accepted.

    Attributes:
        chance: conditional acceptance at positions 1 … DL of a request without a shift.
        spread: standard deviation over requests of the shift, in logits.
    """

    chance: tuple[float, ...]
    spread: float

    def of_requests(self, shifts: Floats) -> Floats:
        """Conditional acceptance of requests with these shifts; shape (requests, DL)."""
        return _sigmoid(_logits(self.chance)[None, :] + shifts[:, None])


def expected_step(chance: Floats) -> Floats:
    """Mean tokens of a step, the bonus token included; `chance` has shape (requests, DL)."""
    return np.asarray(1 + np.cumprod(chance, axis=1).sum(axis=1), dtype=np.float64)


def fit_process(traces: Sequence[StepTrace], draft_length: int) -> AcceptanceProcess:
    """Marginal maximum likelihood: a logistic model with a normal effect of the request.

    The last step of an output is cut off by its end: it counts for the tokens it has, and not for
    the one after (Cox & Snell, Analysis of Binary Data, 2.7; a stopped trial is censored).

    Raises:
        NoData: no decoding step, or nothing drafted.
    """
    from scipy.optimize import minimize

    if draft_length < 1:
        raise NoData("no position is drafted")
    tried, accepted = _counts(traces, draft_length)
    if not tried.sum():
        raise NoData("no decoding step")

    def badness(parameters: Floats) -> float:
        logits, spread = parameters[:-1], float(np.exp(parameters[-1]))
        joint, _ = _joint(tried, accepted, logits, spread)
        prior = float((logits**2).sum()) / (2 * PRIOR_SPREAD**2)
        return prior - float(np.logaddexp.reduce(joint, axis=1).sum())

    share = (accepted.sum(axis=0) + 0.5) / (tried.sum(axis=0) + 1.0)
    start = np.append(_logits(share), np.log(0.5))
    bounds = [(-8.0, 8.0)] * draft_length + [(np.log(SMALLEST_SPREAD), np.log(4.0))]
    found = minimize(badness, start, method="L-BFGS-B", bounds=bounds).x
    chance = _sigmoid(found[:-1])
    return AcceptanceProcess(tuple(map(float, chance)), float(np.exp(found[-1])))


def shifts_of(traces: Sequence[StepTrace], process: AcceptanceProcess) -> tuple[Floats, Floats]:
    """What is known of each sample's shift: posterior mean and standard deviation, (samples,).

    Long answers are often the ones that are easy to draft; keeping each sample's length and shift
    together keeps micro AL.
    """
    tried, accepted = _counts(traces, len(process.chance))
    joint, shifts = _joint(tried, accepted, _logits(process.chance), process.spread)
    weights = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
    means = weights @ shifts
    variances = weights @ shifts**2 - means**2
    return means, np.sqrt(np.maximum(variances, 0.0))


def _joint(tried: Floats, accepted: Floats, logits: Floats, spread: float) -> tuple[Floats, Floats]:
    """Log of (what a sample did, its shift), shape (samples, NODES), and those shifts."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    shifted = logits[None, :] + spread * nodes[:, None]
    won, lost = -np.logaddexp(0, -shifted), -np.logaddexp(0, shifted)
    joint = accepted @ won.T + (tried - accepted) @ lost.T + np.log(weights / weights.sum())
    return joint, spread * nodes


def _counts(traces: Sequence[StepTrace], draft_length: int) -> tuple[Floats, Floats]:
    """Trials and successes of every sample at every position; shape (samples, DL)."""
    tried, accepted = [], []
    for turns in clusters(traces).values():
        won = [np.minimum(t.steps[:, None] - 1, draft_length) for t in turns if t.steps.size]
        positions = np.arange(draft_length)[None, :]
        accepted.append(sum(((w > positions).sum(axis=0) for w in won), np.zeros(draft_length)))
        # A step of s tokens tried s positions; a last one only those that it shows.
        shown = [np.append(w[:-1] + 1, w[-1:], axis=0) for w in won]
        tried.append(sum(((s > positions).sum(axis=0) for s in shown), np.zeros(draft_length)))
    return np.array(tried, dtype=np.float64), np.array(accepted, dtype=np.float64)


def step_shares(steps: Iterable[int], draft_length: int) -> Floats:
    """Shares of the steps of 1 … DL + 1 tokens."""
    counts = np.bincount(np.fromiter(steps, dtype=np.int64), minlength=draft_length + 2)
    total = counts.sum()
    if not total:
        raise NoData("no decoding step")
    return np.asarray(counts[1 : draft_length + 2] / total, dtype=np.float64)


def _logits(chance: Sequence[float] | Floats) -> Floats:
    inside = np.clip(np.asarray(chance, dtype=np.float64), 1e-9, 1 - 1e-9)
    return np.asarray(np.log(inside / (1 - inside)), dtype=np.float64)


def _sigmoid(logits: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float64)
