"""The AL that a measured drafter is expected to have with a cut vocabulary, without running it.

Acceptance is taken as a chain: draft token k is accepted with chance c_k, given that k - 1 were.
From the steps of a run with the whole vocabulary come c_k over all tokens, and c_k over the tokens
inside of the cut vocabulary alone: a token inside is accepted as before, one outside never. Walking
over each output with these chances gives the expected number of decoding steps E[D] with both
vocabularies; the expected AL is the measured one times E[D, whole] / E[D, cut].

What the chain leaves out (prompts that draft better than others, drafts that the cut makes better
because wrong tokens are gone from them too) mostly cancels in the ratio; the rest makes the
expected loss a little too large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pytest_speedbench.analysis.coverage import Bools, Ints, Output, membership, slices_of
from pytest_speedbench.errors import NoData

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ExpectedAcceptance:
    """AL of a drafter as it was measured, and as it is expected with a cut vocabulary."""

    measured: float
    expected: float

    @property
    def loss(self) -> float:
        """Share of the measured AL that the cut is expected to take away."""
        return 1 - self.expected / self.measured


def expect_acceptance(
    outputs: Sequence[Output], vocabulary: Ints, draft_length: int
) -> ExpectedAcceptance:
    """The AL of the drafter behind ``outputs`` if it could propose ``vocabulary`` alone.

    ``vocabulary`` has shape (draft vocabulary,), the target's ids; ``draft_length`` is that of the
    run, in tokens.

    Raises:
        NoData: the run has no drafter, or no decoding step.
    """
    decoded = [output for output in outputs if len(output.decoded)]
    if not decoded or any(output.steps is None for output in decoded):
        raise NoData("the expected AL needs the decoding steps of every output")
    inside = membership(decoded, vocabulary)
    cut = _steps_with(inside, decoded, draft_length)
    whole = _steps_with(np.ones_like(inside), decoded, draft_length)
    measured = sum(len(o.decoded) for o in decoded) / sum(len(_steps(o)) for o in decoded)
    return ExpectedAcceptance(measured, measured * whole / cut)


def expect_by_slice(
    outputs: Sequence[Output], vocabulary: Ints, draft_length: int
) -> list[ExpectedAcceptance]:
    """:func:`expect_acceptance` of the same slices, in the same order, as ``measure_coverage``.

    Each slice has chances of its own.

    Raises:
        NoData: as :func:`expect_acceptance`.
    """
    kept = [output for output in outputs if len(output.decoded)]
    return [
        expect_acceptance([kept[i] for i in places], vocabulary, draft_length)
        for _, _, places in slices_of(kept)
    ]


def _steps_with(inside: Bools, outputs: Sequence[Output], draft_length: int) -> float:
    """Expected decoding steps of all outputs with the tokens that are ``inside``."""
    known = [inside[output.decoded] for output in outputs]
    return expected_steps(known, _chances(outputs, inside, draft_length))


def _steps(output: Output) -> Ints:
    assert output.steps is not None
    return output.steps


def _chances(outputs: Sequence[Output], inside: Bools, draft_length: int) -> Floats:
    """Conditional acceptance at positions 1 … DL over the tokens that are ``inside``.

    The last step of an output is cut off by its end: its last token may have been drafted or not,
    and does not count.
    """
    tried, accepted = np.zeros(draft_length), np.zeros(draft_length)
    for output in outputs:
        sizes, known = _steps(output), inside[output.decoded]
        starts = np.cumsum(sizes) - sizes
        last = np.arange(len(sizes)) == len(sizes) - 1
        for k in range(draft_length):
            drafted = (sizes > k) & ~(last & (sizes == k + 1))
            here = drafted & known[np.minimum(starts + k, len(known) - 1)]
            tried[k] += here.sum()
            accepted[k] += (here & (sizes > k + 1)).sum()
    return np.divide(accepted, tried, out=np.zeros(draft_length), where=tried > 0)


def expected_steps(inside: Sequence[Bools], chances: Floats) -> float:
    """Mean number of decoding steps that emit all outputs together.

    ``inside`` has one array of shape (decoded tokens,) an output, ``chances`` the shape (DL,).
    """
    draft_length = len(chances)
    lengths = np.array([len(own) for own in inside])
    longest = int(lengths.max())
    known = np.zeros((len(inside), longest + draft_length), dtype=np.bool_)
    for row, own in zip(known, inside, strict=True):
        row[: len(own)] = own
    # The chance that a step starts at each place of each output.
    starts = np.zeros((len(inside), longest + draft_length + 1))
    starts[:, 0] = 1.0
    for place in range(longest):
        alive = starts[:, place].copy()
        for k, chance in enumerate(chances):
            accepted = chance * known[:, place + k]
            starts[:, place + k + 1] += alive * (1 - accepted)
            alive *= accepted
        starts[:, place + draft_length + 1] += alive
    within = np.arange(starts.shape[1])[None, :] < lengths[:, None]
    return float(starts[within].sum())
