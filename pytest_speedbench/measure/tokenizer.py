"""Text to token ids, the same for every engine: chat template, stop tokens, context window."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from pytest_speedbench.engines.demo import resolve_model
from pytest_speedbench.engines.prompts import Form, raw_text
from pytest_speedbench.errors import EngineError

Message = Mapping[str, str]

# What the tokenizer or jinja2 gives to every chat template, and nobody sets.
_GIVEN = {
    "messages",
    "add_generation_prompt",
    "bos_token",
    "eos_token",
    "pad_token",
    "unk_token",
    "raise_exception",
    "strftime_now",
    "namespace",
    "range",
    "dict",
    "cycler",
    "joiner",
    "lipsum",
}
_PROBE = "Name a river."
# Arguments of ``apply_chat_template`` itself.
_OF_THE_CALL = ("tools", "documents", "chat_template", "continue_final_message")


class Tokenizer(Protocol):
    """The target's tokenizer and chat template.

    ``template_digest`` identifies the template without its arguments; ``context_window`` is in
    tokens.
    """

    template_digest: str
    template_kwargs: Mapping[str, object]
    stop_ids: tuple[int, ...]
    context_window: int
    vocab_size: int

    def render(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of a conversation, the generation prompt included."""

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, no special tokens."""

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of an answer, its special tokens left out."""


class HuggingFaceTokenizer:
    """A Hugging Face tokenizer, loaded from a folder or a hub name.

    Raises:
        EngineError: there is none, or ``form`` is ``chat`` and it has no chat template.
    """

    def __init__(
        self, model: str, template_kwargs: Mapping[str, object], form: Form = "chat"
    ) -> None:
        path = resolve_model(model)
        self._tokenizer, config = _load(path)
        self.template_kwargs: Mapping[str, object] = dict(template_kwargs)
        template = self._tokenizer.chat_template
        if template is None and form == "chat":
            raise EngineError(
                f"the tokenizer of {model!r} has no chat template, as base models have none: "
                "--speed-prompt-form raw completes the text as it is; or save a template with the "
                "tokenizer (tokenizer.chat_template)"
            )
        self.template: object = template if form == "chat" else None
        self.template_digest = _digest([template, {}]) if form == "chat" else ""
        self.form = form
        # Some templates of models that read images leave out a message that is a plain text.
        self._in_parts = False
        if form == "chat" and not self._shows_messages():
            self._in_parts = True
            self._in_parts = self._shows_messages()
        self.stop_ids = _stop_ids(self._tokenizer, path)
        text = config.get_text_config()  # of a model that reads images too, the part with tokens
        self.context_window = int(getattr(text, "max_position_embeddings", 1 << 30))
        self.vocab_size = int(text.vocab_size)

    def render(self, messages: Sequence[Message]) -> list[int]:
        if self.form != "chat":
            return self._raw(raw_text((m["role"], m["content"]) for m in messages))
        text = self._templated(messages)
        ids, bos = self.encode(text), self._tokenizer.bos_token_id
        doubled = bos is not None and ids[:2] == [bos, bos]
        # Some tokenizers add the BOS token to a text that has it from its template.
        if doubled and not text.startswith(2 * str(self._tokenizer.bos_token)):
            return ids[1:]
        return ids

    def _raw(self, text: str) -> list[int]:
        """A text with the BOS token once, if the tokenizer puts one before every text."""
        ids = self.encode(text)
        first: list[int] = self._tokenizer("a")["input_ids"][:1]
        bos = self._tokenizer.bos_token_id
        return ids if bos is None or first != [bos] or ids[:1] == [bos] else [bos, *ids]

    def _templated(self, messages: Sequence[Message]) -> str:
        """The text of a conversation; without a system role in the template, the system prompt
        goes before the first message of the user."""
        system = messages[0]["content"] if messages and messages[0]["role"] == "system" else ""
        try:
            text = self._apply(messages)
        except EngineError:
            if not system:
                raise
        else:
            if system.strip() in text:
                return text
        return self._apply(_merged(messages))

    def _shows_messages(self) -> bool:
        """Whether the template renders what a user says."""
        try:
            return _PROBE in self._apply([{"role": "user", "content": _PROBE}])
        except EngineError:  # raised again, with its reason, for the samples
            return False

    def _apply(self, messages: Sequence[Message]) -> str:
        try:
            text: str = self._tokenizer.apply_chat_template(
                [_parts(message) if self._in_parts else dict(message) for message in messages],
                add_generation_prompt=True,
                tokenize=False,
                **self.template_kwargs,
            )
        except Exception as error:  # a template is a program, which may raise anything
            raise _refused(error) from None
        return text

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(token_ids), skip_special_tokens=True)
        return text


@dataclass
class WordTokenizer:
    """One id per word, for the simulated engine: no model, no package."""

    template_digest: str = "words-1"
    template_kwargs: Mapping[str, object] = field(default_factory=dict)
    stop_ids: tuple[int, ...] = (2,)
    context_window: int = 1 << 20
    vocab_size: int = 32_000
    form: Form = "chat"

    def render(self, messages: Sequence[Message]) -> list[int]:
        if self.form != "chat":
            return [1, *self.encode(raw_text((m["role"], m["content"]) for m in messages))]
        return [1, *(i for m in messages for i in self.encode(f"{m['role']} {m['content']}")), 1]

    def encode(self, text: str) -> list[int]:
        return [_word_id(word, self.vocab_size) for word in text.split()]

    def decode(self, token_ids: Sequence[int]) -> str:
        return " ".join(f"w{token}" for token in token_ids)


@lru_cache(maxsize=1 << 14)  # every turn of a conversation encodes those before it again
def _word_id(word: str, vocab_size: int) -> int:
    return 16 + int(_digest(word)[:8], 16) % (vocab_size - 16)


@dataclass
class UnknownTokenizer:
    """Stands for the tokenizer of a chat server that is not available here.

    Prompts have no ids and no length here; a prompt that is too long is the server's to refuse.
    """

    model: str
    template_kwargs: Mapping[str, object]
    template_digest: str = ""
    stop_ids: tuple[int, ...] = ()
    context_window: int = 1 << 30
    vocab_size: int = 0

    def render(self, messages: Sequence[Message]) -> list[int]:
        return []

    def encode(self, text: str) -> list[int]:
        raise EngineError(
            f"this split needs the tokenizer of {self.model!r}, which is not available here: give "
            "--speed-model a hub name that is in the local cache, or a folder with tokenizer files"
        )

    def decode(self, token_ids: Sequence[int]) -> str:
        return " ".join(map(str, token_ids))


def _parts(message: Message) -> dict[str, object]:
    """The content of a message as a list of one text, OpenAI's other form of it."""
    return {**message, "content": [{"type": "text", "text": message["content"]}]}


def _merged(messages: Sequence[Message]) -> list[Message]:
    """The system prompt before the first message of the user, after an empty line."""
    system, first, *rest = messages
    return [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]


def _refused(error: Exception) -> EngineError:
    from jinja2 import TemplateError

    why = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
    return EngineError(
        f"the chat template refuses the conversation: {why}; choose other samples, a model with "
        "another template, or --speed-prompt-form raw"
    )


def load_tokenizer(
    kind: str,
    model: str,
    template_kwargs: Mapping[str, object] | None = None,
    form: Form = "chat",
) -> Tokenizer:
    """The tokenizer of ``model``; ``kind`` is the engine type's ``tokenizer``.

    Raises:
        EngineError: there is none, it has no chat template, or the arguments do not belong to it.
    """
    kwargs = template_kwargs or {}
    if kwargs and form != "chat":
        raise EngineError(
            f"--speed-chat-template-kwargs has no effect with --speed-prompt-form {form}: leave it "
            "out"
        )
    if kind == "words":
        return WordTokenizer("words-1" if form == "chat" else "", kwargs, form=form)
    if kind == "server":
        return _servers_tokenizer(model, kwargs, form)
    found = HuggingFaceTokenizer(model, kwargs, form)
    _check_arguments(found.template, kwargs)
    return found


def _check_arguments(template: object, kwargs: Mapping[str, object]) -> None:
    """Refuses arguments that ``template`` never reads, and so would silently ignore.

    Raises:
        EngineError: the message names the argument and those that the template reads.
    """
    if not kwargs or not isinstance(template, str):
        return
    from jinja2 import Environment, TemplateSyntaxError, meta

    try:
        parsed = Environment(extensions=["jinja2.ext.loopcontrols"]).parse(template)  # noqa: S701  # only parsed
    except TemplateSyntaxError:  # written for a dialect with more tags
        return
    read = meta.find_undeclared_variables(parsed) - _GIVEN
    for name in kwargs:
        if name not in read and name not in _OF_THE_CALL:
            raise EngineError(
                f"the chat template reads no argument {name!r} (--speed-chat-template-kwargs); "
                f"it reads: {', '.join(sorted(read)) or 'none'}"
            )


def _servers_tokenizer(model: str, kwargs: Mapping[str, object], form: Form) -> Tokenizer:
    """The model's tokenizer if it is here; the template that counts is the server's own."""
    tokenizer: Tokenizer
    try:
        tokenizer = HuggingFaceTokenizer(model, kwargs, form)
    except (EngineError, ImportError):
        tokenizer = UnknownTokenizer(model, kwargs)
    tokenizer.template_digest = _digest(["server", {}]) if form == "chat" else ""
    return tokenizer


def _load(path: str) -> tuple[Any, Any]:
    from transformers import AutoConfig, AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path), AutoConfig.from_pretrained(path)
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EngineError(
            f"no tokenizer for the model {path!r}: {first}\n"
            "  give --speed-model a hub name that is in the local cache, or a folder with "
            "config.json and tokenizer files"
        ) from error


def _stop_ids(tokenizer: Any, path: str) -> tuple[int, ...]:
    """The engine's own stop tokens: the generation settings' and the tokenizer's."""
    from transformers import GenerationConfig

    ids: list[int] = []
    try:
        own = GenerationConfig.from_pretrained(path).eos_token_id
        ids += own if isinstance(own, list) else [own]
    except OSError:
        pass  # many folders carry no generation_config.json
    ids.append(tokenizer.eos_token_id)
    return tuple(dict.fromkeys(i for i in ids if i is not None))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]
