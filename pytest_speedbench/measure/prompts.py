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
    """Refuses samples that do not have the ``form``, or that the chat template refuses or drops.

    The longest conversation with a system prompt and without, of one turn and of several, are
    rendered whole.

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
    text = sorted((s for s in samples if not s.token_ids), key=lambda sample: len(sample.turns))
    longest = {(sample.system is None, sample.multiturn): sample for sample in text}
    for sample in longest.values():
        _check_template(sample, tokenizer)


def _check_template(sample: Sample, tokenizer: Tokenizer) -> None:
    """Renders the conversation to its last turn, with stand-ins for the model's answers."""
    messages = sample.messages()
    for turn in sample.turns[1:]:
        messages += [{"role": "assistant", "content": "OK."}, {"role": "user", "content": turn}]
    prompt = tokenizer.render(messages)
    if not tokenizer.vocab_size:  # a server's, which is not here
        return
    *before, last = messages
    longer = {**last, "content": f"{last['content']} x"}
    # One that knows few words may have the same ids for both.
    differ = tokenizer.encode(last["content"]) != tokenizer.encode(longer["content"])
    if differ and prompt == tokenizer.render([*before, longer]):
        raise EngineError(
            f"the chat template leaves out the user's message of sample {sample.id!r}: choose a "
            "model with another template, or --speed-prompt-form raw"
        )


def _check_ids(sample: Sample, vocabulary: int) -> None:
    largest = max(sample.token_ids or (0,))
    if vocabulary and largest >= vocabulary:
        raise EngineError(
            f"sample {sample.id!r} has the token id {largest}, and the model's vocabulary ends at "
            f"{vocabulary - 1}: the ids are those of another tokenizer"
        )
