"""Tokens/s through the plugin's engine, over a bare loop around the same engine.

Both arms run real vLLM (CPU or GPU), the demo model, the same prompts and batch size; the bare loop
is ``LLMEngine.step()`` with nothing around it. The arms alternate round by round in one run, each
in a process of its own. Wanted: a ratio of at least 0.97.

    python benchmarks/client_overhead.py [--bs 8] [--rounds 5] [--tokens 64] [--samples 2]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection

from pytest_speedbench.engines import NO_SPECULATION, EngineConfig, Request, Sampling, open_engine
from pytest_speedbench.engines.vllm import engine_arguments, environment
from pytest_speedbench.measure.tokenizer import load_tokenizer
from pytest_speedbench.splits import load_split

ARGS = (("max_model_len", 2048),)


def bare_loop(config: EngineConfig, requests: list[Request], bs: int, pipe: Connection) -> None:
    """The smallest closed loop that keeps ``bs`` requests in flight."""
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import RequestOutputKind

    engine = LLM(**engine_arguments(config)).llm_engine
    tokens = requests[0].sampling.max_tokens
    parameters = SamplingParams(
        temperature=0.0,
        max_tokens=tokens,
        ignore_eos=True,
        output_kind=RequestOutputKind.DELTA,
        detokenize=False,
    )
    pipe.send("ready")
    while pipe.recv() == "round":
        waiting, live, made = list(requests), 0, 0
        start = time.perf_counter()
        while waiting or live:
            while waiting and live < bs:
                request = waiting.pop(0)
                prompt = {"prompt_token_ids": list(request.prompt_ids)}
                engine.add_request(f"{request.id}-{time.time_ns()}", prompt, parameters)
                live += 1
            for output in engine.step():
                made += len(output.outputs[0].token_ids)
                live -= output.finished
        pipe.send(made / (time.perf_counter() - start))


def through_plugin(engine: object, requests: list[Request], bs: int) -> float:
    """One round through the engine that the plugin drives: output tokens per second."""
    engine.hold(bs)
    start = time.perf_counter()
    engine.submit(requests)
    made, finished = 0, 0
    while finished < len(requests):
        for trace in engine.collect(1.0):
            made += trace.tokens
            finished += 1
    return made / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bs", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--samples", type=int, default=2)
    options = parser.parse_args()
    config = EngineConfig("vllm", "demo", NO_SPECULATION, options.bs, args=ARGS)
    tokenizer = load_tokenizer("huggingface", "demo")
    samples = load_split("qualitative").interleaved(None, options.samples)
    sampling = Sampling(options.tokens, ignore_eos=True)
    requests = [
        Request(s.id, tuple(tokenizer.render(s.messages()))[:1500], sampling) for s in samples
    ]
    os.environ.update(environment(config))
    ours, theirs = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    bare = context.Process(target=bare_loop, args=(config, requests, options.bs, theirs))
    bare.start()
    engine = open_engine(config, 600.0)
    try:
        ours.recv()
        ratios = []
        for number in range(options.rounds + 1):
            ours.send("round")
            plain = ours.recv()
            driven = through_plugin(engine, requests, options.bs)
            if number:  # the first round warms up
                ratios.append(driven / plain)
                print(f"round {number}: bare {plain:.1f}, through the plugin {driven:.1f} tokens/s")
        print(
            f"ratio at BS {options.bs}: median {statistics.median(ratios):.3f}, "
            f"{min(ratios):.3f} to {max(ratios):.3f} over {options.rounds} rounds (wanted 0.97)"
        )
    finally:
        ours.send("end")
        engine.close()
        bare.join()


if __name__ == "__main__":
    main()
