"""Which tool wrote a file, by what is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pytest_speedbench.errors import ForeignFileError
from pytest_speedbench.interop import (
    aiperf,
    golden,
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
    """One kind of file.

    Attributes:
        about: tool and file.
        signs: what gives it away.
        endings: of its name; ``/`` for a folder.
        recognises: whether a file is of this kind.
        read: what it holds.
    """

    about: str
    signs: str
    endings: tuple[str, ...]
    recognises: Callable[[ForeignFile], bool]
    read: Callable[[ForeignFile, Given], Foreign]


_SHOWN: Final = 8
_YAML: Final = (".yaml", ".yml")
_LINES: Final = (".csv", *_YAML)
READERS: Final[Sequence[Reader]] = (
    Reader(
        "AIPerf's profile_export.jsonl",
        "metadata and metrics in each line",
        (".jsonl", ".json", "/"),
        aiperf.recognises,
        aiperf.read,
    ),
    Reader(
        "NVIDIA specdec_bench's output folder",
        " or ".join((specdec_bench.SUMMARY, *specdec_bench.RESPONSES)),
        (".jsonl", ".json", "/"),
        specdec_bench.recognises,
        specdec_bench.read,
    ),
    Reader(
        "the result of vllm bench serve",
        "endpoint_type, num_prompts, request_throughput and model_id",
        (".json", ".jsonl"),
        vllm_bench.recognises,
        vllm_bench.read,
    ),
    Reader(
        "--output of llama.cpp's speed-bench",
        "config, selected_samples and results",
        (".json",),
        llama_cpp_bench.recognises,
        llama_cpp_bench.read,
    ),
    Reader(
        "the JSONL of SGLang's bench_serving",
        "backend, accept_length and total_output_tokens in each line",
        (".jsonl",),
        sglang_bench.recognises,
        sglang_bench.read,
    ),
    Reader(
        "guidellm's JSON report",
        "metadata.guidellm_version",
        (".json",),
        guidellm.recognises,
        guidellm.read,
    ),
    Reader(
        "speculators' acceptance.csv",
        "columns subset, num_drafts and num_accepted_tokens",
        (".csv", "/"),
        references.recognises_speculators,
        references.read_speculators,
    ),
    Reader(
        "TensorRT-LLM's acceptance_length.yaml",
        "ref_al and min_al by test",
        _YAML,
        references.recognises_tensorrt_llm,
        references.read_tensorrt_llm,
    ),
    Reader(
        "InferenceX's golden AL",
        "model, thinking mode, draft length: AL",
        _YAML,
        references.recognises_inferencex,
        references.read_inferencex,
    ),
    Reader(
        "a table of speedbench export --format golden",
        "acceptance_length by case",
        _YAML,
        golden.recognises,
        golden.read,
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
    if ending == ".json" and "benchmarks" in file.keys:
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
            found = reader.read(file, given)
            whole = ending not in _LINES or file.text.endswith("\n")
            return found if whole else _unfinished(found)
    _refuse_own(file, ending)
    raise ForeignFileError(f"{path} {_not_known(file, ending)}")


def _not_known(file: ForeignFile, ending: str) -> str:
    """What a file holds, and what the known ones of its kind hold."""
    own = [reader for reader in READERS if ending in reader.endings]
    if not own:
        known = "; ".join(reader.about for reader in READERS)
        return f"is not a file of a known tool. Known are: {known}"
    known = "; ".join(f"{reader.about} ({reader.signs})" for reader in own)
    more = ", …" * (len(file.outline) > _SHOWN)
    held = f"it has {', '.join(map(repr, file.outline[:_SHOWN]))}{more}"
    if not file.outline:
        held = "it is empty" if file.is_folder else "it has no named fields"
    kind = "a folder" if file.is_folder else "a file"
    what = "folders" if file.is_folder else f"of the files that end in {ending}"
    return (
        f"is not {kind} of a known tool: {held}. Was it cut off, or written by "
        f"another version? Known {what}: {known}"
    )


def _unfinished(found: Foreign) -> Foreign:
    """With a note on a text that may end anywhere, unlike JSON."""
    note = "the last line of the file has no line break: was it cut off there?"
    return replace(found, notes=(*found.notes, note))
