"""Why an answer ended, in each engine's own word, as *complete*, *cut* or *broken off*."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_speedbench.engines.protocol import FinishReason

_LONGEST = 200

# OpenAI's API (a call of a tool is the model's own end), vLLM, SGLang, TensorRT-LLM, llama.cpp,
# text-generation-inference, and the names that proxies translate to.
_COMPLETE = frozenset(
    {
        *("stop", "eos", "eos_token", "end_id", "end_turn", "complete", "completed"),
        *("word", "stop_word", "stop_words", "stop_sequence", "stop_str", "stop_token"),
        *("tool_call", "tool_calls", "tool_use", "function_call"),
    }
)
_CUT = frozenset(
    {
        *("length", "limit", "max_length", "max_tokens", "max_new_tokens", "max_output_tokens"),
        "model_length",
    }
)


@dataclass(frozen=True, slots=True)
class Finish:
    """``reason`` in our terms; ``failure`` is the engine's own word for an answer that it broke
    off, empty for others."""

    reason: FinishReason
    failure: str = ""


def read_finish(found: object) -> Finish | None:
    """An engine's finish reason; None while the answer goes on (None, or an empty text).

    What is neither a natural end nor a limit of length is an answer that was broken off, whatever
    its name: an abort, an error, a filter, and every word that is not known here.
    """
    if found is None or found == "":
        return None
    text = str(found).strip()
    word = text.lower()
    if isinstance(found, str) and word in _COMPLETE:
        return Finish("stop")
    if isinstance(found, str) and word in _CUT:
        return Finish("length")
    return Finish("abort", text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
