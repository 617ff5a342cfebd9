"""Which tool wrote a file, by what is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_speedbench.errors import ForeignFileError
from pytest_speedbench.interop import (
    aiperf,
    guidellm,
    llama_cpp_bench,
    references,
    sglang_bench,
    specdec_bench,
    vllm_bench,
)
from pytest_speedbench.interop.foreign import Foreign, Given
from pytest_speedbench.interop.foreign_file import ForeignFile


@dataclass(frozen=True, slots=True)
class Reader:
    """One kind of file: how it ends (``/`` for a folder), what gives it away, what reads it."""

    about: str
    endings: tuple[str, ...]
    recognises: Callable[[ForeignFile], bool]
    read: Callable[[ForeignFile, Given], Foreign]


READERS: Final[Sequence[Reader]] = (
    Reader(
        "AIPerf: profile_export.jsonl", (".jsonl", ".json", "/"), aiperf.recognises, aiperf.read
    ),
    Reader(
        "NVIDIA specdec_bench: its output folder",
        (".jsonl", ".json", "/"),
        specdec_bench.recognises,
        specdec_bench.read,
    ),
    Reader("vllm bench serve: result JSON", (".json",), vllm_bench.recognises, vllm_bench.read),
    Reader(
        "llama.cpp speed-bench: JSON of --output",
        (".json",),
        llama_cpp_bench.recognises,
        llama_cpp_bench.read,
    ),
    Reader("SGLang bench_serving: JSONL", (".jsonl",), sglang_bench.recognises, sglang_bench.read),
    Reader("guidellm: JSON report", (".json",), guidellm.recognises, guidellm.read),
    Reader(
        "speculators: acceptance.csv",
        (".csv", "/"),
        references.recognises_speculators,
        references.read_speculators,
    ),
    Reader(
        "TensorRT-LLM: acceptance_length.yaml",
        (".yaml", ".yml"),
        references.recognises_tensorrt_llm,
        references.read_tensorrt_llm,
    ),
    Reader(
        "InferenceX: golden AL YAML",
        (".yaml", ".yml"),
        references.recognises_inferencex,
        references.read_inferencex,
    ),
)


def _refuse_own(file: ForeignFile, ending: str) -> None:
    """A saved run of ours needs no conversion.

    Raises:
        ForeignFileError: the file is one; the message names the command that takes it.
    """
    if ending == ".zip":
        raise ForeignFileError(
            f"{file.path}: an archive of saved runs is read by speedbench baseline import"
        )
    if ending == ".json" and isinstance(file.document, dict) and "benchmarks" in file.document:
        raise ForeignFileError(
            f"{file.path} is a file of pytest-benchmark, as saved runs are: speedbench compare, "
            "show and --speed-compare=PATH take it as it is, and speedbench baseline import "
            f"{file.path} adds it to the saved runs"
        )


def read_foreign(path: Path, given: Given) -> Foreign:
    """Read a file or folder of another tool.

    Raises:
        ForeignFileError: it does not exist, cannot be read, was written by none of the known tools,
            or cannot be converted; the message says which.
        UsageError: a package that reads it is not installed.
    """
    file = ForeignFile(path)
    if not path.exists():
        raise ForeignFileError(f"{path} does not exist")
    ending = "/" if file.is_folder else path.suffix.lower()
    for reader in READERS:
        if ending in reader.endings and reader.recognises(file):
            return reader.read(file, given)
    _refuse_own(file, ending)
    known = "; ".join(reader.about for reader in READERS)
    raise ForeignFileError(
        f"{path} is not a file of a known tool, or one of another version. Known are: {known}"
    )
