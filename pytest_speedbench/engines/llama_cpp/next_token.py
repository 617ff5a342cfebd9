"""The target's next-token probabilities from llama.cpp's server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_speedbench.engines.serving.schema import Candidate, NextTokens

PATH = "/completion"


def body(prompt: Sequence[int], count: int, plain: int) -> dict[str, Any]:
    """A request for the ``count`` most likely tokens after ``prompt``.

    The probabilities are those of the prefill's token, which is never a draft, before any sampler.
    They come only with a token of complete characters, so ``plain``, an ordinary word, is forced.
    """
    return {
        "prompt": list(prompt),
        "n_predict": 1,
        "n_probs": count,
        "temperature": 0.0,
        "logit_bias": [[plain, 1000.0]],
        "cache_prompt": False,
    }


def entries(reply: NextTokens) -> Sequence[Candidate]:
    """``id``, ``bytes`` and ``logprob`` of each token, the most likely first."""
    return reply.completion_probabilities[0].top_logprobs
