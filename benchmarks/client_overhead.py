"""Tokens/s through the plugin, over vLLM's own offline loop around the same engine.

Real vLLM, CPU or GPU. One engine for each batch size, with ``max_num_seqs`` of just that size. In
turns, the same prompts go through ``LLM.generate``, all at once, and through the plugin's closed
loop: a child process, requests over a pipe, a trace with every step's time for each. ``client`` is
the time between two ``LLMEngine.step()`` of a busy engine: reading what the step gave, keeping the
traces, sending finished ones, starting the next. While the core of the engine works in a process of
its own, the client costs nothing as long as it still waits for the core. Wanted: a ratio of at
least 0.98 at BS 128 and 0.95 at BS 512.

    python benchmarks/client_overhead.py --bs 128,512 --json none.json
    python benchmarks/client_overhead.py --bs 128,512 --method eagle3 --dl 3 --json eagle3.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from offline_loop import OFFLINE, TIMES

from pytest_speedbench.engines import EngineConfig, Request, Sampling, Speculation, Trace
from pytest_speedbench.engines.process.parent import ChildEngine
from pytest_speedbench.engines.vllm.arguments import environment
from pytest_speedbench.measure.tokenizer import load_tokenizer
from pytest_speedbench.plan.values import argument
from pytest_speedbench.splits import load_split

BACKEND = "offline_loop:OfflineBackend"
HEAD = Path(__file__).parents[1] / "drafters" / "smollm2-135m-eagle3-v4096"
REQUESTS_PER_SLOT = 4
TIMEOUT = 600.0
# A batch size of 1 has no batch to hold: some requests, one after another.
FEWEST = 8


def through_plugin(engine: ChildEngine, requests: Sequence[Request], bs: int) -> float:
    """Output tokens per second, from the first request sent to the last token."""
    engine.hold(bs)
    traces = _collect(engine, requests)
    first = min(trace.submitted for trace in traces)
    return _tokens(traces) / (max(trace.times[-1] for trace in traces) - first)


def offline(engine: ChildEngine, requests: Sequence[Request]) -> float:
    """The same through ``LLM.generate``; the clock starts when it has all of them."""
    engine.hold(len(requests))
    traces = _collect(engine, [replace(request, label=OFFLINE) for request in requests])
    started = max(trace.submitted for trace in traces)
    return _tokens(traces) / (traces[0].times[-1] - started)


def _collect(engine: ChildEngine, requests: Sequence[Request]) -> list[Trace]:
    engine.submit(requests)
    traces: list[Trace] = []
    while len(traces) < len(requests):
        traces += engine.collect(1.0)
    return traces


def _tokens(traces: Sequence[Trace]) -> int:
    return sum(trace.tokens for trace in traces)


def prompts(options: argparse.Namespace) -> list[Request]:
    """Every prompt of the split that leaves room for the output, categories mixed."""
    tokenizer = load_tokenizer("huggingface", options.model, {})
    sampling = Sampling(options.tokens, ignore_eos=True)
    rendered = (
        (sample.id, tuple(tokenizer.render(sample.messages())))
        for sample in load_split("qualitative").interleaved(None, None)
    )
    return [Request(name, ids, sampling) for name, ids in rendered if len(ids) <= options.longest]


def measure(options: argparse.Namespace, bs: int, requests: Sequence[Request]) -> dict[str, Any]:
    """One engine, both loops in turns."""
    speculation = Speculation(options.method, options.dl, options.drafter)
    if options.method in ("none", "ngram"):
        speculation = replace(speculation, drafter=None)
    if options.method == "none":
        speculation = Speculation()
    arguments = tuple(argument(text, True) for text in options.engine_arg)
    config = EngineConfig("vllm", options.model, speculation, bs, args=arguments)
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times.json"
        paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        child = environment(config) | {TIMES: str(times), "PYTHONPATH": os.pathsep.join(paths)}
        engine = ChildEngine(config, BACKEND, TIMEOUT, child)
        try:
            rounds = list(_rounds(engine, requests, bs, options.rounds))
        finally:
            engine.close()
        spent = json.loads(times.read_text(encoding="utf-8"))
    ratios = [plugin / plain for plain, plugin in rounds]
    return {
        "arm": str(speculation),
        "bs": bs,
        "requests": len(requests),
        "tokens": options.tokens,
        "offline_tps": statistics.median(plain for plain, _ in rounds),
        "plugin_tps": statistics.median(plugin for _, plugin in rounds),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "client_us_per_token": 1e6 * spent["outside"] / spent["tokens"],
        "step_us_per_token": 1e6 * spent["inside"] / spent["tokens"],
        "idle_us_per_token": 1e6 * spent["idle"] / spent["tokens"],
        "device": engine.info.device,
        "version": engine.info.version,
        "details": dict(engine.info.details),
    }


def _rounds(
    engine: ChildEngine, requests: Sequence[Request], bs: int, rounds: int
) -> Iterator[tuple[float, float]]:
    """(offline, plugin) tokens/s; who goes first changes from round to round."""
    few = [_numbered(request, -1, number) for number, request in enumerate(requests[: 2 * bs])]
    offline(engine, few)
    through_plugin(engine, few, bs)
    engine.counters()
    for number in range(rounds):
        sent = [_numbered(request, number, place) for place, request in enumerate(requests)]
        if number % 2:
            plugin = through_plugin(engine, sent, bs)
            plain = offline(engine, sent)
        else:
            plain = offline(engine, sent)
            plugin = through_plugin(engine, sent, bs)
        print(
            f"BS {bs}, round {number + 1}: offline {plain:,.1f}, plugin {plugin:,.1f} tokens/s",
            flush=True,
        )
        yield plain, plugin


def _numbered(request: Request, number: int, place: int) -> Request:
    return replace(request, id=f"{number}/{place}/{request.id}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--method", default="none")
    parser.add_argument("--drafter", default=str(HEAD))
    parser.add_argument("--dl", type=int, default=3)
    parser.add_argument("--bs", default="8", help="one or more, with commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64, help="of every answer")
    parser.add_argument("--longest", type=int, default=1500, help="prompt tokens")
    parser.add_argument("--engine-arg", action="append", default=["max_model_len=2048"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pool = prompts(options)
    found = []
    for bs in map(int, options.bs.split(",")):
        count = max(FEWEST, REQUESTS_PER_SLOT * bs)
        told = measure(options, bs, list(islice(cycle(pool), count)))
        found.append(told)
        print(
            f"{told['arm']}, BS {bs}: {told['ratio']:.3f} of the offline loop "
            f"({told['lowest']:.3f} to {told['highest']:.3f}), client "
            f"{told['client_us_per_token']:.1f} µs a token, engine step "
            f"{told['step_us_per_token']:.1f}, of it waiting for the core "
            f"{told['idle_us_per_token']:.1f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
