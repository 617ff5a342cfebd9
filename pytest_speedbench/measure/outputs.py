"""One pass of a target over samples, without speculation: its own outputs, and nothing timed."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_speedbench.engines.protocol import EngineConfig, Sampling, Speculation
from pytest_speedbench.engines.registry import engine_type, open_engine
from pytest_speedbench.measure.load import ClosedLoop, Progress, Reported
from pytest_speedbench.measure.prompts import context_window
from pytest_speedbench.measure.results import Turn
from pytest_speedbench.measure.tokenizer import Tokenizer
from pytest_speedbench.splits import Sample


def target_outputs(
    config: EngineConfig,
    tokenizer: Tokenizer,
    samples: Sequence[Sample],
    sampling: Sampling,
    timeout: float,
    progress: Progress = lambda done, total: None,
) -> list[Turn]:
    """Every turn of ``samples`` as the target of ``config`` answers it.

    Holds ``config.max_batch`` requests in flight; ``timeout`` in seconds bounds the engine's start
    and its silences.

    Raises:
        EngineError: the engine cannot run, or a prompt does not fit the context window.
    """
    window = context_window(config, tokenizer)
    engine = open_engine(config, timeout)
    try:
        reported = Reported.of(engine_type(config.engine), engine.info)
        loop = ClosedLoop(engine, tokenizer, sampling, Speculation(), window, reported)
        return loop.run(samples, config.max_batch, progress)
    finally:
        engine.close()
