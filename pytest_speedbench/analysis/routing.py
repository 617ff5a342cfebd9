"""Which experts of a mixture-of-experts target real and random prompts activate: SPEED-Bench
(arXiv 2604.09557), figures 11 and 12.

The routers of transformers' models are watched with forward hooks, and only counts are kept: memory
does not grow with the prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pytest_speedbench.analysis.table import Column, Table, Value
from pytest_speedbench.errors import NoData
from pytest_speedbench.stats.data import Floats, Ints

NAME = "routing"


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """How often each expert was chosen, over all tokens of some prompts.

    Attributes:
        name: what the prompts are.
        counts: shape (layers, experts).
        tokens: tokens that were routed.
        distinct: shape (layers,), mean over prompts of the experts that a prompt touched.
    """

    name: str
    counts: Ints
    tokens: int
    distinct: Floats

    @property
    def frequency(self) -> Floats:
        """Share of the choices of a layer that fell on each expert, shape (layers, experts)."""
        return np.asarray(self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1))

    @property
    def entropy(self) -> Floats:
        """Normalized entropy of each layer's choices, shape (layers,); 1: all experts alike."""
        share = self.frequency
        logs = np.where(share > 0, np.log(np.where(share > 0, share, 1)), 0)
        return np.asarray(-(share * logs).sum(axis=1) / np.log(self.counts.shape[1]))


@dataclass(frozen=True, slots=True)
class Routing:
    """Activations of the same target on several kinds of prompts, the first one's own beside."""

    activations: tuple[Activation, ...]
    table: Table


def routing(activations: Sequence[Activation]) -> Routing:
    """Compares how prompts are routed, layer by layer.

    Raises:
        NoData: no activation.
    """
    if not activations:
        raise NoData("no prompts were routed")
    rows: list[Mapping[str, Value]] = [
        {
            "prompts": activation.name,
            "layer": layer,
            "distinct": float(activation.distinct[layer]),
            "entropy": float(activation.entropy[layer]),
            "top": float(activation.frequency[layer].max()),
            "distance": _distance(activation, activations[0], layer),
        }
        for activation in activations
        for layer in range(len(activation.counts))
    ]
    experts = activations[0].counts.shape[1]
    columns = (
        Column("prompts", "prompts", "text"),
        Column("layer", "layer"),
        Column("distinct", f"experts of {experts}", digits=1),
        Column("entropy", "entropy", digits=3),
        Column("top", "most frequent", "percent", 1),
        Column("distance", f"off {activations[0].name}", "percent", 1),
    )
    notes = tuple(f"{a.name}: {a.tokens:,} tokens" for a in activations)
    return Routing(tuple(activations), Table(NAME, "Experts by layer", columns, tuple(rows), notes))


def _distance(one: Activation, other: Activation, layer: int) -> float:
    """Total variation distance of two layers' frequencies, 0 to 1."""
    return float(np.abs(one.frequency[layer] - other.frequency[layer]).sum() / 2)


class RouterCounts:
    """Counts the experts that the routers of a transformers model choose while it runs.

    Raises:
        NoData: the model has no router that is known.
    """

    def __init__(self, model: Any) -> None:
        self._config = model.config.get_text_config()
        self._routers = list(_routers(model))
        if not self._routers:
            raise NoData(
                f"{type(model).__name__} has no router: routing is analyzed for mixture-of-experts "
                "models of transformers"
            )
        self._counts = np.zeros((len(self._routers), self._experts), dtype=np.int64)

    @property
    def _experts(self) -> int:
        for name in ("num_local_experts", "num_experts", "n_routed_experts"):
            if isinstance(count := getattr(self._config, name, None), int):
                return count
        raise NoData(f"{type(self._config).__name__} does not give the number of its experts")

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Counts inside this context."""
        hooks = [
            router.register_forward_hook(self._hook(layer))
            for layer, router in enumerate(self._routers)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _hook(self, layer: int) -> Any:
        def count(module: Any, inputs: Any, output: Any) -> None:
            chosen = self._chosen(output)
            self._counts[layer] += np.bincount(chosen, minlength=self._experts)

        return count

    def _chosen(self, output: Any) -> Ints:
        """Experts that a router chose for its tokens, shape (tokens x top k,)."""
        import torch

        parts = output if isinstance(output, tuple) else (output,)
        indices = next((p for p in parts if not torch.is_floating_point(p)), None)
        if indices is None:  # logits alone
            top = self._config.num_experts_per_tok
            indices = parts[0].reshape(-1, self._experts).topk(top, dim=-1).indices
        found: Ints = indices.reshape(-1).to("cpu").numpy()
        return found

    def activation(self, model: Any, name: str, prompts: Iterable[Sequence[int]]) -> Activation:
        """Runs each prompt through ``model`` once and counts what its routers choose.

        Raises:
            NoData: no prompt.
        """
        import torch

        self._counts[:] = 0
        total = np.zeros_like(self._counts)
        distinct = np.zeros(len(self._routers))
        tokens = count = 0
        for prompt in prompts:
            with self.watching(), torch.inference_mode():
                # Without the head: its logits grow with the prompt.
                ids = torch.tensor([list(prompt)], device=model.device)
                model.base_model(input_ids=ids, use_cache=False)
            total += self._counts
            distinct += (self._counts > 0).sum(axis=1)
            self._counts[:] = 0
            tokens, count = tokens + len(prompt), count + 1
        if not count:
            raise NoData(f"{name}: no prompt to route")
        return Activation(name, total, tokens, distinct / count)


def _routers(model: Any) -> Iterator[Any]:
    """Router modules in the order of their layers: transformers names them so, or ``gate``."""
    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind.endswith("Router") or (name.endswith(".gate") and hasattr(module, "weight")):
            yield module
