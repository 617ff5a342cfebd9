"""Hours of load through the client: do memory and file descriptors stay flat?

    python benchmarks/soak_client.py simulated --bs 512 --hours 2 --json simulated.json
    python benchmarks/soak_client.py stream --bs 512 --hours 2 --json stream.json
    python benchmarks/soak_client.py vllm --bs 4 --hours 1 --json vllm.json

``simulated`` and ``vllm`` are engines in a child process; ``stream`` is ``stream_server.py`` over
HTTP, at a pace. The batch size is held all the time, with prompts and answers of many lengths.
Traces are checked and dropped; a run keeps them on purpose. Resident memory and open file
descriptors of this process and of its children are read at fixed times. Their slopes are those of
means over blocks of the time after the warm-up, which are nearly independent, with 95 % intervals.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import count, islice
from pathlib import Path
from typing import Any

from client_rivals import serving

from pytest_speedbench.engines import (
    Engine,
    EngineConfig,
    Request,
    Sampling,
    Speculation,
    open_engine,
)
from pytest_speedbench.engines.process.lifetime import descendants
from pytest_speedbench.measure.check import check_traces

HEAD = Path(__file__).parents[1] / "drafters" / "smollm2-135m-eagle3-v4096"
BLOCKS = 20
WARM_UP = 0.2
"""Share of the time in which caches fill; it is left out of the slopes."""
START_SECONDS = 600.0
STEP_MS = 50.0
VOCABULARY = 30_000
MIB = 1 << 20


def configured(options: argparse.Namespace, stack: ExitStack) -> EngineConfig:
    """The engine of a kind of soak; a server lives as long as ``stack``."""
    if options.kind == "stream":
        url = stack.enter_context(serving(STEP_MS, "--forget"))
        return EngineConfig("openai", "stream", max_batch=options.bs, url=url)
    if options.kind == "vllm":
        args = (("max_model_len", 512), ("dtype", "float32"))
        speculation = Speculation("eagle3", 3, str(HEAD))
        return EngineConfig("vllm", "demo", speculation, options.bs, args=args)
    return EngineConfig("simulated", "org/model", Speculation("eagle3", 3), options.bs)


def requests(config: EngineConfig) -> Iterator[Request]:
    """Prompts of 4 to 200 tokens, answers of 1 to 128, without an end."""
    draw = random.Random(0)
    for number in count():
        ids = tuple(draw.randrange(20, VOCABULARY) for _ in range(draw.randint(4, 200)))
        sampling = Sampling(draw.randint(1, 128), ignore_eos=config.engine != "openai")
        text = " ".join(map(str, ids))
        yield Request(
            f"r{number}",
            () if config.url else ids,
            sampling,
            speculation=config.speculation,
            messages=(("user", text),),
        )


def soak(options: argparse.Namespace, engine: Engine, config: EngineConfig) -> dict[str, Any]:
    """Holds the load until the time is over, and samples the processes."""
    source = requests(config)
    engine.hold(options.bs)
    engine.submit(list(islice(source, 2 * options.bs)))
    begun = time.monotonic()
    samples: list[dict[str, float]] = []
    done = tokens = failed = 0
    while (at := time.monotonic() - begun) < 3600 * options.hours:
        traces = engine.collect(1.0)
        check_traces([trace for trace in traces if not trace.failure], config.speculation)
        engine.submit(list(islice(source, len(traces))))
        done += len(traces)
        tokens += sum(trace.tokens for trace in traces)
        failed += sum(bool(trace.failure) for trace in traces)
        if at >= options.every * len(samples):
            samples.append({"at": at, **read_processes()})
            print(f"{at:8.0f} s  {done:,} requests  {samples[-1]}", file=sys.stderr, flush=True)
    return {
        "kind": options.kind,
        "bs": options.bs,
        "seconds": time.monotonic() - begun,
        "requests": done,
        "tokens": tokens,
        "failed": failed,
        "samples": samples,
    }


def read_processes() -> dict[str, float]:
    """Resident memory in MiB and open file descriptors, of this process and of its children."""
    mine, others = os.getpid(), descendants(os.getpid())
    return {
        "parent rss": _resident(mine),
        "child rss": sum(map(_resident, others)),
        "parent fds": _descriptors(mine),
        "child fds": sum(map(_descriptors, others)),
    }


def _resident(pid: int) -> float:
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / MIB
    return 0.0


def _descriptors(pid: int) -> int:
    with suppress(OSError):
        return len(os.listdir(f"/proc/{pid}/fd"))
    return 0


def slope(samples: Sequence[dict[str, float]], name: str) -> tuple[float, float, float]:
    """Growth an hour of one series after the warm-up, with its 95 % interval."""
    import numpy as np
    from scipy import stats

    kept = samples[int(WARM_UP * len(samples)) :]
    blocks = np.array_split(np.array([(one["at"] / 3600, one[name]) for one in kept]), BLOCKS)
    hours, values = np.array([block.mean(axis=0) for block in blocks if len(block)]).T
    if np.ptp(values) == 0:
        return 0.0, 0.0, 0.0
    line = stats.linregress(hours, values)
    reach = float(stats.t.ppf(0.975, len(hours) - 2)) * line.stderr
    return float(line.slope), float(line.slope - reach), float(line.slope + reach)


def table(found: dict[str, Any]) -> Iterator[str]:
    """The slopes as Markdown."""
    yield (
        f"{found['kind']}, BS {found['bs']}: {found['seconds'] / 3600:.2f} h, "
        f"{found['requests']:,} requests, {found['tokens']:,} tokens, {found['failed']} failed"
    )
    yield ""
    yield "| | first | last | growth per hour, 95 % |"
    yield "| --- | ---: | ---: | --- |"
    samples = found["samples"]
    for name in list(samples[0])[1:]:
        unit = " MiB" if name.endswith("rss") else ""
        each, low, high = slope(samples, name)
        yield (
            f"| {name} | {samples[0][name]:.1f}{unit} | {samples[-1][name]:.1f}{unit} "
            f"| {each:+.2f}{unit} [{low:+.2f}, {high:+.2f}] |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kind", choices=("simulated", "stream", "vllm"))
    parser.add_argument("--bs", type=int, default=512)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with ExitStack() as stack:
        config = configured(options, stack)
        engine = open_engine(config, START_SECONDS)
        stack.callback(engine.close)
        found = soak(options, engine, config)
    print("\n".join(table(found)))
    if options.json:
        options.json.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
