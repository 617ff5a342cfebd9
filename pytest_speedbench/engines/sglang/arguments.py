"""An ``EngineConfig`` → SGLang's ``ServerArgs``; configurations that are refused.

Written against SGLang 0.5.23 (``sglang/srt/arg_groups``). The draft length is exact: DL draft
tokens below the root, so that SGLang's verification window is DL + 1 tokens.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pytest_speedbench.engines.demo import resolve_model
from pytest_speedbench.engines.drafters import refuse_mismatch
from pytest_speedbench.engines.forms import OURS, serves
from pytest_speedbench.engines.installed import class_fields, enum_members, source_of
from pytest_speedbench.engines.methods import own_names, traits
from pytest_speedbench.engines.protocol import EngineConfig, Speculation
from pytest_speedbench.errors import EngineError

_TRIE_DEPTH = 18  # SGLang's own speculative_ngram_max_trie_depth

_PREFIX = "speculative."
SCHEDULES = tuple(
    f"speculative{mark}{name}" for name in ("adaptive", "adaptive_config") for mark in "._"
)
# Arguments that have an option of ours.
_OPTION_FOR = {
    "model_path": "--speed-model",
    "speculative_algorithm": "--speed-method",
    "speculative_num_steps": "--speed-dl",
    "speculative_dflash_block_size": "--speed-dl",
    "speculative_draft_model_path": "--speed-drafter",
    "speculative_draft_model": "--speed-drafter",
}


def server_arguments(config: EngineConfig) -> dict[str, Any]:
    """Keyword arguments of ``sglang.Engine`` and its server; those of the user take precedence."""
    given = given_arguments(config)
    if not config.speculation.active:
        given = {k: v for k, v in given.items() if not k.startswith("speculative_")}
    return {
        "model_path": resolve_model(config.model),
        # The default is 48 with speculation and another number without.
        "max_running_requests": config.max_batch,
        # With a prefix cache later rounds skip the prefill of the first round.
        "disable_radix_cache": not config.prefix_caching,
        "random_seed": 0,
        **speculative_arguments(config.speculation),
        **given,
    }


def given_arguments(config: EngineConfig) -> dict[str, Any]:
    """The user's arguments for SGLang; ``speculative.KEY`` becomes ``speculative_KEY``."""
    return {
        "speculative_" + name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else name: value
        for name, value in config.args
        if name not in OURS
    }


def own_arguments(config: EngineConfig) -> Collection[str] | None:
    """The engine arguments of the installed SGLang; None where it is not installed, and for its
    server, whose command line has further names for them."""
    names = class_fields(source_of("sglang", "srt/server_args.py"), "ServerArgs")
    if "model_path" not in names or serves(config):
        return None
    return {*names, *OURS, f"{_PREFIX}*"}


def algorithm(method: str) -> str:
    """SGLang's name for ``method``; its own names are in capital letters."""
    return own_names("sglang").get(method, method.upper())


def own_methods() -> Collection[str]:
    """The algorithms that the installed SGLang lists; empty where it is not installed."""
    return enum_members(source_of("sglang", "srt/speculative/spec_info.py"), "SpeculativeAlgorithm")


def speculative_arguments(speculation: Speculation) -> dict[str, Any]:
    """SGLang's ``speculative_…`` for exactly ``speculation.draft_length`` draft tokens a step."""
    if not speculation.active:
        return {}
    method, dl = speculation.method, speculation.draft_length
    # The window includes the last verified token.
    found: dict[str, Any] = {
        "speculative_algorithm": algorithm(method),
        "speculative_num_draft_tokens": dl + 1,
    }
    if traits(method).branches:
        found |= {"speculative_num_steps": dl, "speculative_eagle_topk": 1}
    if method == "ngram":
        # One candidate per position, the closest to a chain.
        found |= {"speculative_ngram_min_bfs_breadth": 1, "speculative_ngram_max_bfs_breadth": 1}
    if speculation.drafter and traits(method).takes_drafter:
        found["speculative_draft_model_path"] = resolve_model(speculation.drafter)
    return found


def drafts_a_chain(arguments: Mapping[str, Any]) -> bool:
    """Whether drafts are chains, so that all draft tokens of a step can be accepted."""
    breadth = "speculative_ngram_max_bfs_breadth"
    return int(arguments.get("speculative_eagle_topk") or arguments.get(breadth) or 1) == 1


def counts_drafts(speculation: Speculation, arguments: Mapping[str, Any]) -> bool:
    """Whether SGLang's number of proposed drafts is the number of draft tokens.

    It counts the whole window, with the padding of n-gram drafts and all branches of a tree, and
    the widest window where it adapts. Unknown, so False, for a method that is not in the table.
    """
    chain = traits(speculation.method).every_step and drafts_a_chain(arguments)
    return chain and not arguments.get("speculative_adaptive")


def refuse_values(config: EngineConfig) -> None:
    """Refuses arguments that have an option of their own, and a ``serve`` that is no switch.

    Raises:
        EngineError: the message names the fix.
    """
    serves(config)
    given = given_arguments(config)
    for name, option in _OPTION_FOR.items():
        if name in given:
            raise EngineError(f"--speed-engine-arg {name}: use {option} instead")


def refuse(config: EngineConfig) -> None:
    """Refuses what SGLang would notice only after loading, or never.

    Raises:
        EngineError: the message names the fix.
    """
    given, speculation = given_arguments(config), config.speculation
    if not speculation.active:
        return
    if traits(speculation.method).needs_drafter and not speculation.drafter:
        raise EngineError(f"method {speculation.method} needs a drafter: --speed-drafter PATH")
    if not config.url:
        refuse_mismatch(config.model, speculation)
    _refuse_window(given, speculation)
    depth = int(given.get("speculative_ngram_max_trie_depth", _TRIE_DEPTH))
    if speculation.method == "ngram" and speculation.draft_length >= depth:
        raise EngineError(
            f"SGLang's n-gram trie is {depth} tokens deep, too little for "
            f"dl={speculation.draft_length}: use --speed-engine-arg "
            f"speculative.ngram_max_trie_depth={speculation.draft_length + depth}"
        )


def _refuse_window(given: Mapping[str, Any], speculation: Speculation) -> None:
    """The window can be chosen for a tree only; a chain's is DL + 1."""
    window = given.get("speculative_num_draft_tokens")
    if not drafts_a_chain(given):
        if traits(speculation.method).branches and window is None:
            raise EngineError(
                "speculative.eagle_topk above 1 drafts a tree: set the number of its tokens that "
                "are verified, --speed-engine-arg speculative.num_draft_tokens=NUMBER"
            )
        return
    if window is not None and int(window) != speculation.draft_length + 1:
        raise EngineError(
            f"speculative.num_draft_tokens={window} contradicts dl={speculation.draft_length}, "
            f"whose window is {speculation.draft_length + 1}: leave it out"
        )
