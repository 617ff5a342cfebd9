"""TensorRT-LLM: its ``LLM`` in a child process, or ``trtllm-serve``, started here or joined.

``--speed-url`` joins a server, ``--speed-engine-arg serve=true`` starts one; otherwise the engine
runs as a library.
"""

from __future__ import annotations

from pytest_speedbench.engines.forms import environment, open_either
from pytest_speedbench.engines.methods import methods_of
from pytest_speedbench.engines.process.parent import open_child
from pytest_speedbench.engines.protocol import FILTERS, Engine, EngineConfig, EngineType
from pytest_speedbench.engines.tensorrt_llm.arguments import own_methods, refuse, refuse_values


def _open_server(config: EngineConfig, timeout: float) -> Engine:
    # Not for a child process: the environment of a library engine may lack what a client needs.
    from pytest_speedbench.engines.serving.client import open_server
    from pytest_speedbench.engines.tensorrt_llm.server import TensorrtLlmDialect, launch

    return open_server(TensorrtLlmDialect, launch)(config, timeout)


ENGINE = EngineType(
    name="tensorrt-llm",
    methods=methods_of("tensorrt-llm"),
    own_methods=own_methods,
    open=open_either(
        open_child(
            "pytest_speedbench.engines.tensorrt_llm.backend:TensorrtLlmBackend", environment
        ),
        _open_server,
    ),
    requires="tensorrt_llm",
    extra="tensorrt-llm",
    # Reconciled for each request; totals if its responses were merged.
    step_traces=False,
    scores=True,
    elsewhere=True,
    server=True,
    filters=FILTERS,
    refuse_values=refuse_values,
    refuse=refuse,
)
