"""What of the prompts can be checked before an engine starts."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_speedbench.engines.prompts import Form
from pytest_speedbench.engines.protocol import EngineConfig
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.errors import EngineError
from pytest_speedbench.measure.tokenizer import Tokenizer
from pytest_speedbench.splits import Sample


def context_window(config: EngineConfig, tokenizer: Tokenizer) -> int:
    """The longest context in tokens that the model, the engine and its arguments allow."""
    bounds = (config.option("max_model_len"), engine_type(config.engine).window(config))
    return min([tokenizer.context_window, *(bound for bound in bounds if isinstance(bound, int))])


def check_prompts(form: Form, samples: Sequence[Sample], tokenizer: Tokenizer) -> None:
    """Refuses samples that do not have the ``form``, or that the chat template refuses.

    One sample with a system prompt and one without are rendered.

    Raises:
        EngineError: the message names the sample, and the form that it has.
    """
    for sample in samples:
        if form == "ids" and not sample.token_ids:
            raise EngineError(
                f"sample {sample.id!r} is text, and --speed-prompt-form ids needs token ids: use "
                "chat or raw, or a split with a field token_ids"
            )
        if form == "raw" and sample.token_ids:
            raise EngineError(
                f"sample {sample.id!r} is a list of token ids, and --speed-prompt-form raw needs "
                "text: use ids"
            )
        if sample.token_ids:
            _check_ids(sample, tokenizer.vocab_size)
    text = [sample for sample in samples if not sample.token_ids]
    kinds = {sample.system is None: sample for sample in text}
    for sample in kinds.values():
        tokenizer.render(sample.messages())


def _check_ids(sample: Sample, vocabulary: int) -> None:
    largest = max(sample.token_ids or (0,))
    if vocabulary and largest >= vocabulary:
        raise EngineError(
            f"sample {sample.id!r} has the token id {largest}, and the model's vocabulary ends at "
            f"{vocabulary - 1}: the ids are those of another tokenizer"
        )
