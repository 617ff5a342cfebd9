"""Whether the server's model has the vocabulary of the tokenizer that renders the prompts."""

from __future__ import annotations

from typing import Any

from pytest_speedbench.engines.demo import resolve_model
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.schema import Detokenized
from pytest_speedbench.errors import EngineError

_SAMPLE = 300


def check_vocabulary(http: Http, source: str, size: object) -> int:
    """Compares the texts of some hundred ids, spread over the vocabulary.

    Args:
        source: folder or hub name of the tokenizer that renders the prompts.
        size: the vocabulary size that the server reports, if any.

    Returns:
        A token that is an ordinary word.

    Raises:
        EngineError: the server's model has another vocabulary.
    """
    tokenizer = _load(source)
    ids = _ordinary_tokens(tokenizer)
    if isinstance(size, int) and ids and ids[-1] >= size:
        raise _other(http, source, f"it has {size} tokens, the tokenizer has {len(tokenizer)}")
    # Without spaces: some tokenizers drop a leading one.
    reply = http.post("/detokenize", {"tokens": ids}, Detokenized)
    theirs = reply.content.replace(" ", "")
    ours = "".join(_text(tokenizer, token) for token in ids).replace(" ", "")
    if theirs != ours:
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0)
        raise _other(http, source, f"{theirs[at : at + 20]!r} instead of {ours[at : at + 20]!r}")
    return ids[0]


def _load(source: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(resolve_model(source))


def _ordinary_tokens(tokenizer: Any) -> list[int]:
    """Ids, in order, of ordinary tokens that are whole words of plain letters."""
    size = len(tokenizer)
    special = set(tokenizer.all_special_ids)
    found = []
    for token in range(0, size, max(1, size // _SAMPLE)):
        text = _text(tokenizer, token)
        if token not in special and text.isascii() and text.strip().isalpha():
            found.append(token)
    return found


def _text(tokenizer: Any, token: int) -> str:
    return str(tokenizer.decode([token], clean_up_tokenization_spaces=False))


def _other(http: Http, source: str, what: str) -> EngineError:
    return EngineError(
        f"the model at {http.address.url} and the tokenizer {source!r} have different "
        f"vocabularies ({what}): name the tokenizer of the model, --speed-engine-arg "
        "tokenizer=NAME"
    )
