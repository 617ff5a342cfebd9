"""What identifies a case from run to run."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_speedbench.baselines.part import Part
from pytest_speedbench.quantities import exact


class CaseKey(Part):
    """What identifies a case from run to run, whatever its test is called.

    Attributes:
        engine: name of the engine.
        model: name of the target, without the folder that it is in.
        method: method of speculative decoding; ``none`` without.
        dl: draft length, in tokens; 0 without speculation.
        bs: batch size: requests held in flight.
        split: name of the split, or the digest of a file's content.
        slice: a category, an entropy tier, or ``all``.
        prefix_caching: whether the engine keeps the KV cache of earlier prompts.
        prompt_form: ``chat``, ``raw`` or ``ids``.
        temperature: 0 is greedy.
        top_p: 1 keeps all tokens; as ``top_k``, ``min_p`` and ``seed`` only at a temperature.
        top_k: 0 keeps all tokens.
        min_p: 0 keeps all tokens.
        seed: seed of the engine's random numbers.
        template: arguments of the chat template.
        drafter: name of the drafter, where the grid has several.
        environment: label of the engine's environment, where the grid has several.

    A field that an earlier record lacks has its default.
    """

    engine: str
    model: str
    method: str
    dl: int
    bs: int
    split: str
    slice: str
    prefix_caching: bool = False
    prompt_form: str = "chat"
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int = 0
    template: str = ""
    drafter: str = ""
    environment: str = ""

    def __str__(self) -> str:
        method = self.method if self.method == "none" else f"{self.method} dl{self.dl}"
        parts = (self.engine, self.model, method, f"bs{self.bs}", *self.extras())
        return f"{' '.join(parts)} {self.split}:{self.slice}"

    def extras(self) -> Iterator[str]:
        """What differs from the default, of the axes that most cases leave alone."""
        if self.drafter:
            yield self.drafter
        if self.prefix_caching:
            yield "cached"
        if self.prompt_form != "chat":
            yield self.prompt_form
        if self.temperature:
            yield f"t{exact(self.temperature)}"
        for name in ("top_p", "top_k", "min_p", "seed"):
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                yield f"{name}={exact(value)}"
        yield from filter(None, (self.template, self.environment))

    def rarer(self) -> Iterator[str]:
        """``extras`` without drafter and temperature, which have a place of their own in tables."""
        placed = {self.drafter, f"t{exact(self.temperature)}"}
        yield from (text for text in self.extras() if text not in placed)

    def _values(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in KEY_FIELDS)

    def __hash__(self) -> int:
        return hash(self._values())

    def __eq__(self, other: object) -> bool:
        """By what identifies a case; fields of a later version do not."""
        return isinstance(other, CaseKey) and self._values() == other._values()


KEY_FIELDS = tuple(CaseKey.model_fields)
