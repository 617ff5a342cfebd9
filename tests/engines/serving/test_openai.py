"""Any OpenAI-compatible server: what it is recognized by, and what is then known of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_speedbench.engines import (
    Engine,
    EngineConfig,
    EngineError,
    Request,
    RequestTotals,
    Sampling,
    Speculation,
    Trace,
    open_engine,
)
from pytest_speedbench.errors import MeasurementMismatch
from pytest_speedbench.measure.check import check_traces

from .fake import Event, Script, serving
from .test_client import drain

MODEL = "org/model"
SHORT = Sampling(16)
Json = dict[str, Any]


def chat_chunk(content: str | None, reason: str | None = None, **more: object) -> Json:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": reason, **more}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}


def usage(completion: int, **more: object) -> Json:
    counts = {"prompt_tokens": 5, "completion_tokens": completion, "total_tokens": 5 + completion}
    return {"id": "chatcmpl-1", "choices": [], "usage": counts, **more}


def stream(*last: Json, tokens: int = 7) -> Callable[[Json], list[Event]]:
    """A role, three texts, the finish; then usage, or what ``last`` has instead."""
    role = {"id": "1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
    events = [role, chat_chunk("The "), chat_chunk("red "), chat_chunk("boat"), *last[:-1]]
    end = last[-1] if last else usage(tokens)
    return lambda body: [*events, chat_chunk(None, "stop"), end, "[DONE]"]


@contextmanager
def joined(script: Script, method: str = "eagle3", **args: object) -> Iterator[Engine]:
    with serving(script) as url:
        config = EngineConfig(
            "openai", MODEL, Speculation(method, 3), 4, f"{url}/v1", tuple(args.items())
        )
        engine = open_engine(config, 3)
        try:
            yield engine
        finally:
            engine.close()


def one(engine: Engine, sampling: Sampling = SHORT) -> Trace:
    messages = (("system", "Be brief."), ("user", "Sing."))
    engine.submit([Request("r0", (1, 2), sampling, messages=messages)])
    return drain(engine, 1)[0]


def test_an_unknown_server_gives_timing_only_and_says_so() -> None:
    script = Script(stream())
    with joined(script) as engine:
        trace = one(engine)
        assert engine.counters() is None
        assert engine.info.request_counts is True
        assert "timing only" in str(engine.info.details["acceptance"])
    assert trace.text == "The red boat"
    assert trace.token_ids == []
    assert trace.chunks == [3, 2, 2]  # seven tokens over three arrivals
    assert len(trace.times) == 3
    assert trace.totals == RequestTotals(None, None, None)
    assert trace.finish_reason == "stop"
    assert script.asked[-1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Sing."},
    ]
    assert set(script.asked[-1]) == {
        *("model", "messages", "max_tokens", "temperature", "stream", "stream_options")
    }  # a strict server refuses fields that it does not know


def test_raw_text_is_completed_as_it_is() -> None:
    texts = [{"choices": [{"text": word, "finish_reason": None}]} for word in ("The ", "boat")]
    script = Script(lambda body: [*texts, {"choices": [{"finish_reason": "stop"}]}, usage(5)])
    with serving(script) as url:
        engine = open_engine(EngineConfig("openai", MODEL, Speculation(), 4, url, raw=True), 3)
        trace = one(engine)
        engine.close()
    assert trace.text == "The boat"
    assert script.asked[-1]["prompt"] == "Be brief.\n\nSing."
    assert "messages" not in script.asked[-1]


def test_arguments_of_the_servers_own_template() -> None:
    script = Script(stream())
    with joined(script) as engine:
        template = (("enable_thinking", False),)
        engine.submit([Request("r0", (), SHORT, messages=(("user", "Hi"),), template=template)])
        drain(engine, 1)
    assert script.asked[-1]["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_temperature_without_a_filter_names_the_common_one() -> None:
    script = Script(stream())
    with joined(script) as engine:
        one(engine, Sampling(16, temperature=0.5))
    body = script.asked[-1]
    assert body["top_p"] == 1.0
    assert not {"top_k", "min_p"} & set(body)


def test_fields_of_the_users_own_and_extensions_that_were_asked_for() -> None:
    script = Script(stream())
    with joined(script, top_p=0.9, api_key="k") as engine:
        one(engine, Sampling(16, temperature=0.5, seed=4, ignore_eos=True, min_tokens=2))
    body = script.asked[-1]
    assert (body["top_p"], body["ignore_eos"], body["min_tokens"], body["seed"]) == (
        0.9,
        True,
        2,
        4,
    )
    assert "api_key" not in body


@pytest.mark.parametrize(
    ("events", "totals"),
    [
        pytest.param(
            stream(
                usage(
                    7,
                    metrics={
                        "speculative_decoding": {
                            "num_spec_steps": 3,
                            "num_draft_tokens": 9,
                            "num_accepted_draft_tokens": 4,
                        }
                    },
                )
            ),
            RequestTotals(3, 9, 4),
            id="vLLM, level summary",
        ),
        pytest.param(
            stream(
                {
                    **chat_chunk(None),
                    "sglext": {
                        "spec_tokens_details": [
                            {
                                "spec_verify_ct": 3,
                                "spec_num_proposed_drafts": 9,
                                "spec_num_correct_drafts": 3,
                            }
                        ]
                    },
                },
                usage(7),
            ),
            RequestTotals(3, 9, 3),
            id="SGLang",
        ),
        pytest.param(
            stream(
                chat_chunk(
                    None,
                    meta_info={
                        "spec_verify_ct": 3,
                        "spec_draft_token_num": 9,
                        "spec_accept_token_num": 3,
                    },
                ),
                usage(7),
            ),
            RequestTotals(3, 9, 3),
            id="SGLang, older names",
        ),
        pytest.param(
            stream(chat_chunk(None, avg_decoded_tokens_per_iter=1.75), usage(7)),
            RequestTotals(3, None, None),  # 7 tokens in 4 passes, one of them the context's
            id="TensorRT-LLM, average alone",
        ),
        pytest.param(
            stream(
                chat_chunk(
                    None,
                    speculative_decoding={
                        "total_draft_tokens": 9,
                        "total_accepted_draft_tokens": 3,
                        "num_spec_steps": 3,
                        "num_spec_tokens": 3,
                    },
                ),
                usage(7),
            ),
            RequestTotals(3, 9, 3),
            id="TensorRT-LLM",
        ),
        pytest.param(
            stream(usage(7, timings={"predicted_n": 7, "draft_n": 9, "draft_n_accepted": 3})),
            RequestTotals(3, 9, 3),
            id="llama.cpp",
        ),
        pytest.param(
            stream(usage(7, timings={"predicted_n": 7, "predicted_ms": 80.0})),
            RequestTotals(6, 0, 0),
            id="llama.cpp, nothing drafted",
        ),
    ],
)
def test_acceptance_is_read_from_the_response(
    events: Callable[[Json], list[Event]], totals: RequestTotals
) -> None:
    with joined(Script(events)) as engine:
        trace = one(engine)
        assert engine.info.request_counts is True
        assert engine.info.details["acceptance"] == "reported with each response"
    assert trace.totals == totals
    assert trace.tokens == 7


def test_sums_of_a_lookup_method_do_not_give_the_steps() -> None:
    """vLLM's sums leave out steps without a draft, and lookups have many."""
    found = {"num_spec_steps": 2, "num_draft_tokens": 6, "num_accepted_draft_tokens": 2}
    with joined(Script(stream(usage(7, metrics={"speculative_decoding": found}))), "ngram") as e:
        assert one(e).totals == RequestTotals(None, 6, 2)


@pytest.mark.parametrize(
    ("tokens", "steps", "accepted", "expected"),
    [
        (7, 3, 3, 3),  # 6 decoded tokens in 3 steps, all with a draft
        (6, 1, 3, 2),  # one more step, as the three chunks show
        (7, 1, 0, None),  # 6 or more steps, in three chunks
    ],
)
def test_steps_without_a_draft_are_not_left_out(
    tokens: int, steps: int, accepted: int, expected: int | None
) -> None:
    found = {
        "num_spec_steps": steps,
        "num_draft_tokens": 3 * steps,
        "num_accepted_draft_tokens": accepted,
        "num_spec_tokens": 3,
    }
    with joined(Script(stream(usage(tokens, metrics={"speculative_decoding": found})))) as engine:
        assert one(engine).totals == RequestTotals(expected, 3 * steps, accepted)


@pytest.mark.parametrize(("proposed", "expected"), [(9, 9), (45, None)])
def test_nodes_of_a_tree_are_not_draft_tokens(proposed: int, expected: int | None) -> None:
    details = {
        "spec_verify_ct": 3,
        "spec_num_proposed_drafts": proposed,
        "spec_num_correct_drafts": 3,
    }
    event = usage(7, sglext={"spec_tokens_details": details})
    with joined(Script(stream(event))) as engine:
        assert one(engine).totals == RequestTotals(3, expected, 3)


def test_a_server_that_speculates_is_not_taken_for_one_without() -> None:
    script = Script(stream(usage(7, timings={"predicted_n": 7, "draft_n": 9})))
    with serving(script) as url:
        engine = open_engine(EngineConfig("openai", MODEL, url=url), 3)
        with pytest.raises(EngineError, match=r"the server speculates, but .* --speed-method"):
            one(engine)
        engine.close()


def test_drafts_on_the_metrics_page_contradict_a_case_without_speculation() -> None:
    path, text = PAGES["vLLM"]
    with serving(Script(stream(), {path: text})) as url:
        config = EngineConfig("openai", MODEL, url=url)
        with pytest.raises(EngineError, match=r"the server speculates, but .* without SD"):
            open_engine(config, 3)


def steps(accepted: Sequence[int]) -> Json:
    """vLLM's report of each step, at a draft length that it does not say."""
    report = {"per_step_drafted": list(accepted), "per_step_accepted": list(accepted)}
    return usage(7, metrics={"speculative_decoding": report})


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (steps([2**31, 2**31]), "a step accepted 2147483648 draft tokens, and at dl=3 at most 3"),
        (steps([4, 0]), "a step accepted 4 draft tokens, and at dl=3 at most 3"),
    ],
)
def test_more_accepted_in_a_step_than_the_draft_length(last: Json, message: str) -> None:
    with (
        joined(Script(stream(last))) as engine,
        pytest.raises(EngineError, match=message),
    ):
        one(engine)


def test_counts_of_drafts_that_fall_are_refused() -> None:
    events = [
        {"choices": [], "metrics": {"speculative_decoding": {"num_draft_tokens": drafted}}}
        for drafted in (9, 6)
    ]
    script = Script(stream())
    with joined(script) as engine:
        script.events = lambda body: [*events, *stream()(body)]
        with pytest.raises(EngineError, match="counts of its drafts fell during the answer"):
            one(engine)


NO_DRAFTS = {
    "num_spec_steps": 0,
    "num_draft_tokens": 0,
    "num_accepted_draft_tokens": 0,
    "num_spec_tokens": 3,
}


@pytest.mark.parametrize("method", ["eagle3", "ngram"])
def test_a_request_that_never_drafted_took_a_step_for_each_token(method: str) -> None:
    """vLLM leaves the lists of its steps out where they are empty."""
    last = usage(6, metrics={"speculative_decoding": NO_DRAFTS})
    with joined(Script(stream(last)), method) as engine:
        assert one(engine).totals == RequestTotals(5, 0, 0)
    merged = [chat_chunk("w", token_ids=[n, n]) for n in range(3)]
    script = Script(lambda body: [*merged, chat_chunk(None, "stop"), last, "[DONE]"])
    with joined(script, method) as engine:
        trace = one(engine)
    assert (trace.steps, trace.drafted, trace.accepted) == ([1] * 5, [], [])


def test_an_average_near_zero_is_no_number_of_steps() -> None:
    average = chat_chunk(None, avg_decoded_tokens_per_iter=1e-320)
    with joined(Script(stream(average, usage(7)))) as engine:
        trace = one(engine)
    with pytest.raises(MeasurementMismatch, match="took 2147483647 decoding steps"):
        check_traces([trace], Speculation("eagle3", 3))


PAGES = {
    "vLLM": (
        "/metrics",
        "vllm:spec_decode_num_drafts_total 3.0\nvllm:spec_decode_num_draft_tokens_total 9.0\n"
        "vllm:spec_decode_num_accepted_tokens_total 4.0\nvllm:generation_tokens_total 7.0\n",
    ),
    "llama.cpp": (
        "/metrics",
        "llamacpp:spec_decode_num_drafts_total 3\nllamacpp:spec_decode_num_draft_tokens_total 9\n"
        "llamacpp:spec_decode_num_accepted_tokens_total 4\nllamacpp:tokens_predicted_total 7\n",
    ),
    "TensorRT-LLM": (
        "/prometheus/metrics",
        "trtllm_spec_decode_num_draft_tokens_total 9.0\n"
        "trtllm_spec_decode_num_accepted_tokens_total 4.0\n",
    ),
}


@pytest.mark.parametrize("family", PAGES)
def test_counters_of_a_page_are_recognized_by_their_prefix(family: str) -> None:
    path, text = PAGES[family]
    script = Script(stream(), {path: text})
    with joined(script) as engine:
        assert engine.info.details["server"] == family
        assert engine.info.details["acceptance"] == "counters of the metrics page"
        assert engine.info.request_counts is False
        counters = engine.counters()
    assert counters is not None
    assert (counters.draft_tokens, counters.accepted_tokens) == (9, 4)


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ('[{"iter": 1}]', False),
        ("<html></html>", False),
        ("vllm:spec_decode_num_drafts_total{engine=\n", False),
        ("sglang:spec_accept_length 2\n", True),
    ],
)
def test_a_page_without_counters_is_unknown_and_not_nothing(text: str, readable: bool) -> None:
    with joined(Script(stream(), {"/metrics": text})) as engine:
        assert engine.counters() is None
        found = str(engine.info.details["acceptance"])
    assert "timing only" in found
    assert ("/metrics is not a metrics page" in found) is not readable


def test_vllm_gives_its_token_ids_and_steps_in_a_chat_too() -> None:
    found = {
        "num_spec_steps": 2,
        "num_draft_tokens": 6,
        "num_accepted_draft_tokens": 2,
        "per_step_drafted": [3, 3],
        "per_step_accepted": [2, 0],
    }

    def events(body: Json) -> Sequence[Event]:
        assert body["return_token_ids"] is True
        return [
            chat_chunk("The", token_ids=[5]),
            chat_chunk(" red boat", token_ids=[6, 7, 8]),
            chat_chunk("", "stop", token_ids=[2]),
            usage(5, metrics={"speculative_decoding": found}),
        ]

    with joined(Script(events, {"/metrics": "vllm:generation_tokens_total 1.0\n"})) as engine:
        trace = one(engine)
    assert trace.token_ids == [5, 6, 7, 8, 2]
    assert trace.steps == [3, 1]
    assert (trace.drafted, trace.accepted) == ([3, 3], [2, 0])
    assert trace.totals is None


def test_an_answer_without_a_text_is_its_silent_token() -> None:
    def events(body: Json) -> Sequence[Event]:
        return [chat_chunk(None, "stop"), usage(1)]

    with joined(Script(events)) as engine:
        trace = one(engine)
    assert (trace.text, trace.chunks, trace.tokens) == ("", [1], 1)
    assert trace.submitted < trace.times[0]


def test_a_server_that_counts_no_tokens_cannot_be_measured() -> None:
    script = Script(stream(chat_chunk(None)))
    with pytest.raises(EngineError, match=r"nothing can be measured"), joined(script):
        pass


def test_token_ids_without_messages_cannot_be_sent() -> None:
    with joined(Script(stream())) as engine:
        engine.submit([Request("r0", (1, 2))])
        with pytest.raises(EngineError, match=r"token ids but no messages, .*choose a split"):
            drain(engine, 1)
        assert one(engine).text == "The red boat"  # what can be sent still is


def test_the_context_window_is_what_the_server_says_of_its_model() -> None:
    models = {"data": [{"id": MODEL, "max_model_len": 1024}]}
    with joined(Script(stream(), pages={"/v1/models": models})) as engine:
        assert engine.info.details["max_model_len"] == 1024
    with joined(Script(stream(), pages={"/v1/models": {"data": [{"id": MODEL}]}})) as engine:
        assert "max_model_len" not in engine.info.details


def test_without_an_address_it_is_refused() -> None:
    with pytest.raises(EngineError, match=r"engine openai needs .*--speed-url URL"):
        open_engine(EngineConfig("openai", MODEL), 3)


def test_a_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-env")
    script = Script(stream())
    with joined(script):
        assert script.headers[0]["Authorization"] == "Bearer sk-from-env"


ODD = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    *(st.lists(st.integers(), max_size=2), st.dictionaries(st.text(max_size=2), st.none())),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where something is in an event."""
    parts = value.items() if isinstance(value, dict) else ()
    for key, part in enumerate(value) if isinstance(value, list) else parts:
        yield (*path, key)
        yield from places(part, (*path, key))


def put(value: Json, path: tuple[Any, ...], odd: object) -> Json:
    """A copy with something else in one place."""
    copy: Any = json.loads(json.dumps(value))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = odd
    found: Json = copy
    return found


STREAM = stream()({})
PLACES = [
    (number, path)
    for number, event in enumerate(STREAM)
    if isinstance(event, dict)
    for path in places(event)
]


@given(st.sampled_from(PLACES), ODD)
def test_a_field_of_another_type_is_an_error_of_the_engine(
    place: tuple[int, tuple[Any, ...]], odd: object
) -> None:
    """Or harmless: never another exception."""
    number, path = place
    event = STREAM[number]
    assert isinstance(event, dict)
    events = [*STREAM[:number], put(event, path, odd), *STREAM[number + 1 :]]
    with serving(Script(lambda body: events)) as url:
        config = EngineConfig("openai", MODEL, Speculation("eagle3", 3), 4, url)
        try:
            engine = open_engine(config, 3)
        except EngineError:
            return
        try:
            trace = one(engine)
            assert trace.tokens == sum(trace.chunks) >= 0
        except EngineError:
            pass
        finally:
            engine.close()


@pytest.mark.parametrize(
    "page", [[], {"data": "x"}, {"data": [1]}, {"data": {"id": MODEL}}, "text", 3, None]
)
def test_a_list_of_models_of_another_form(page: object) -> None:
    script = Script(stream(), pages={"/v1/models": (200, json.dumps(page))})
    with pytest.raises(EngineError, match=r"/v1/models|does not serve"), joined(script):
        pass


@pytest.mark.parametrize("key", ["sk-x\n", "sk\x7f", "schlüssel"])
def test_a_key_that_no_header_can_hold(key: str) -> None:
    script = Script(stream())
    message = "line break or another character"
    with pytest.raises(EngineError, match=message) as caught, joined(script, api_key=key):
        pass
    assert key not in str(caught.value)
