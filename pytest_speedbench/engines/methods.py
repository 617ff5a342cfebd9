"""Methods of speculative decoding: one table of their traits, and each engine's name for them.

A new method is one row of ``_TABLE``. Everything else reads the row: which arguments an adapter
passes, whether a drafter is required, how acceptance is counted, when speculation counts as off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

Drafter = Literal["none", "optional", "model", "layer"]
Shape = Literal["chain", "block", "tree"]
# Ratio of difflib above which an unknown name counts as a misspelling of a known one.
_CLOSE = 0.8


@dataclass(frozen=True, slots=True)
class Method:
    """The traits of one method.

    Attributes:
        drafter: what ``--speed-drafter`` names: ``none`` (the method takes no drafter), a ``model``
            that is required, the number of a ``layer`` of the target that is required, or an
            ``optional`` model.
        lookup: drafts are found in the text of the request, so a step may have none.
        every_step: every decoding step drafts, but for those at the end of the context.
        shape: draft tokens are proposed one after the other (``chain``; some engines can be asked
            for branches), all positions at once (``block``), or maybe as a ``tree``.
        names: engine → its own name for the method; the engines that have it.
        remembers: drafts come from earlier requests too, so that the text of a request does not
            decide them.
        in_table: False for a name that is passed to the engine as it is.
    """

    name: str
    drafter: Drafter = "optional"
    lookup: bool = False
    every_step: bool = False
    shape: Shape = "tree"
    names: Mapping[str, str] = field(default_factory=dict, hash=False)
    remembers: bool = False
    in_table: bool = True

    @property
    def needs_drafter(self) -> bool:
        """Whether a model must be named with ``--speed-drafter``."""
        return self.drafter == "model"

    @property
    def takes_drafter(self) -> bool:
        """Whether a drafter that is given belongs to this method."""
        return self.drafter != "none"

    @property
    def branches(self) -> bool:
        """Whether a model drafts token by token, so that an engine may widen the chain to a
        tree."""
        return self.shape == "chain" and not self.lookup


def _row(
    name: str,
    drafter: Drafter,
    shape: Shape = "chain",
    *,
    lookup: bool = False,
    every_step: bool = True,
    remembers: bool = False,
    **names: str,
) -> Method:
    own = {engine.replace("_", "-"): text for engine, text in names.items()}
    return Method(name, drafter, lookup, every_step and not lookup, shape, own, remembers)


# Names of engines: vLLM 0.32 `speculative_config.method`, SGLang 0.5.23 `SpeculativeAlgorithm`,
# TensorRT-LLM `decoding_type`, llama.cpp `--spec-type`, transformers 5.19 argument of `generate`.
_TABLE = (
    _row(
        "none",
        "none",
        every_step=False,
        vllm="none",
        sglang="NONE",
        tensorrt_llm="none",
        llama_cpp="none",
        transformers="none",
    ),
    _row(
        "ngram",
        "none",
        lookup=True,
        vllm="ngram",
        sglang="NGRAM",
        tensorrt_llm="NGram",
        llama_cpp="ngram-simple",
        transformers="prompt_lookup_num_tokens",
    ),
    _row(
        "draft_model",
        "model",
        vllm="draft_model",
        sglang="STANDALONE",
        tensorrt_llm="Draft_Target",
        llama_cpp="draft-simple",
        transformers="assistant_model",
    ),
    _row("eagle", "model", vllm="eagle", sglang="EAGLE"),
    _row(
        "eagle3",
        "model",
        vllm="eagle3",
        sglang="EAGLE3",
        tensorrt_llm="Eagle3",
        llama_cpp="draft-eagle3",
    ),
    _row("mtp", "optional", vllm="mtp", sglang="NEXTN", tensorrt_llm="MTP", llama_cpp="draft-mtp"),
    _row("medusa", "model", "block", vllm="medusa"),
    # vLLM lists it too, but registers no architecture for its drafters.
    _row("mlp_speculator", "model"),
    _row("suffix", "none", lookup=True, remembers=True, vllm="suffix", tensorrt_llm="SA"),
    _row(
        "dflash",
        "model",
        "block",
        vllm="dflash",
        sglang="DFLASH",
        tensorrt_llm="DFlash",
        llama_cpp="draft-dflash",
    ),
    _row("early_exit", "layer", transformers="assistant_early_exit"),
)
_BY_NAME: Mapping[str, Method] = {method.name: method for method in _TABLE}

METHODS = tuple(_BY_NAME)
"""Names of all methods in the table."""


def traits(name: str) -> Method:
    """The row of ``name``. One that is not in the table gets the most careful traits: it may draft
    in only some steps, may draft a tree, and may take a drafter."""
    return _BY_NAME.get(name) or Method(name, in_table=False)


def methods_of(engine: str) -> tuple[str, ...]:
    """Methods in the table that ``engine`` has, ``none`` first."""
    return tuple(own_names(engine))


def own_names(engine: str) -> dict[str, str]:
    """Method → the name that ``engine`` itself gives it, for the methods that it has."""
    return {m.name: m.names[engine] for m in _TABLE if engine in m.names}


def unknown_method_note(name: str) -> str:
    """What a report says about a method that is not in the table; empty for one that is."""
    if traits(name).in_table:
        return ""
    return (
        f"method {name!r} is not in the table of methods: its name went to the engine unchanged, "
        "and it is assumed to draft in only some of the steps, possibly a tree"
    )


def close_names(name: str, known: Iterable[str]) -> list[str]:
    """Those of ``known`` that ``name`` may be a misspelling of, the closest first, at most two."""
    spelled = {_plain(one): one for one in known}
    close = get_close_matches(_plain(name), spelled, n=2, cutoff=_CLOSE)
    return [spelled[one] for one in close]


def _plain(name: str) -> str:
    """``EAGLE-3`` → ``eagle3``."""
    return name.lower().replace("-", "").replace("_", "")
