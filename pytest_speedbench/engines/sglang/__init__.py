"""SGLang: its engine in a child process, or its server, started here or joined.

``--speed-url`` joins a server, ``--speed-engine-arg serve=true`` starts one; otherwise the engine
runs as a library.
"""

from __future__ import annotations

from pytest_speedbench.engines.forms import environment, open_either
from pytest_speedbench.engines.methods import methods_of
from pytest_speedbench.engines.process.parent import open_child
from pytest_speedbench.engines.protocol import FILTERS, Engine, EngineConfig, EngineType
from pytest_speedbench.engines.sglang.arguments import (
    SCHEDULES,
    own_arguments,
    own_methods,
    refuse,
    refuse_values,
)


def _open_server(config: EngineConfig, timeout: float) -> Engine:
    # Not for a child process: the environment of a library engine may lack what a client needs.
    from pytest_speedbench.engines.serving.client import open_server
    from pytest_speedbench.engines.sglang.server import SglangDialect, launch

    return open_server(SglangDialect, launch)(config, timeout)


ENGINE = EngineType(
    name="sglang",
    methods=methods_of("sglang"),
    own_methods=own_methods,
    open=open_either(
        open_child("pytest_speedbench.engines.sglang.backend:SglangBackend", environment),
        _open_server,
    ),
    requires="sglang",
    extra="sglang",
    # Reconciled for each request; totals if its chunks were merged.
    step_traces=False,
    scores=True,
    elsewhere=True,
    memory_share="mem_fraction_static",
    memory_size="max_total_tokens",
    server=True,
    arguments=own_arguments,
    prefix_caching=True,
    schedules=SCHEDULES,
    filters=FILTERS,
    refuse_values=refuse_values,
    refuse=refuse,
)
