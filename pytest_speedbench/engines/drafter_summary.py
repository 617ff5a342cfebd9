"""What a drafter's checkpoint is, and whether it is sound; nothing is loaded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pytest_speedbench.engines.checkpoints import Checkpoint, checkpoint
from pytest_speedbench.engines.draft_vocabulary import (
    D2T,
    LM_HEAD,
    T2D,
    map_problems,
    mark_problems,
)
from pytest_speedbench.engines.drafters import refuse_mismatch
from pytest_speedbench.engines.hidden_states import outputs_read, reads_layers
from pytest_speedbench.engines.methods import METHODS
from pytest_speedbench.engines.protocol import Speculation
from pytest_speedbench.engines.registry import engine_names, engine_type
from pytest_speedbench.errors import EngineError

# Part of an architecture's name → the method that it is for, the longer ones first.
_METHODS = {"eagle3": "eagle3", "eagle": "eagle", "medusa": "medusa", "dflash": "dflash"}
# These load no such folder: llama.cpp reads files of its own form, the others load nothing.
_LOADS_NONE = ("llama-cpp", "openai", "simulated")
# What the library speculators writes, with the configuration nested, only vLLM reads.
_SPECULATORS = "speculators_model_type"
_READ_SPECULATORS = ("vllm", "vllm-server")
_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "BF16": 2, "F16": 2, "I16": 2}


@dataclass(frozen=True, slots=True)
class DrafterSummary:
    """A drafter's checkpoint.

    Attributes:
        name: the folder, or the hub's name.
        architecture: as its configuration names it.
        method: the method of speculative decoding that it is for.
        layers: transformer layers.
        hidden_size: width of a layer, in values per token.
        parameters: weights, without the maps of the vocabulary.
        head_parameters: of those the output layer's.
        bytes: size of all tensors.
        dtypes: types of the weights, the most frequent first.
        target_vocabulary: tokens of the target.
        draft_vocabulary: tokens that can be drafted.
        maps: which of ``d2t`` and ``t2d`` there are.
        hidden_states: by engine, the layers of the target, from 0, whose outputs an EAGLE-3 head
            reads there; empty for others, or without a target.
        engines: engines that have the method and read such a folder.
        problems: what is wrong with it, one sentence each.
    """

    name: str
    architecture: str
    method: str
    layers: int | None
    hidden_size: int | None
    parameters: int
    head_parameters: int
    bytes: int
    dtypes: tuple[str, ...]
    target_vocabulary: int | None
    draft_vocabulary: int | None
    maps: tuple[str, ...]
    hidden_states: dict[str, list[int]]
    engines: tuple[str, ...]
    problems: tuple[str, ...]


def summarize(drafter: Checkpoint, target: str = "") -> DrafterSummary:
    """What ``drafter`` is, and what is wrong with it, for ``target`` too where one is given.

    Raises:
        EngineError: it is a pickle file, or has no weights.
    """
    drafter.refuse_pickle()
    if not drafter.tensors:
        raise EngineError(f"{drafter.name} has no weights: expected a *.safetensors file")
    weights = {n: t for n, t in drafter.tensors.items() if n not in (D2T, T2D)}
    dtypes = Counter[str]()
    for tensor in weights.values():
        dtypes[tensor.dtype] += tensor.size
    head = weights.get(LM_HEAD)
    method, vocabulary = method_of(drafter), drafter.number("vocab_size")
    engines = _engines(drafter, method)
    read = _hidden_states(drafter, method, target)
    return DrafterSummary(
        name=drafter.name,
        architecture=drafter.architecture,
        method=method,
        layers=drafter.number("num_hidden_layers"),
        hidden_size=drafter.number("hidden_size"),
        parameters=sum(tensor.size for tensor in weights.values()),
        head_parameters=head.size if head else 0,
        bytes=sum(t.size * _BYTES.get(t.dtype, 1) for t in drafter.tensors.values()),
        dtypes=tuple(name for name, _ in dtypes.most_common()),
        target_vocabulary=vocabulary,
        draft_vocabulary=drafter.number("draft_vocab_size") or vocabulary,
        maps=tuple(name for name in (D2T, T2D) if name in drafter.tensors),
        hidden_states={name: layers for name, layers in read.items() if name in engines},
        engines=engines,
        problems=_problems(drafter, method, target),
    )


def _hidden_states(drafter: Checkpoint, method: str, target: str) -> dict[str, list[int]]:
    found = checkpoint(target) if method == "eagle3" and target else None
    layers = found.number("num_hidden_layers") if found else None
    return outputs_read(drafter, layers) if layers and reads_layers(drafter) else {}


def method_of(drafter: Checkpoint) -> str:
    """The method that a checkpoint is for, by the name of its architecture."""
    named = drafter.config.get(_SPECULATORS) or drafter.architecture
    found = (method for part, method in _METHODS.items() if part in str(named).lower())
    # EAGLE's first version has the architecture of the target, and reads its hidden state.
    return next(found, "eagle" if "fc.weight" in drafter.tensors else "draft_model")


def _engines(drafter: Checkpoint, method: str) -> tuple[str, ...]:
    if method not in METHODS:
        return ()
    readers = _READ_SPECULATORS if _SPECULATORS in drafter.config else engine_names()
    return tuple(
        name for name in readers if name not in _LOADS_NONE and method in engine_type(name).methods
    )


def _problems(drafter: Checkpoint, method: str, target: str) -> tuple[str, ...]:
    found = [f"it {problem}" for problem in (*map_problems(drafter), *mark_problems(drafter))]
    try:
        # One draft token asks for nothing beyond the weights themselves.
        refuse_mismatch(target, Speculation(method, 1, drafter.name))
    except EngineError as error:
        if not any(problem.removeprefix("it ") in str(error) for problem in found):
            found.append(str(error))
    return tuple(found)
