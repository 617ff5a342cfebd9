"""Ready TargetTokenizers: of a Hugging Face model (or folder), and SPEED-Bench's o200k_base."""

from __future__ import annotations

from typing import Any, Final

from pytest_speedbench.errors import SplitError

from .errors import optional_import
from .model import Message, TargetTokenizer


def hf_tokenizer(model: str, *, gguf_file: str | None = None, **template: Any) -> TargetTokenizer:
    """Return the tokenizer of a model name or folder, with its chat template.

    ``gguf_file`` names a GGUF file inside the folder; ``template`` is passed on to the chat
    template (``enable_thinking=False``). Without a chat template the plain text is the prompt.
    Raises SplitError without the transformers package, and where nothing can be loaded.
    """
    transformers: Any = optional_import("transformers", "transformers", f"tokenizing for {model}")
    more = {} if gguf_file is None else {"gguf_file": gguf_file}
    try:
        loaded = transformers.AutoTokenizer.from_pretrained(model, **more)
    except Exception as error:
        raise SplitError(
            f"cannot load the tokenizer of {model!r}: {error}. Give a model on the hub, or a "
            "local folder with tokenizer.json"
        ) from error
    return wrap_tokenizer(loaded, name=model, **template)


def wrap_tokenizer(loaded: Any, *, name: str, **template: Any) -> TargetTokenizer:
    """Return a TargetTokenizer around a loaded transformers tokenizer."""

    def encode(text: str) -> list[int]:
        ids: list[int] = loaded.encode(text, add_special_tokens=False)
        return ids

    def render(messages: list[Message]) -> list[int]:
        if not getattr(loaded, "chat_template", None):
            plain: list[int] = loaded.encode("\n".join(m["content"] for m in messages))
            return plain
        text: str = loaded.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **template
        )
        return encode(text)

    def decode(ids: list[int]) -> str:
        text: str = loaded.decode(ids)
        return text

    # Prompts are longer than small models' windows on purpose: no warning for each.
    loaded.model_max_length = int(1e9)
    special = frozenset(loaded.all_special_ids)
    return TargetTokenizer(name, render, encode, decode, len(loaded), special)


O200K: Final = "o200k_base"
_O200K_CACHED_AS: Final = "fb374d419588a4632f3f557e76b4b70aebbca790"
"""What tiktoken calls the vocabulary in its cache: the sha1 of its address."""


def tiktoken_tokenizer(encoding: str = O200K) -> TargetTokenizer:
    """Return a tiktoken encoding, without a chat template: SPEED-Bench's fixed yardstick.

    Raises SplitError without the tiktoken package, and where its vocabulary cannot be fetched.
    """
    tiktoken: Any = optional_import("tiktoken", "hub", f"counting tokens in {encoding}")
    try:
        loaded = tiktoken.get_encoding(encoding)
    except Exception as error:
        raise SplitError(
            f"cannot load the tiktoken encoding {encoding!r}: {error}. tiktoken fetches its "
            "vocabulary once from the network. Without one, set TIKTOKEN_CACHE_DIR to a folder "
            f"copied from a machine that has it (o200k_base is stored there as {_O200K_CACHED_AS})"
        ) from error

    def encode(text: str) -> list[int]:
        ids: list[int] = loaded.encode(text, disallowed_special=())
        return ids

    def render(messages: list[Message]) -> list[int]:
        return encode("\n".join(message["content"] for message in messages))

    def decode(ids: list[int]) -> str:
        text: str = loaded.decode(ids)
        return text

    return TargetTokenizer(encoding, render, encode, decode, loaded.n_vocab)
