"""A real ``vllm serve`` on the CPU with a real EAGLE-3 head: started once, then also joined."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_speedbench.engines import EngineConfig, EngineError, Sampling, Speculation, open_engine
from pytest_speedbench.engines.demo import DEMO_MODEL, demo_folder
from pytest_speedbench.engines.serving.client import ServerEngine
from pytest_speedbench.engines.vllm.server import launch
from pytest_speedbench.measure.check import check_counters, check_traces

from .conftest import HEAD, TIMEOUT, Driver, needs_demo, needs_vllm, started

pytestmark = [needs_demo, needs_vllm, pytest.mark.engine]

ARGS = (("max_model_len", 1024), ("dtype", "float32"))
EAGLE3 = Speculation("eagle3", 3, str(HEAD))
CONFIG = EngineConfig("vllm-server", DEMO_MODEL, EAGLE3, 4, args=ARGS)


# In a process of its own: importing vLLM takes long, and warns.
PARSE = """
import sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser

parsed = make_arg_parser(FlexibleArgumentParser()).parse_args(sys.argv[1:])
validate_parsed_serve_args(parsed)
print("PARSED", parsed.max_num_seqs, parsed.max_model_len, parsed.port)
print("PARSED", parsed.enable_prefix_caching, parsed.disable_log_stats)
print("PARSED", parsed.speculative_config["num_speculative_tokens"])
print("PARSED", parsed.per_request_spec_decode_metrics)
"""


def test_vllms_own_parser_takes_the_command() -> None:
    command = list(launch(CONFIG, 8123).command)
    at = next(n for n, word in enumerate(command) if word.startswith("vllm.entrypoints."))
    done = subprocess.run(
        [sys.executable, "-c", PARSE, *command[at + 1 :]], capture_output=True, text=True
    )
    parsed = [line for line in done.stdout.splitlines() if line.startswith("PARSED")]
    wanted = ["4 1024 8123", "False False", "3", "detailed"]
    assert parsed == [f"PARSED {words}" for words in wanted], done.stderr[-2000:]


@pytest.fixture(scope="module")
def server(tokenizer: object) -> Iterator[Driver]:
    driver = started(CONFIG, tokenizer)
    yield next(driver)
    driver.close()


@pytest.fixture
def url(server: Driver) -> str:
    assert isinstance(server.engine, ServerEngine)
    return server.engine.http.address.url


def test_traces_agree_with_the_servers_counters_and_with_vllm_in_process(
    server: Driver, tokenizer: object
) -> None:
    before = server.engine.counters()
    traces = server.run(EAGLE3, batch_size=4)
    grown = server.engine.counters() - before
    check_traces(traces, EAGLE3)
    check_counters(traces, EAGLE3, grown)
    assert grown.accepted_tokens > 0
    assert grown.output_tokens == sum(trace.tokens for trace in traces)
    assert all(trace.drafted for trace in traces)
    library = started(replace(CONFIG, engine="vllm"), tokenizer)
    theirs = next(library).run(EAGLE3, batch_size=4)
    library.close()
    assert [trace.token_ids for trace in traces] == [trace.token_ids for trace in theirs]
    assert [trace.steps for trace in traces] == [trace.steps for trace in theirs]


def test_requests_are_really_held_in_flight_together(server: Driver) -> None:
    traces = server.run(EAGLE3, batch_size=2, sampling=Sampling(24, ignore_eos=True))
    edges = sorted([(t.submitted, 1) for t in traces] + [(t.times[-1], -1) for t in traces])
    live, most = 0, 0
    for _, change in edges:
        live += change
        most = max(most, live)
    assert most == 2
    assert all(trace.tokens == 24 for trace in traces)


def test_score_returns_the_targets_log_probabilities(server: Driver, tokenizer: object) -> None:
    prompt = tokenizer.render([{"role": "user", "content": "Why is the sky blue?"}])
    chosen = server.run(EAGLE3)[-1].token_ids[0]
    score = server.engine.score([*prompt, chosen], len(prompt), [chosen, 17])
    assert score.top_token == chosen
    assert score.logprobs[17] < score.logprobs[chosen]


def test_a_cancelled_request_leaves_the_others_right(server: Driver) -> None:
    alone = server.run(EAGLE3)
    engine = server.engine
    requests = server.requests(EAGLE3)
    engine.hold(4)
    engine.submit(requests)
    engine.cancel([requests[0].id])
    traces = {}
    while len(traces) < len(requests):
        traces.update({trace.request_id: trace for trace in engine.collect(TIMEOUT)})
    assert traces[requests[0].id].finish_reason == "abort"
    rest = [traces[request.id].token_ids for request in requests[1:]]
    assert rest == [trace.token_ids for trace in alone[1:]]


def test_joining_leaves_the_server_up(server: Driver, url: str, tokenizer: object) -> None:
    joined = started(replace(CONFIG, url=f"{url}/v1/"), tokenizer)
    driver = next(joined)
    traces = driver.run(EAGLE3, batch_size=4)
    assert driver.engine.info.details["joined"] is True
    joined.close()
    assert [t.token_ids for t in traces] == [t.token_ids for t in server.run(EAGLE3)]


def test_joining_a_server_that_is_not_what_the_case_says(url: str) -> None:
    with pytest.raises(EngineError, match=r"speculates, but this is the arm without SD"):
        open_engine(replace(CONFIG, url=url, speculation=Speculation()), TIMEOUT)
    with pytest.raises(EngineError, match=r"does not serve 'org/other'; it serves: '.*smollm2"):
        open_engine(replace(CONFIG, url=url, model="org/other"), TIMEOUT)


def test_any_openai_client_reads_the_same_steps(
    server: Driver, url: str, tokenizer: object
) -> None:
    config = EngineConfig("openai", str(demo_folder()), EAGLE3, 4, url)
    chat = started(config, tokenizer)
    driver = next(chat)
    assert driver.engine.info.details["server"] == "vLLM"
    assert driver.engine.info.details["acceptance"] == "reported with each response"
    traces = driver.run(EAGLE3, batch_size=4)
    chat.close()
    theirs = server.run(EAGLE3, batch_size=4)
    assert [t.token_ids for t in traces] == [t.token_ids for t in theirs]
    assert [t.steps for t in traces] == [t.steps for t in theirs]


def test_a_wrong_model_path_is_one_clear_error_with_the_servers_output() -> None:
    with pytest.raises(EngineError, match=r"vllm-server does not start[\s\S]*no/such/model"):
        open_engine(replace(CONFIG, model="/no/such/model", speculation=Speculation()), TIMEOUT)


def running_in(group: int) -> list[str]:
    """Processes of a process group; one that is dead but not yet waited for does not run."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, of, *_ = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(of) == group and state != "Z":
                    found.append((folder / "cmdline").read_text())
    return found


def test_closing_ends_the_server_and_every_process_of_it() -> None:
    plain = replace(CONFIG, speculation=Speculation())
    engine = open_engine(plain, TIMEOUT)
    assert isinstance(engine, ServerEngine)
    group, address = engine.pid, engine.http.address.url
    assert len(running_in(group)) > 1
    assert urllib.request.urlopen(f"{address}/health").status == 200
    engine.close()
    engine.close()
    assert running_in(group) == []
