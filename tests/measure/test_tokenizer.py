"""Tokenizers for engines that take text: the model's own where it is at hand, otherwise none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_speedbench.engines import EngineError
from pytest_speedbench.engines.demo import DEMO_INSTALL, DEMO_MODEL, demo_available
from pytest_speedbench.engines.prompts import Form, raw_text
from pytest_speedbench.measure.prompts import check_prompts
from pytest_speedbench.measure.tokenizer import load_tokenizer
from pytest_speedbench.splits import Sample

MESSAGES = [{"role": "user", "content": "Why is the sky blue?"}]
needs_demo = pytest.mark.skipif(not demo_available(), reason=f"needs {DEMO_INSTALL}")


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


def save_tokenizer(folder: Path, template: str | None) -> str:
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


# -- prompt forms ---------------------------------------------------------------------------

TALK = [{"role": "system", "content": "think"}, {"role": "user", "content": "answer"}]
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}" + TEMPLATE
)
DROPS_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] != 'system' %}{{ m['content'] }}"
    "{% endif %}{% endfor %}"
)


def starting_with_bos(model: str) -> str:
    """The same tokenizer, which puts its first token before every text."""
    import tokenizers

    path = Path(model) / "tokenizer.json"
    own = tokenizers.Tokenizer.from_file(str(path))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    own.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 2)]
    )
    own.save(str(path))
    return model


def test_a_base_model_is_an_error_that_names_raw(tmp_path: Path) -> None:
    model = save_tokenizer(tmp_path, None)
    with pytest.raises(EngineError, match=r"has no chat template, .* --speed-prompt-form raw comp"):
        load_tokenizer("huggingface", model)
    assert load_tokenizer("huggingface", model, form="raw").template_digest == ""
    assert load_tokenizer("huggingface", model, form="ids").encode("think")


def test_raw_text_has_the_first_token_once(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(
        "huggingface", starting_with_bos(save_tokenizer(tmp_path, None)), form="raw"
    )
    once = tokenizer.render([{"role": "user", "content": "think answer"}])
    assert once == [2, 3, 4]
    assert tokenizer.render([{"role": "user", "content": "<s> think answer"}]) == once


def test_a_conversation_as_raw_text() -> None:
    talk = [("system", "S"), ("user", "a"), ("assistant", " b"), ("user", "c")]
    assert raw_text(talk) == "S\n\na b\n\nc"


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPS_SYSTEM], ids=["refuses", "drops"])
def test_without_a_system_role_the_system_prompt_goes_into_the_first_message(
    tmp_path: Path, template: str
) -> None:
    tokenizer = load_tokenizer("huggingface", starting_with_bos(save_tokenizer(tmp_path, template)))
    ids = tokenizer.render(TALK)
    assert ids[:2] == [2, 3]
    assert ids.count(2) == 1


def test_what_the_template_refuses_is_one_clear_error(tmp_path: Path) -> None:
    model = save_tokenizer(tmp_path, "{{ raise_exception('no talk') }}")
    tokenizer = load_tokenizer("huggingface", model)
    with pytest.raises(EngineError, match="the chat template refuses the conversation: no talk; c"):
        tokenizer.render(TALK)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ 1 / 0 }}", "refuses the conversation: ZeroDivisionError: division by zero; choose"),
        ("{{ messages + 1 }}", "refuses the conversation: TypeError: can only concatenate"),
        ("{% if true %}", "refuses the conversation: Unexpected end of template"),
        (
            "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ raise_exception('no past') "
            "}}{% endif %}{{ m['content'] }}{% endfor %}",
            "refuses the conversation: no past",
        ),
        ("", "leaves out the user's message of sample 'a'"),
        ("think", "leaves out the user's message of sample 'a'"),
    ],
)
def test_a_template_is_tried_on_a_whole_conversation(
    tmp_path: Path, template: str, message: str
) -> None:
    tokenizer = load_tokenizer("huggingface", starting_with_bos(save_tokenizer(tmp_path, template)))
    samples = [sample(turns=("think", "answer"))]
    with pytest.raises(EngineError, match=f"the chat template {message}"):
        check_prompts("chat", samples, tokenizer)


def test_a_template_that_reads_parts_of_messages_gets_them(tmp_path: Path) -> None:
    parts = (
        "{% for m in messages %}{% for p in m['content'] %}{{ p['text'] }} {% endfor %}{% endfor %}"
    )
    texts = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    found = []
    for name, template in (("parts", parts), ("texts", texts)):
        model = starting_with_bos(save_tokenizer(tmp_path / name, template))
        tokenizer = load_tokenizer("huggingface", model)
        check_prompts("chat", [sample(turns=("think", "answer"))], tokenizer)
        found.append(tokenizer.render(TALK))
    assert found[0] == found[1] == [3, 4]


def test_a_model_that_reads_images_too_has_its_vocabulary_in_a_part(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model = save_tokenizer(tmp_path, TEMPLATE)
    text = transformers.LlamaConfig(vocab_size=77, max_position_embeddings=99)
    transformers.LlavaConfig(text_config=text).save_pretrained(model)
    tokenizer = load_tokenizer("huggingface", model)
    assert (tokenizer.vocab_size, tokenizer.context_window) == (77, 99)


def test_arguments_of_a_template_do_not_go_with_raw() -> None:
    with pytest.raises(EngineError, match="has no effect with --speed-prompt-form raw"):
        load_tokenizer("words", "m", {"enable_thinking": True}, "raw")


def sample(**fields: object) -> Sample:
    return Sample(**({"id": "a", "category": "math", "turns": ("t",)} | fields))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "given", "message"),
    [
        ("ids", sample(), "sample 'a' is text, and --speed-prompt-form ids needs token ids"),
        ("raw", sample(turns=(), token_ids=(1,)), "sample 'a' is a list of token ids, and"),
        ("chat", sample(turns=(), token_ids=(99_999,)), "token id 99999, and the model's vocabul"),
    ],
)
def test_samples_of_another_form_are_refused(form: Form, given: Sample, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        check_prompts(form, [given], load_tokenizer("words", "m", form=form))
