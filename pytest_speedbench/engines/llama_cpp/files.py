"""GGUF files of models and drafters, and the tokenizer of a model."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pytest_speedbench.engines.demo import DEMO_MODEL, demo_gguf
from pytest_speedbench.engines.protocol import EngineConfig, Speculation
from pytest_speedbench.errors import EngineError

# A large model comes in several files; the server takes the first.
_CONTINUED = re.compile(r"-(?!00001)\d{5}-of-\d{5}\.gguf$")
# Metadata come first in a file, those of the model before those of the tokenizer.
_HEAD_BYTES = 1 << 20
_STRING = 8
_ARCHITECTURE = b"general.architecture" + _STRING.to_bytes(4, "little")
_MTP_LAYERS = b".nextn_predict_layers"
_HEADS = {"eagle3": "eagle3", "dflash": "dflash"}
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


def model_file(model: str) -> Path:
    """The GGUF file of ``model``: a file, a folder with one, or that of the demo model.

    Raises:
        EngineError: there is none.
    """
    if model == DEMO_MODEL:
        return demo_gguf()
    path = Path(os.path.expanduser(model))
    if os.path.isfile(path) and path.suffix == ".gguf":
        return path
    files = sorted(path.glob("*.gguf")) if os.path.isdir(path) else []
    found = [file for file in files if not _CONTINUED.search(file.name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise EngineError(f"{model} contains several GGUF files ({names}): name one of them")
    raise EngineError(
        f"llama.cpp loads GGUF files, and {model!r} is not one: name a file NAME.gguf, or convert "
        "the model with llama.cpp's convert_hf_to_gguf.py"
    )


def weights_file(model: str) -> str:
    """The file with the weights of ``model``; empty if only a joined server knows it."""
    try:
        return str(model_file(model))
    except EngineError:
        return ""


def drafter_file(speculation: Speculation) -> Path:
    """The GGUF file of the drafter.

    Raises:
        EngineError: no drafter is named, or it is not a GGUF file, or not of the kind needed.
    """
    method = speculation.method
    if not speculation.drafter:
        raise EngineError(f"method {method} needs a drafter: --speed-drafter FILE.gguf")
    path = model_file(speculation.drafter)
    kind = architecture(path)
    wanted = _HEADS.get(method)
    if kind and kind != wanted and (wanted or kind in _HEADS.values()):
        raise EngineError(
            f"the drafter {path} has the architecture {kind!r}; method {method} needs "
            f"{repr(wanted) if wanted else 'a language model'}, converted with llama.cpp's "
            "convert_hf_to_gguf.py"
        )
    return path


def refuse_without_mtp(model: str) -> None:
    """Method mtp drafts with MTP layers of the target.

    Raises:
        EngineError: the target has none.
    """
    path = model_file(model)
    if _MTP_LAYERS not in _head(path):
        raise EngineError(
            f"method mtp needs a model with MTP layers, and {path} has none (no key "
            "nextn_predict_layers): convert the model with them, or name the file that contains "
            "them with --speed-drafter"
        )


def architecture(path: Path) -> str:
    """``general.architecture`` of a GGUF file; empty if it has none."""
    _, found, rest = _head(path).partition(_ARCHITECTURE)
    length = int.from_bytes(rest[:8], "little")
    return rest[8 : 8 + length].decode(errors="replace") if found else ""


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


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
        f"the folder of {config.model} has no Hugging Face tokenizer: name one of the same model, "
        "a hub name or a folder with config.json, with --speed-engine-arg tokenizer=NAME"
    )
