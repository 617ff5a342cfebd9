"""A model's folder as it lies on this machine: ``config.json`` and the headers of its safetensors
files. Weights are not loaded; a hub name that is not in the local cache has no folder."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_speedbench.engines.demo import local_folder
from pytest_speedbench.errors import EngineError, EngineUnavailable

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
# safetensors' own limit.
_LONGEST_HEADER = 100_000_000
# Configurations of the model proper: of multimodal models, and of the library `speculators`.
_NESTED = ("text_config", "transformer_layer_config")


@dataclass(frozen=True, slots=True)
class TensorHeader:
    """What a safetensors file says of a tensor; ``dtype`` is its own name, such as ``BF16``."""

    dtype: str
    shape: tuple[int, ...]
    file: Path

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """A model's folder. ``name`` is what the user calls it."""

    name: str
    folder: Path

    @cached_property
    def _config_file(self) -> dict[str, Any]:
        path = self.folder / "config.json"
        try:
            found = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise EngineError(f"cannot read {path}: {error}") from error
        if not isinstance(found, dict):
            raise EngineError(f"cannot read {path}: expected a JSON object")
        return found

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """``config.json``, with what it nests under ``text_config`` and the like on top.

        Raises:
            EngineError: it is not a JSON object.
        """
        parts = [self._config_file, *(self._config_file.get(key) for key in _NESTED)]
        return {
            key: value for part in parts if isinstance(part, dict) for key, value in part.items()
        }

    def number(self, key: str) -> int | None:
        """An integer of the configuration; None where it has none under ``key``."""
        value = self.config.get(key)
        return value if isinstance(value, int) else None

    @property
    def architecture(self) -> str:
        """The first entry of ``architectures``; empty where there is none."""
        names = self._config_file.get("architectures")  # a nested part may have its own
        return str(names[0]) if isinstance(names, list) and names else ""

    @cached_property
    def tensors(self) -> Mapping[str, TensorHeader]:
        """The tensors of all safetensors files by name; empty where there are none.

        Raises:
            EngineError: a file has no readable header.
        """
        return dict(entry for path in self._files for entry in _header(path))

    @cached_property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Tensor names and shapes of all safetensors files; empty where there are none."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    @property
    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.safetensors"))

    @property
    def pickles(self) -> tuple[str, ...]:
        """Names of weights files in the pickle format, which can run code when they are loaded."""
        found = {path.name for pattern in _PICKLES for path in self.folder.glob(pattern)}
        return tuple(sorted(found - {"training_args.bin", "optimizer.pt", "scheduler.pt"}))

    def refuse_pickle(self) -> None:
        """Refuses weights that come in the pickle format alone.

        Raises:
            EngineError: the message names the file and the fix.
        """
        if self.pickles and not self._files:
            raise EngineError(
                f"{self.name}: {self.pickles[0]} is a pickle file, which can run code when it is "
                "loaded; only safetensors are read: save the checkpoint with "
                "save_pretrained(FOLDER, safe_serialization=True), or its tensors with "
                "safetensors.torch.save_file(tensors, 'model.safetensors')"
            )

    def array(self, name: str) -> NDArray[Any]:
        """The values of one integer or boolean tensor.

        Raises:
            EngineError: the file is damaged.
            EngineUnavailable: the package safetensors is not installed.
        """
        try:
            from safetensors import SafetensorError, safe_open
        except ImportError as error:
            raise EngineUnavailable(
                "reading weights needs safetensors: pip install 'pytest-speedbench[transformers]'"
            ) from error
        path = self.tensors[name].file
        try:
            with safe_open(path, framework="np") as file:
                values: NDArray[Any] = file.get_tensor(name)
                return values
        except SafetensorError as error:
            raise EngineError(f"cannot read {name!r} of {path}: {error}") from error


def checkpoint(model: str) -> Checkpoint | None:
    """The files of ``model``; None where they are not on this machine.

    Raises:
        EngineError: its folder has no ``config.json``.
    """
    folder = local_folder(model)
    if folder is None:
        return None
    if not (folder / "config.json").is_file():
        raise EngineError(
            f"{model} has no config.json, so it is not a checkpoint that engines load: give the "
            "folder that save_pretrained wrote"
        )
    return Checkpoint(model, folder)


def local_checkpoint(model: str) -> Checkpoint:
    """The files of ``model``, which must be on this machine.

    Raises:
        EngineError: they are not, or its folder has no ``config.json``.
    """
    found = checkpoint(model)
    if found is None:
        raise EngineError(
            f"no checkpoint at {model}: give the folder, or a name in the local hub cache"
        )
    return found


def _header(path: Path) -> Iterator[tuple[str, TensorHeader]]:
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > min(_LONGEST_HEADER, path.stat().st_size):
                raise ValueError("the header is longer than the file")
            header = json.loads(file.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                yield name, TensorHeader(str(tensor["dtype"]), tuple(tensor["shape"]), path)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineError(
            f"{path} is not a safetensors file ({error}); copy or save it again"
        ) from error
