"""Our client beside other load generators, against one server that streams as fast as it can.

    python benchmarks/client_rivals.py --tokenizer MODEL_FOLDER --json rivals.json \\
        --aiperf VENV/bin/aiperf --vllm VENV/bin/vllm --guidellm VENV/bin/guidellm

Each client sends the same number of requests at a batch size to ``stream_server.py``, in turns.

- *Speed*: the server without a pace. Tokens/s are the server's own: from the first request that
  arrived to the last token sent. CPU seconds are those of all processes of the client between
  these two moments.
- *Error*: the server with a pace. What the client records of a request, TTFT and the times between
  tokens, against what the server knows: from the request's arrival to the first token sent, and
  between tokens sent. guidellm records no time of single tokens, so its ITL is a request's mean.

A rival whose command is not given is left out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from pytest_speedbench.engines.process.lifetime import descendants

HERE = Path(__file__).parent
PROMPT = "Say something long about request number {}."
MOST_PROMPTS = 256
SAMPLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a client recorded of one request: seconds.

    Attributes:
        key: the server's number of it (``n17``), or the id that the client gave it.
        ttft: time to first token.
        gaps: between arrivals, the end of the stream perhaps included; or their mean alone.
    """

    key: str
    ttft: float
    gaps: Sequence[float] | float

    def mean_gap(self, tokens: int) -> float:
        """Between the arrivals of so many tokens."""
        gaps = self.gaps
        return gaps if isinstance(gaps, float) else statistics.fmean(gaps[: tokens - 1])

    def single_gaps(self, tokens: int) -> Sequence[float]:
        """Between so many tokens; empty where only their mean is known."""
        return () if isinstance(self.gaps, float) else self.gaps[: tokens - 1]


@dataclass(frozen=True, slots=True)
class Load:
    """What every client is asked to send."""

    url: str
    requests: int
    batch_size: int
    tokens: int
    folder: Path
    tokenizer: str


@dataclass(frozen=True, slots=True)
class Client:
    """How a client is started, and how what it recorded is read."""

    name: str
    command: Callable[[Load], list[str]]
    read: Callable[[Load], list[Recorded]]
    variables: Mapping[str, str]


# -- the clients ------------------------------------------------------------------------------


def ours(load: Load) -> list[str]:
    return [
        *(sys.executable, str(HERE / "client_rivals.py"), "--as-client", load.url),
        *(str(load.requests), str(load.batch_size), str(load.tokens)),
        str(load.folder / "ours.json"),
    ]


def read_ours(load: Load) -> list[Recorded]:
    found = json.loads((load.folder / "ours.json").read_text(encoding="utf-8"))
    return [Recorded(one["key"], one["times"][0], _gaps(one["times"])) for one in found]


def aiperf(program: str) -> Callable[[Load], list[str]]:
    def command(load: Load) -> list[str]:
        prompts = load.folder / "prompts.jsonl"
        _write_lines(prompts, ({"text": PROMPT.format(n)} for n in range(_prompts(load))))
        return [
            *(program, "profile", "-m", "stream", "--tokenizer", load.tokenizer, "--url", load.url),
            *("--endpoint-type", "chat", "--streaming", "--input-file", str(prompts)),
            *("--custom-dataset-type", "single_turn", "--request-count", str(load.requests)),
            *("--concurrency", str(load.batch_size), "--use-server-token-count"),
            *("--extra-inputs", f"max_tokens:{load.tokens}", "--ui", "none"),
            *("--no-server-metrics", "--output-artifact-dir", str(load.folder / "aiperf")),
        ]

    return command


def read_aiperf(load: Load) -> list[Recorded]:
    text = (load.folder / "aiperf" / "profile_export.jsonl").read_text(encoding="utf-8")
    found = []
    for line in text.splitlines():
        one = json.loads(line)
        value = {name: metric["value"] for name, metric in one["metrics"].items()}
        gaps = [gap / 1e3 for gap in value.get("inter_chunk_latency", ())]
        key = one["metadata"]["x_request_id"]
        found.append(Recorded(key, value["time_to_first_token"] / 1e3, gaps))
    return found


def vllm(program: str) -> Callable[[Load], list[str]]:
    def command(load: Load) -> list[str]:
        prompts = load.folder / "prompts.jsonl"
        _write_lines(prompts, ({"prompt": PROMPT.format(n)} for n in range(load.requests)))
        return [
            *(program, "bench", "serve", "--backend", "openai-chat", "--base-url", load.url),
            *("--endpoint", "/v1/chat/completions", "--model", "stream"),
            *("--tokenizer", load.tokenizer, "--dataset-name", "custom"),
            *("--dataset-path", str(prompts), "--num-prompts", str(load.requests)),
            *("--custom-output-len", str(load.tokens), "--skip-chat-template"),
            *("--max-concurrency", str(load.batch_size), "--disable-shuffle", "--disable-tqdm"),
            *("--save-result", "--save-detailed", "--result-dir", str(load.folder)),
            *("--result-filename", "vllm.json"),
        ]

    return command


def read_vllm(load: Load) -> list[Recorded]:
    found = json.loads((load.folder / "vllm.json").read_text(encoding="utf-8"))
    rows = zip(found["generated_texts"], found["ttfts"], found["itls"], strict=True)
    return [Recorded(text.split()[0], ttft, gaps) for text, ttft, gaps in rows]


def guidellm(program: str) -> Callable[[Load], list[str]]:
    def command(load: Load) -> list[str]:
        prompts = load.folder / "prompts.jsonl"
        _write_lines(
            prompts,
            (
                {"prompt": PROMPT.format(n), "output_tokens": load.tokens}
                for n in range(_prompts(load))
            ),
        )
        return [
            *(program, "run", "--backend", f"kind=openai_http,target={load.url},model=stream"),
            *("--profile", f"kind=concurrent,streams={load.batch_size}"),
            *("--constraint", f"kind=max_requests,count={load.requests}"),
            *("--tokenizer", f"kind=huggingface_auto,model={load.tokenizer}"),
            *("--data", f"kind=json_file,path={prompts}"),
            *("--data-column-mapper", GUIDELLM_COLUMNS),
            *("--output", f"kind=json,path={load.folder / 'guidellm.json'}", "--disable-console"),
        ]

    return command


GUIDELLM_COLUMNS = (
    "kind=generative_column_mapper,column_mappings.text_column=prompt,"
    "column_mappings.output_tokens_count_column=output_tokens"
)


def read_guidellm(load: Load) -> list[Recorded]:
    found = json.loads((load.folder / "guidellm.json").read_text(encoding="utf-8"))
    return [
        Recorded(
            one["output"].split()[0],
            one["time_to_first_token_ms"] / 1e3,
            one["inter_token_latency_ms"] / 1e3,
        )
        for one in found["benchmarks"][0]["requests"]["successful"]
    ]


def _prompts(load: Load) -> int:
    return min(load.requests, MOST_PROMPTS)


def _write_lines(path: Path, rows: Iterator[Mapping[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _gaps(times: Sequence[float]) -> list[float]:
    return [b - a for a, b in pairwise(times)]


def as_client(url: str, requests: int, batch_size: int, tokens: int, path: Path) -> None:
    """Sends the load with this package's client, as a run does."""
    from pytest_speedbench.engines import EngineConfig, Request, Sampling, Trace, open_engine
    from pytest_speedbench.measure.heap import frozen_heap

    engine = open_engine(EngineConfig("openai", "stream", max_batch=batch_size, url=url), 600)
    engine.hold(batch_size)
    sampling = Sampling(tokens)
    asked = [
        Request(f"r{n}", (), sampling, messages=(("user", PROMPT.format(n)),))
        for n in range(requests)
    ]
    traces: list[Trace] = []
    with frozen_heap():
        engine.submit(asked)
        while len(traces) < requests:
            traces += engine.collect(1.0)
    engine.close()
    found = [
        {"key": (t.text or "").split()[0], "times": [at - t.submitted for at in t.times]}
        for t in traces
    ]
    path.write_text(json.dumps(found), encoding="utf-8")


# -- one measurement --------------------------------------------------------------------------


@contextmanager
def serving(step_ms: float, *more: str) -> Iterator[str]:
    """Starts ``stream_server.py``; yields its address."""
    command = [sys.executable, str(HERE / "stream_server.py"), "--step-ms", str(step_ms), *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


def log(url: str) -> list[dict[str, Any]]:
    """The server's own record of the streams since the last call."""
    with urllib.request.urlopen(f"{url}/log") as reply:
        found: list[dict[str, Any]] = json.load(reply)
    return found


@dataclass(frozen=True, slots=True)
class Sent:
    """One run of a client: what the server sent, and what the client's processes took until when.

    ``cpu`` holds (moment, CPU seconds so far), in the seconds of ``time.perf_counter``.
    """

    streams: list[dict[str, Any]]
    cpu: list[tuple[float, float]]

    @property
    def tokens(self) -> int:
        return sum(len(stream["sent"]) for stream in self.streams)

    @property
    def begun(self) -> float:
        return float(min(stream["at"] for stream in self.streams))

    @property
    def ended(self) -> float:
        return float(max(stream["sent"][-1] for stream in self.streams))

    @property
    def cpu_seconds(self) -> float:
        """Between the first request that arrived and the last token sent."""
        import numpy as np

        moments, spent = zip(*self.cpu, strict=True)
        first, last = np.interp([self.begun, self.ended], moments, spent)
        return float(last - first)


def sent(client: Client, load: Load) -> Sent:
    """Runs a client; its log is shown where it fails."""
    log(load.url)
    command = client.command(load)
    with (load.folder / "log.txt").open("w+") as out:
        process = subprocess.Popen(
            command,
            env={**os.environ, **client.variables},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
        cpu = [(time.perf_counter(), 0.0)]
        while process.poll() is None:
            cpu.append((time.perf_counter(), tree_cpu(process.pid)))
            time.sleep(SAMPLE_SECONDS)
        if process.returncode:
            out.seek(0)
            raise SystemExit(f"{shlex.join(command)} failed:\n{out.read()[-4000:]}")
    # A client may ask before its load begins whether the server is ready: those come first.
    streams = [stream for stream in log(load.url) if stream["sent"]][-load.requests :]
    return Sent(streams, cpu)


def tree_cpu(pid: int) -> float:
    """CPU seconds of a process, of its descendants, and of those of them that have ended."""
    ticks = 0
    for each in (pid, *descendants(pid)):
        with suppress(OSError):
            stat = Path(f"/proc/{each}/stat").read_text(encoding="utf-8")
            ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def speed(client: Client, options: argparse.Namespace, bs: int) -> dict[str, float]:
    """Tokens/s, and CPU seconds per million tokens."""
    requests = max(options.fewest, options.per_slot * bs)
    with serving(0.0) as url, tempfile.TemporaryDirectory() as folder:
        load = Load(url, requests, bs, options.tokens, Path(folder), options.tokenizer)
        done = sent(client, load)
    return {
        "tps": done.tokens / (done.ended - done.begun),
        "cpu": 1e6 * done.cpu_seconds / done.tokens,
    }


def errors(client: Client, options: argparse.Namespace, bs: int) -> dict[str, float]:
    """Of TTFT, of each time between tokens and of their mean in a request: p50 and p99, seconds."""
    pace = max(options.step_ms, bs * options.step_ms_per_stream)
    requests = max(options.fewest // 4, 3 * bs)  # a third is sent at once, the rest one by one
    with serving(pace) as url, tempfile.TemporaryDirectory() as folder:
        load = Load(url, requests, bs, options.paced_tokens, Path(folder), options.tokenizer)
        streams = sent(client, load).streams
        recorded = client.read(load)
    by_key = {f"n{s['number']}": s for s in streams} | {s["id"]: s for s in streams if s["id"]}
    pairs = [(one, by_key[one.key]) for one in recorded if one.key in by_key]
    if len(pairs) < len(recorded) // 2:
        raise SystemExit(f"{client.name}: {len(pairs)} of {len(recorded)} requests were found")
    found = {"matched": float(len(pairs)), "pace_ms": pace}
    found |= _quantiles("ttft", [abs(r.ttft - (s["sent"][0] - s["at"])) for r, s in pairs])
    gaps = [(r, _gaps(s["sent"])) for r, s in pairs if len(s["sent"]) > 1]
    means = [abs(r.mean_gap(len(true) + 1) - statistics.fmean(true)) for r, true in gaps]
    found |= _quantiles("mean_itl", means)
    single = [
        abs(mine - theirs)
        for r, true in gaps
        for mine, theirs in zip(r.single_gaps(len(true) + 1), true, strict=False)
    ]
    return found | (_quantiles("itl", single) if single else {})


def _quantiles(name: str, values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        f"{name}_p50": ordered[len(ordered) // 2],
        f"{name}_p99": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
    }


# -- the whole --------------------------------------------------------------------------------


def clients(options: argparse.Namespace) -> list[Client]:
    rivals = [
        ("AIPerf", options.aiperf, aiperf, read_aiperf),
        ("vllm bench serve", options.vllm, vllm, read_vllm),
        ("guidellm", options.guidellm, guidellm, read_guidellm),
    ]
    # Our path is not theirs. AIPerf finds no folder of a tokenizer where the hub is said to be off.
    apart = {"PYTHONPATH": "", "HF_HUB_OFFLINE": "", "NO_COLOR": "1"}
    return [
        Client("pytest-speedbench", ours, read_ours, {}),
        *(
            Client(name, command(program), read, apart)
            for name, program, command, read in rivals
            if program
        ),
    ]


def measure(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for each client, batch size and round; who goes first changes."""
    every = clients(options)
    for bs in map(int, options.bs.split(",")):
        for number in range(options.rounds):
            turn = number % len(every)
            for client in every[turn:] + every[:turn]:
                begun = time.monotonic()
                row = {"client": client.name, "bs": bs, "round": number}
                row |= speed(client, options, bs)
                if not options.speed_only:
                    row |= errors(client, options, bs)
                took = time.monotonic() - begun
                print(f"{took:6.1f} s  {json.dumps(row)}", file=sys.stderr, flush=True)
                yield row


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Medians over rounds as Markdown; ratios are to the best rival of the same round."""
    yield (
        "| BS | client | tokens/s | ÷ best rival | CPU s per million tokens | "
        + " | ".join(f"{name} error p50, p99 (ms)" for name in ("TTFT", "ITL", "mean ITL"))
        + " |"
    )
    yield "| --- " * 8 + "|"
    for bs in sorted({row["bs"] for row in rows}):
        for client in dict.fromkeys(row["client"] for row in rows):
            mine = [row for row in rows if (row["bs"], row["client"]) == (bs, client)]
            shown = [
                f"{_median(mine, 'tps'):,.0f}",
                f"{statistics.median(_ratios(rows, mine)):.2f}",
                f"{_median(mine, 'cpu'):.1f}",
                *(_pair(mine, name) for name in ("ttft", "itl", "mean_itl")),
            ]
            yield f"| {bs} | {client} | {' | '.join(shown)} |"


def _ratios(
    rows: Sequence[Mapping[str, Any]], mine: Sequence[Mapping[str, Any]]
) -> Iterator[float]:
    for row in mine:
        others = [
            other["tps"]
            for other in rows
            if (other["bs"], other["round"]) == (row["bs"], row["round"])
            and other["client"] not in (row["client"], "pytest-speedbench")
        ]
        yield row["tps"] / max(others) if others else math.nan


def _median(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(statistics.median(row[name] for row in rows))


def _pair(rows: Sequence[Mapping[str, Any]], name: str) -> str:
    if f"{name}_p50" not in rows[0]:
        return "–"
    low, high = (1e3 * _median(rows, f"{name}_{part}") for part in ("p50", "p99"))
    return f"{low:.2f}, {high:.2f}"


def main() -> None:
    if sys.argv[1:2] == ["--as-client"]:
        url, requests, batch_size, tokens, path = sys.argv[2:]
        as_client(url, int(requests), int(batch_size), int(tokens), Path(path))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tokenizer", required=True, help="a folder, which the rivals require")
    parser.add_argument("--aiperf", default="", help="its program")
    parser.add_argument("--vllm", default="", help="its program")
    parser.add_argument("--guidellm", default="", help="its program")
    parser.add_argument("--bs", default="1,64,512")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=256, help="of an answer")
    parser.add_argument("--paced-tokens", type=int, default=64, help="of an answer at a pace")
    parser.add_argument("--fewest", type=int, default=200, help="requests at least")
    parser.add_argument("--per-slot", type=int, default=8, help="requests for each one in flight")
    parser.add_argument("--step-ms", type=float, default=10.0, help="pace of the server")
    parser.add_argument("--step-ms-per-stream", type=float, default=0.4)
    parser.add_argument("--speed-only", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = list(measure(options))
    print("\n".join(table(rows)))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
