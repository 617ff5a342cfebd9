"""The load: what goes out with a request, and what an answer without token ids is worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from pytest_speedbench.engines.protocol import (
    Counters,
    EngineInfo,
    Request,
    RequestTotals,
    Sampling,
    Speculation,
    TokenScore,
    Trace,
    spread_tokens,
)
from pytest_speedbench.errors import EngineError
from pytest_speedbench.measure.copies import seeded_copies
from pytest_speedbench.measure.load import ClosedLoop, Reported
from pytest_speedbench.measure.passes import checked_pass, counts_by_slice, send_parts
from pytest_speedbench.measure.rounds import plan_parts, run_rounds
from pytest_speedbench.measure.tokenizer import WordTokenizer
from pytest_speedbench.splits import Sample

INFO = EngineInfo("server", "1", "cpu", "float32", {})
SD = Speculation("eagle3", 3)
TALK = Sample("talk", "math", ("one two", "three"), system="be brief")


@dataclass
class Server:
    """Answers every request with ``tokens`` tokens, two a step, and counts like a server.

    ``text`` None: it gives token ids. ``stranger`` tokens go to somebody else at every request;
    ``silent_after`` so many readings it has no counters any more. It breaks off the requests that
    ``broken`` says.
    """

    tokens: int = 9
    text: str | None = None
    ids: bool = True
    stranger: int = 0
    silent_after: int = 1 << 30
    broken: Callable[[Request], bool] = lambda request: False
    seen: list[Request] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    most_waiting: int = 0
    grown: Counters = field(default_factory=lambda: Counters(0, 0, 0, 0))
    readings: int = 0
    info: EngineInfo = INFO

    def submit(self, requests: Sequence[Request], *, first: bool = False) -> None:
        self.seen += requests
        self.waiting += requests
        self.most_waiting = max(self.most_waiting, len(self.waiting))

    def hold(self, batch_size: int) -> None: ...

    def collect(self, timeout: float) -> list[Trace]:
        request = self.waiting.pop(0)
        steps = (self.tokens - 1) // 2  # each step accepts one of three
        self.grown += Counters(steps, 3 * steps, steps, self.tokens + self.stranger)
        now = float(len(self.seen))
        ids = list(range(self.tokens)) if self.ids else []
        trace = Trace(
            request.id,
            len(request.prompt_ids),
            now - 0.5,
            ids,
            spread_tokens(self.tokens, 2),
            [now - 0.3, now],
            totals=RequestTotals(),
            text=self.text,
        )
        if self.broken(request):
            trace.finish_reason, trace.failure = "abort", "error"
        return [trace]

    def cancel(self, request_ids: Sequence[str]) -> None: ...

    def counters(self) -> Counters | None:
        self.readings += 1
        return self.grown if self.readings <= self.silent_after else None

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        return TokenScore({}, 0, 0.0)

    def close(self) -> None: ...


def loop(server: Server, reported: Reported = Reported(counts=False)) -> ClosedLoop:  # noqa: B008
    return ClosedLoop(server, WordTokenizer(), Sampling(16), SD, 1 << 16, reported)


def samples(*categories: str) -> list[Sample]:
    return [Sample(f"{c}{i}", c, ("hello",)) for i in range(3) for c in categories]


def test_a_request_carries_the_conversation_behind_its_prompt() -> None:
    server = Server(text="an answer", ids=False)
    loop(server, Reported(prompt_form="chat")).run([TALK], 1)
    first, second = server.seen
    assert first.messages == (("system", "be brief"), ("user", "one two"))
    assert second.messages[2:] == (("assistant", "an answer"), ("user", "three"))
    assert first.prompt_ids  # for engines that take them, and to see that the context holds it


def test_a_conversation_ends_at_the_last_turn_that_fits() -> None:
    server = Server(tokens=3)
    first = len(WordTokenizer().render(TALK.messages()))
    short = ClosedLoop(server, WordTokenizer(), Sampling(16), SD, first + 16, Reported(False))
    talk = Sample("s", "math", (*TALK.turns, "and four"), TALK.system)
    (turn,) = short.run([talk], 1)
    assert (turn.turn, turn.unsent) == (0, 2)
    assert [turn.unsent for turn in loop(server).run([talk], 1)] == [0, 0, 0]


def test_without_text_an_answer_is_decoded() -> None:
    server = Server(tokens=3)
    loop(server).run([TALK], 1)
    assert server.seen[1].messages[2] == ("assistant", "w0 w1 w2")


def test_an_answer_of_neither_ends_the_conversation_with_a_reason() -> None:
    with pytest.raises(EngineError, match="neither token ids nor text"):
        loop(Server(ids=False)).run([TALK], 1)


def test_token_ids_cannot_be_sent_to_a_chat_server() -> None:
    sample = Sample("r", "random", (), token_ids=(5, 6, 7))
    with pytest.raises(EngineError, match="choose a split of text"):
        loop(Server(), Reported(prompt_form="chat")).run([sample], 1)
    server = Server()
    loop(server).run([sample], 1)
    assert server.seen[0].messages == ()


def test_counters_are_read_around_each_request_at_batch_size_1() -> None:
    server = Server()
    done = checked_pass(loop(server), [*samples("math"), TALK], 1, lambda *_: None)
    assert server.most_waiting == 1
    assert [turn.trace.totals for turn in done.turns] == [RequestTotals(4, 12, 4)] * 5
    assert (done.hidden, done.unknown, done.counted) == (0, "", {})


def test_engines_that_tell_for_themselves_are_sent_all_at_once() -> None:
    server = Server()
    loop(server, Reported()).run(samples("math"), 1)
    assert (server.most_waiting, server.readings) == (3, 0)


def test_slices_are_counted_one_by_one() -> None:
    server, parts = Server(), [samples("math"), samples("qa")]
    shown: list[tuple[int, int]] = []
    passes = send_parts(loop(server), parts, 2, lambda done, of: shown.append((done, of)))
    assert [list(done.counted) for done in passes] == [["math"], ["qa"]]
    for done in passes:
        (counted,) = done.counted.values()
        assert (counted.requests, counted.tokens, counted.steps) == (3, 24, 12)
    assert shown[-1] == (6, 6)
    assert shown == sorted(shown)


def test_a_run_ends_at_the_answer_that_makes_it_too_many() -> None:
    """Not after the last of them, hours later."""
    server = Server(broken=lambda request: "math" in request.id)
    every = [Sample(f"qa{i}", "qa", ("hello",)) for i in range(90)]
    every[60:60] = [Sample(f"math{i}", "math", ("hello",)) for i in range(10)]
    own = loop(server, Reported())
    own.max_failed = 0.02
    with pytest.raises(EngineError, match=r"3 of 33 answers .* at most 2.0% of the run's 100 may"):
        run_rounds([own], every, 1, 2)


def test_answers_of_the_pass_without_the_cache_count_too() -> None:
    server = Server(broken=lambda request: request.cache_salt != "" and "0/0/0" in request.id)
    own = loop(server, Reported())
    own.max_failed = 0.2
    (arm,) = run_rounds([own], samples("math", "qa"), 1, 0, prefix_caching=True)
    assert {turn.sample for turn in arm.cold} == {"math1", "math2", "qa1", "qa2"}
    assert (arm.answers, arm.failed) == (18, {"error": 2})
    own.max_failed = 0.1
    with pytest.raises(EngineError, match=r"2 of 2 answers .* at most 10.0% of the run's 18 may"):
        run_rounds([own], samples("math", "qa"), 1, 0, prefix_caching=True)


def test_a_pass_of_one_sample_may_lose_it() -> None:
    """As the groups of samples that an early decision sends: the share is that of the run."""
    server = Server(broken=lambda request: True)
    done = checked_pass(loop(server), [Sample("a", "math", ("hello",))], 1, lambda *_: None)
    assert (done.turns, done.failed) == ([], {"error": 1})


def test_an_answer_that_nobody_waits_for_is_an_error_of_the_adapter() -> None:
    class Twice(Server):
        def collect(self, timeout: float) -> list[Trace]:
            return 2 * super().collect(timeout)

    with pytest.raises(EngineError, match=r"answered request '1/math0/0/0', which is not in fl"):
        loop(Twice()).run(samples("math"), 1)


def test_copies_that_are_broken_off_are_no_draws() -> None:
    server = Server(broken=lambda request: request.sampling.seed == 2)
    request = Request("copy", (1, 2), Sampling(16, temperature=1.0), (), SD)
    found = seeded_copies(server, request, range(5), 2, max_failed=0.2)
    assert [trace.request_id for trace in found] == ["copy/0", "copy/1", "copy/3", "copy/4"]
    with pytest.raises(EngineError, match=r"1 of 5 answers were broken off"):
        seeded_copies(server, request, range(5), 2, max_failed=0.1)


def test_slices_that_ran_together_are_not_told_apart() -> None:
    done = checked_pass(loop(Server()), samples("math", "qa"), 2, lambda *_: None)
    assert "cannot separate slices" in done.unknown
    assert done.counted == {}


@pytest.mark.parametrize("batch", [1, 2])
def test_strangers_leave_no_totals_behind(batch: int) -> None:
    done = checked_pass(loop(Server(stranger=1)), samples("math"), batch, lambda *_: None)
    assert done.unknown.endswith("is another client using this engine?")
    assert {turn.trace.totals for turn in done.turns} == {RequestTotals()}


@pytest.mark.parametrize("batch", [1, 2])
def test_counters_that_go_away_are_told_by_the_engines_own_reason(batch: int) -> None:
    info = EngineInfo("server", "1", "cpu", "float32", {"counters": "not usable: a stranger"})
    server = Server(silent_after=1, info=info)
    done = checked_pass(loop(server), samples("math"), batch, lambda *_: None)
    assert done.unknown == "not usable: a stranger"
    assert {turn.trace.totals for turn in done.turns} == {RequestTotals()}


def test_slices_are_counted_where_requests_overlap_and_counters_alone_tell() -> None:
    assert counts_by_slice(loop(Server()), 2)
    assert not counts_by_slice(loop(Server()), 1)
    assert not counts_by_slice(loop(Server(), Reported()), 2)
    assert not counts_by_slice(loop(Server(silent_after=0)), 2)  # nothing to read


def test_parts_of_a_round_are_slices_repeated_as_a_whole() -> None:
    sent = samples("math", "qa")
    ((whole,),) = plan_parts(sent, 2, 1, by_slice=False)
    assert len(whole.samples) == 8
    for number, parts in enumerate(plan_parts(sent, 2, 3, by_slice=True)):
        assert [{s.category for s in part.samples} for part in parts] == [{"math"}, {"qa"}]
        assert [part.first for part in parts] == [number == 0] * 2
        for part in parts:
            times = [part.samples.count(s) for s in set(part.samples)]
            assert times == [3, 3, 3]  # 4 x BS is 8: the next whole multiple of 3 is 9
