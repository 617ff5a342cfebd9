"""Routes a split, and random token ids of the same lengths, through a transformers model."""

from __future__ import annotations

from typing import Any

import numpy as np

from pytest_speedbench.analysis.routing import RouterCounts, Routing, routing
from pytest_speedbench.errors import EngineUnavailable, UsageError
from pytest_speedbench.measure.tokenizer import Tokenizer, load_tokenizer
from pytest_speedbench.splits import Split, load_split


def route_split(model: str, split: str, samples: int, seed: int = 0) -> Routing:
    """Activations of the prompts of ``split``, and of random ones, through ``model``.

    Args:
        model: hub name or folder of a mixture-of-experts model.
        split: name or file.
        samples: samples of each category.
        seed: of the random token ids.

    Raises:
        EngineUnavailable: transformers is not installed.
        UsageError: the model cannot be loaded.
        NoData: it has no router.
    """
    tokenizer = load_tokenizer("transformers", model, {})
    prompts = _prompts(load_split(split), tokenizer, samples)
    loaded = _load(model)
    counts = RouterCounts(loaded)
    rng = np.random.default_rng(seed)
    random = [rng.integers(0, tokenizer.vocab_size, len(prompt)).tolist() for prompt in prompts]
    return routing(
        [
            counts.activation(loaded, split, prompts),
            counts.activation(loaded, "random", random),
        ]
    )


def _prompts(split: Split, tokenizer: Tokenizer, samples: int) -> list[list[int]]:
    return [tokenizer.render(s.messages()) for s in split.interleaved(None, samples)]


def _load(model: str) -> Any:
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise EngineUnavailable(
            "analyze routing needs transformers: pip install 'pytest-speedbench[transformers]'"
        ) from error
    try:
        return AutoModelForCausalLM.from_pretrained(model, dtype="auto", device_map=_device())
    except (OSError, ValueError) as error:
        raise UsageError(f"--model {model}: cannot be loaded: {error}") from error


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
