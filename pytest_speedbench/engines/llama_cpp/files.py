"""GGUF files for models and drafters, and the tokenizer that goes with them."""

from __future__ import annotations

import re
from pathlib import Path

from pytest_speedbench.engines.demo import DEMO_MODEL, demo_gguf
from pytest_speedbench.engines.protocol import EngineConfig, EngineError, Speculation

# A large model comes in several files; the server is given the first.
_CONTINUED = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


def model_file(model: str) -> Path:
    """The GGUF file of ``model``: a file, a folder that holds one, or the demo model's own.

    Raises:
        EngineError: there is none.
    """
    if model == DEMO_MODEL:
        return demo_gguf()
    path = Path(model).expanduser()
    if path.is_file() and path.suffix == ".gguf":
        return path
    files = sorted(path.glob("*.gguf")) if path.is_dir() else []
    found = [file for file in files if not _CONTINUED.search(file.name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise EngineError(f"{model} holds several GGUF files ({names}): name one of them")
    raise EngineError(
        f"llama.cpp loads GGUF files, and {model!r} is none: give a file NAME.gguf, or convert the "
        "model with llama.cpp's convert_hf_to_gguf.py"
    )


def drafter_file(speculation: Speculation) -> Path:
    """The GGUF file of the drafter.

    Raises:
        EngineError: none is named, or it is no GGUF file.
    """
    if not speculation.drafter:
        raise EngineError(f"method {speculation.method} needs a drafter: --speed-drafter FILE.gguf")
    return model_file(speculation.drafter)


def tokenizer_source(config: EngineConfig) -> str:
    """The Hugging Face folder or hub name whose tokenizer renders the prompts: the engine argument
    ``tokenizer``, else the folder of the GGUF file.

    Raises:
        EngineError: neither has one.
    """
    if asked := config.option("tokenizer"):
        return str(asked)
    if config.model == DEMO_MODEL or config.url:
        return config.model
    folder = model_file(config.model).parent
    if any((folder / name).is_file() for name in _TOKENIZER_FILES):
        return str(folder)
    raise EngineError(
        f"no Hugging Face tokenizer lies beside {config.model}: name one of the same model, a hub "
        "name or a folder with config.json, with --speed-engine-arg tokenizer=NAME"
    )
