"""Engine names → adapters: the built-in ones, and third-party ones from the entry-point group."""

from __future__ import annotations

import importlib.util
import re
from difflib import get_close_matches
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from pytest_speedbench.engines.methods import METHODS, close_names, own_names, traits
from pytest_speedbench.engines.protocol import (
    FILTERS,
    Engine,
    EngineConfig,
    EngineType,
    Sampling,
)
from pytest_speedbench.engines.serving.address import refuse_addresses
from pytest_speedbench.errors import EngineError, EngineUnavailable, did_you_mean

GROUP = "pytest_speedbench.engines"
# More arguments than these are not listed in a message.
_LISTED = 40
_NAME = re.compile(r"\w[\w.+-]*", re.ASCII)

_BUILTIN = {
    "transformers": "pytest_speedbench.engines.transformers",
    "vllm": "pytest_speedbench.engines.vllm",
    "vllm-server": "pytest_speedbench.engines.vllm.server",
    "openai": "pytest_speedbench.engines.openai",
    "sglang": "pytest_speedbench.engines.sglang",
    "tensorrt-llm": "pytest_speedbench.engines.tensorrt_llm",
    "llama-cpp": "pytest_speedbench.engines.llama_cpp",
    "simulated": "pytest_speedbench.engines.simulated",
}


@cache
def _third_parties() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def engine_names() -> tuple[str, ...]:
    """All engine names, the built-in ones first."""
    return (*_BUILTIN, *(name for name in sorted(_third_parties()) if name not in _BUILTIN))


@cache
def engine_type(name: str) -> EngineType:
    """The adapter called ``name``.

    Raises:
        EngineError: no adapter has this name; the message lists those that exist.
    """
    if name in _BUILTIN:
        adapter: EngineType = import_module(_BUILTIN[name]).ENGINE
        return adapter
    if point := _third_parties().get(name):
        loaded = point.load()
        if not isinstance(loaded, EngineType):
            raise EngineError(
                f"the entry point {point.value!r} of group {GROUP!r} is not an EngineType"
            )
        return loaded
    known = engine_names()
    raise EngineError(
        f"unknown engine {name!r}{did_you_mean(name, known)}; known: {', '.join(known)}"
    )


def installed(adapter: EngineType) -> bool:
    """Whether the engine's package can be imported."""
    return not adapter.requires or importlib.util.find_spec(adapter.requires) is not None


def check(config: EngineConfig) -> EngineType:
    """The adapter for ``config``, after checking that the configuration can work.

    Raises:
        EngineUnavailable: the engine's package is missing.
        EngineError: the configuration cannot work, here or in the environment of ``config.python``.
    """
    if config.python:
        return _check_elsewhere(config)
    adapter = check_method(config.engine, config.speculation.method)
    package, extra = _needed(adapter, config)
    if package and importlib.util.find_spec(package) is None:
        raise EngineUnavailable(
            f"engine {config.engine} is not installed: pip install 'pytest-speedbench[{extra}]'"
        )
    _check_listed(adapter, config)
    _check_prefix_caching(adapter, config)
    if config.environment and config.url:
        raise EngineError(
            f"a running server (--speed-url {config.url}) has its own environment "
            "variables: leave --speed-engine-env out"
        )
    check_arguments(adapter, config)
    _check_draft_sampling(adapter, config)
    adapter.refuse(config)
    return adapter


def _check_listed(adapter: EngineType, config: EngineConfig) -> None:
    """Refuses a misspelling of a name that the installed engine lists and our table does not.

    A name unlike any is left to the engine, which may know more than it lists; so is every name for
    a running server, which may be of another version.
    """
    method = config.speculation.method
    own = adapter.own_methods() if adapter.own_methods and not config.url else ()
    if traits(method).in_table or method in {*own, *map(str.lower, own)}:
        return
    if close := close_names(method, own):
        raise EngineError(
            f"engine {config.engine!r}, as it is installed, lists no method {method!r} "
            f"(did you mean {' or '.join(map(repr, close))}?)"
        )


def _check_prefix_caching(adapter: EngineType, config: EngineConfig) -> None:
    if config.prefix_caching and not adapter.prefix_caching:
        raise EngineError(
            f"engine {config.engine!r} has no prefix cache to switch on (--speed-prefix-caching): "
            "leave it out"
        )


def _check_draft_sampling(adapter: EngineType, config: EngineConfig) -> None:
    asked = config.speculation.draft_sampling
    if not asked:
        return
    if asked not in adapter.draft_samplings:
        why = f"engine {config.engine!r} has no setting for how the drafter chooses its tokens"
    elif config.url:
        why = f"the drafter of a running server ({config.url}) chooses its tokens as it was started"
    elif traits(config.speculation.method).lookup:
        why = f"method {config.speculation.method!r} looks its drafts up and chooses no tokens"
    else:
        return
    raise EngineError(f"{why} (--speed-draft-sampling {asked}): leave it out")


def check_sampling(adapter: EngineType, config: EngineConfig, sampling: Sampling) -> None:
    """Refuses ways of choosing tokens that ``adapter`` does not have.

    Raises:
        EngineError: the message names the option.
    """
    for name in sampling.filters:
        if name not in adapter.filters:
            has = ", ".join(adapter.filters) or "none of them"
            raise EngineError(
                f"engine {config.engine!r} has no {name} (--speed-{name.replace('_', '-')}); of "
                f"{', '.join(FILTERS)} it has: {has}"
            )
    adapter.refuse_sampling(config, sampling)


def _check_elsewhere(config: EngineConfig) -> EngineType:
    """As :func:`check`, by the interpreter of another environment."""
    from pytest_speedbench.engines.process.interpreter import OPTION, survey

    adapter = engine_type(config.engine)
    if not adapter.elsewhere or config.option("serve"):
        raise EngineError(
            f"{OPTION}: engine {config.engine} cannot be started with another interpreter: only "
            "engines that run as a library can. Start both servers, and join them with "
            "--speed-url and --speed-against-url"
        )
    survey(config)
    return adapter


def check_arguments(adapter: EngineType, config: EngineConfig) -> None:
    """Refuses engine arguments that ``adapter`` does not have, and values that they cannot have.

    Raises:
        EngineError: the message names the argument, and those that are close or all there are.
    """
    _check_names(adapter, config)
    refuse_addresses(config)
    adapter.refuse_values(config)


def _check_names(adapter: EngineType, config: EngineConfig) -> None:
    known = adapter.arguments(config)
    if known is None:
        return
    for name, _ in config.args:
        prefix = name.partition(".")[0]
        if name in known or f"{prefix}.*" in known:
            continue
        named = [one for one in known if not one.endswith(".*")]
        close = [repr(one) for one in get_close_matches(name, named, n=3)]
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        listed = f"; known: {', '.join(sorted(known))}" if len(known) <= _LISTED else ""
        raise EngineError(
            f"engine {config.engine!r} has no argument {name!r} (--speed-engine-arg){hint}{listed}"
        )


def check_method(engine: str, method: str) -> EngineType:
    """The adapter called ``engine``, if ``method`` is one of its methods, or one that it may have.

    A name that is not in the table of methods is passed to an engine whose list is open, unless it
    looks like a misspelling.

    Raises:
        EngineError: there is no such engine, or the engine has no such method; the message lists
            the methods that it has.
    """
    adapter = engine_type(engine)
    if method in adapter.methods:
        return adapter
    has = f"has: {', '.join(adapter.methods)}"
    if traits(method).in_table and not lists(adapter, method):
        raise EngineError(f"engine {engine!r} has no method {method!r}; it {has}")
    if not _NAME.fullmatch(method):
        raise EngineError(f"unknown method {method!r}: not a name; engine {engine!r} {has}")
    for known, own in own_names(engine).items():
        if method.lower() == own.lower():
            raise EngineError(f"engine {engine!r}: method {method!r} is called {known!r} here")
    close = close_names(method, adapter.methods if adapter.own_methods is None else METHODS)
    # An engine's own list is read without regard to case.
    other_case = method.lower() in METHODS and method not in METHODS
    if adapter.own_methods is None or other_case or (close and not lists(adapter, method)):
        hint = f" (did you mean {' or '.join(map(repr, close))}?)" if close else ""
        raise EngineError(f"unknown method {method!r}{hint}; engine {engine!r} {has}")
    return adapter


def lists(adapter: EngineType, method: str) -> bool:
    """Whether the installed engine itself lists ``method``."""
    if adapter.own_methods is None:
        return False
    return method.lower() in {name.lower() for name in adapter.own_methods()}


def _needed(adapter: EngineType, config: EngineConfig) -> tuple[str, str]:
    """The package that ``config`` needs, and its extra; joining a server takes only the client."""
    if config.url and adapter.server:
        return "aiohttp", "server"
    return adapter.requires, adapter.extra


def open_engine(config: EngineConfig, timeout: float) -> Engine:
    """Starts the engine of ``config``; ``timeout`` in seconds limits its start, and its pauses."""
    return check(config).open(config, timeout)
