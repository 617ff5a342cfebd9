"""A simulated engine: a declared acceptance process, for tests of gates and for planning.

It behaves like a real engine (child process, traces, counters, teacher-forced scores), in virtual
time and without a model. Its next token is a fixed function of the text so far, so greedy output
is the same with and without speculation, unless ``divergence`` or ``defect_at`` is set. So is the
number of accepted drafts: a request that resumes an output goes on as that output did. At a
temperature above 0 the token is drawn from ``TARGET``, the distribution of
:meth:`SimulatedBackend.score`.

Engine arguments (``--speed-engine-arg KEY=VALUE``):

===================  ==========================================================================
``acceptance``       conditional acceptance at every position, 0 to 1 (default 0.6), or one number
                     per position, ``0.8:0.6:0.5``
``acceptance.X``     the same for category X, or for drafter X in the other categories
``spread``           standard deviation over requests of the acceptance's logit (default 0.5)
``rise``             added to that logit for every 1,000 tokens of output (default 0): long answers
                     repeat themselves
``decay``            taken from that logit for every 1,000 tokens since the prefill (default 0): a
                     state that decays while a request runs, and that a prefill renews
``tokens``           mean output length before the end-of-sequence token (default: none, the output
                     runs to ``max_tokens``)
``step_ms``          time of one step without a draft (default 10)
``draft_ms``         extra time per drafted token (default 1)
``batch_ms``         extra time of a step per request in flight beyond the first (default 0.05)
``divergence``       chance per token, with speculation on, of taking the other token of a tie
``batch_ties``       the same with and without speculation, while other requests are in flight
``build``            any number: another draw of the divergences, "another build"
``defect_at``        output position at which speculation emits a token that the target would not
``bias``             share of the sampled tokens for which speculation takes the most likely one
                     instead of drawing: drafts that are accepted too often
``fade``             share by which acceptance falls with every request (default 0)
``cache_fade``       share by which acceptance falls where half of the prompt or more came from the
                     prefix cache (default 0)
``cache_ties``       chance per token of taking the other token of a tie, in such requests
``evict_at``         request number at which the prefix cache loses all it holds
``schedule``         draft length at a batch size, ``1:3,4:0``: 3 from one request in flight on,
                     none from four on; DL is the maximum
``die_at``           request number (from 1) at which the process ends
``hang_at``          request number at which it hangs
``speculation_off``  1: drafts nothing, without an error (as vLLM once did)
``miscount``         tokens added to the accepted counter at every reading, as a wrong counter
``reports``          what it reports about acceptance: ``steps`` (default), ``totals`` of each
                     request, ``counters`` only, or ``nothing``; except for ``steps``, output
                     arrives in chunks that are not steps
``fail_every``       every so many requests one is broken off after half of its output
``loops``            share of the prompts whose answers repeat a few tokens from their middle on
``empties``          share of the prompts whose answers have a single token
``foreign``          tokens that other clients generate between two readings of the counters
``max_model_len``    context window in tokens (default: none)
``tensor_parallel_size``
                     GPUs that pytest-xdist workers set aside for it; it uses none (default 1)
===================  ==========================================================================
"""

from __future__ import annotations

import math
import os
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from pytest_speedbench.engines import simulated_text as text
from pytest_speedbench.engines.methods import METHODS
from pytest_speedbench.engines.process.backend import StepOutput
from pytest_speedbench.engines.process.parent import open_child
from pytest_speedbench.engines.protocol import (
    FILTERS,
    Counters,
    EngineConfig,
    EngineInfo,
    EngineType,
    Request,
    RequestTotals,
    TokenScore,
)
from pytest_speedbench.engines.simulated_arguments import ARGUMENTS, NUMBERS, refuse_values
from pytest_speedbench.engines.simulated_cache import PrefixCache
from pytest_speedbench.errors import EngineError

CONTEXT_WINDOW = 1 << 20
# Probability of the chosen token and of those that follow it in the vocabulary: the first two are a
# numerical tie everywhere, the rest of the vocabulary has no probability.
TARGET = (0.350001, 0.349999, 0.15, 0.1, 0.05)
_TIED, _WRONG = 1, 9
_UNLIKELY = -25.0
_LOGIT_MAGNITUDE = 20.0
# Tokens that an answer repeats which has become a loop.
_LOOP = 4
# Steps whose output arrives in one chunk, unless chunks are steps.
_MERGED = 2


@dataclass(slots=True)
class _Running:
    request: Request
    prompt: tuple[int, ...]
    chance: tuple[float, ...]
    length: int
    stops: bool
    fails: bool
    cached: int = 0
    warm: bool = False
    weights: Sequence[float] = ()
    """Of the tokens that are drawn from; none where the output is greedy."""
    emitted: list[int] = field(default_factory=list)
    drafted: list[int] = field(default_factory=list)
    accepted: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    steps: int = 0

    @property
    def position(self) -> int:
        """Of the next token in the whole output, what a request resumes counted."""
        return self.request.resumed + len(self.emitted)


class SimulatedBackend:
    """Steps its requests together; each step emits 1 + accepted tokens per request."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self._numbers = {n: float(str(value)) for n, value in config.args if n in NUMBERS}
        self.running: dict[str, _Running] = {}
        self.clock = time.perf_counter()
        self.totals = Counters(0, 0, 0, 0)
        self.miscount = int(self._number("miscount", 0))
        self.miscounted = 0
        self.defect_at = int(self._number("defect_at", -1))
        self.started = 0
        self.reports = str(config.option("reports", "steps"))
        self.build = config.option("build", 0)
        self.schedule = _schedule(config)
        ties = {"tie": "divergence", "batch": "batch_ties", "cache": "cache_ties"}
        chances = {salt: self._number(name, 0.0) for salt, name in ties.items()}
        self.ties = {salt: chance for salt, chance in chances.items() if chance}
        self.cache = PrefixCache()
        if config.model == "missing":
            raise EngineError("the simulated engine has no model called 'missing'")
        off = self._number("speculation_off", 0)
        method = "none" if off else config.speculation.method
        details = {
            **dict(config.args),
            "prefix_caching": config.prefix_caching,
            "speculative_method": method,
            "context_window": CONTEXT_WINDOW,
            "clock": "virtual",
        }
        counts = False if self.reports == "counters" else None
        self.info = EngineInfo("simulated", "1", "cpu", "float32", details, counts)

    def _number(self, name: str, default: float) -> float:
        return self._numbers.get(name, default)

    def now(self) -> float:
        """The virtual clock; while the engine is idle it follows the real one."""
        if not self.running:
            self.clock = max(self.clock, time.perf_counter())
        return self.clock

    def prefill_tokens(self, request: Request) -> int:
        return 1

    def add(self, request: Request) -> None:
        if not 0 < len(request.prompt_ids) <= CONTEXT_WINDOW:
            raise EngineError(
                f"request {request.id}: a prompt of {len(request.prompt_ids)} tokens; "
                f"the simulated engine takes 1 to {CONTEXT_WINDOW}"
            )
        self.started += 1
        if self.started == int(self._number("die_at", 0)):
            sys.stderr.write("simulated: out of memory\n")
            sys.stderr.flush()
            os._exit(137)
        if self.started == int(self._number("hang_at", 0)):
            time.sleep(3600)
        self.running[request.id] = self._start(request)

    def _start(self, request: Request) -> _Running:
        prompt = request.prompt_ids[: len(request.prompt_ids) - request.resumed]
        draws = random.Random(text.digest(prompt, request.sampling.seed, "draws"))
        spread = self._number("spread", 0.5)
        shift = draws.gauss(0.0, spread)
        left = (1.0 - self._number("fade", 0)) ** (self.started - 1)
        if self.started == int(self._number("evict_at", 0)):
            self.cache = PrefixCache()
        cached = self.cache.cached(request)
        warm = 2 * cached >= len(request.prompt_ids)
        if warm:
            left *= 1.0 - self._number("cache_fade", 0)
        chance = tuple(left * text.shifted(p, shift) for p in self._acceptance(request.label))
        if self._number("speculation_off", 0):
            chance = ()
        length, stops = self._length(request, draws)
        every = int(self._number("fail_every", 0))
        if fails := bool(every and self.started % every == 0):
            length, stops = (length + 1) // 2, False
        sampling = request.sampling
        weights = () if sampling.greedy else text.drawn_from(TARGET, sampling)
        return _Running(request, prompt, chance, length, stops, fails, cached, warm, weights)

    def _happens(self, fault: str, prompt: Sequence[int]) -> bool:
        """Whether a fault that has a share of the prompts hits this one."""
        chance = self._number(fault, 0)
        return chance > 0 and text.share(prompt, fault) < chance

    def _acceptance(self, label: str) -> tuple[float, ...]:
        names = (
            "acceptance",
            f"acceptance.{self.config.speculation.drafter}",
            f"acceptance.{label}",
        )
        given = [own for name in names if (own := self.config.option(name)) is not None]
        text = str(given[-1] if given else 0.6)
        numbers = [float(part) for part in text.split(":")]
        dl = self.config.speculation.draft_length
        return tuple(numbers[min(k, len(numbers) - 1)] for k in range(dl))

    def _length(self, request: Request, draws: random.Random) -> tuple[int, bool]:
        """Tokens of the output that are left, and whether it ends with a stop token."""
        most = request.sampling.max_tokens
        if self._happens("empties", request.prompt_ids):
            return 1, False
        mean = self._number("tokens", 0)
        if not mean or request.sampling.ignore_eos or not request.stop_ids:
            return most, False
        done, cap = request.resumed, request.resumed + most
        drawn = round(draws.gammavariate(4.0, mean / 4.0))
        whole = max(1, drawn, request.sampling.min_tokens + done)
        return max(1, min(whole, cap) - done), whole < cap or drawn == cap

    def step(self) -> list[StepOutput]:
        if not self.running:
            return []
        dl = self._draft_length()
        self.clock += 1e-3 * (
            self._number("step_ms", 10)
            + dl * self._number("draft_ms", 1)
            + (len(self.running) - 1) * self._number("batch_ms", 0.05)
        )
        return [self._advance(running) for running in list(self.running.values())]

    def _draft_length(self) -> int:
        """Tokens drafted in this step: DL, or what the schedule says of the requests in flight."""
        length = self.config.speculation.draft_length
        if not self.schedule or not length:
            return length
        reached = [drafts for requests, drafts in self.schedule if requests <= len(self.running)]
        return min(length, reached[-1] if reached else length)

    def _advance(self, running: _Running) -> StepOutput:
        count = 1
        if running.emitted and (chance := running.chance[: self._draft_length()]):
            count += self._draft(running, chance)
        running.steps += bool(running.emitted)
        chunk = self._emit(running, count)
        self.totals += Counters(0, 0, 0, len(chunk))
        stopped = self._stopped(running)
        finished = stopped or not self._left(running)
        if finished and not stopped and running.stops:
            chunk[-1], stopped = running.request.stop_ids[0], True
        if self.reports != "steps":
            chunk = self._arrived(running, chunk, finished)
        if not finished:
            return StepOutput(running.request.id, chunk, time=self.clock)
        del self.running[running.request.id]
        if self.config.prefix_caching:
            self.cache.keep(running.request, running.emitted)
        by_step = self.config.speculation.active and self.reports == "steps"
        return StepOutput(
            running.request.id,
            chunk,
            "error" if running.fails else "stop" if stopped else "length",
            self.clock,
            running.drafted if by_step else None,
            running.accepted if by_step else None,
            self._totals(running),
            cached_tokens=running.cached if self.config.prefix_caching else None,
        )

    def _arrived(self, running: _Running, chunk: list[int], finished: bool) -> list[int]:
        """What reaches the client now: some steps at once, as from a busy server."""
        running.held += chunk
        if running.steps % _MERGED and not finished:
            return []
        chunk, running.held = running.held, []
        return chunk

    def _totals(self, running: _Running) -> RequestTotals | None:
        if self.reports == "steps":
            return None
        if self.reports != "totals":
            return RequestTotals()
        if not self.config.speculation.active:
            return RequestTotals(running.steps)
        return RequestTotals(running.steps, sum(running.drafted), sum(running.accepted))

    def _emit(self, running: _Running, count: int) -> list[int]:
        """Up to ``count`` tokens; fewer where the output ends."""
        chunk: list[int] = []
        while len(chunk) < count and self._left(running) and not self._stopped(running):
            chunk.append(self._token(running))
        return chunk

    def _stopped(self, running: _Running) -> bool:
        request, emitted = running.request, running.emitted
        return (
            len(emitted) > request.sampling.min_tokens
            and not request.sampling.ignore_eos
            and emitted[-1] in request.stop_ids
        )

    def _draft(self, running: _Running, chances: Sequence[float]) -> int:
        accepted = 0
        rise, decay = self._number("rise", 0.0), self._number("decay", 0.0)
        shift = (rise * running.position - decay * len(running.emitted)) / 1000
        context = text.context(running.request.prompt_ids, running.emitted)
        draws = random.Random(text.digest(context, "draft", running.request.sampling.seed))
        for chance in chances:
            if draws.random() >= text.shifted(chance, shift):
                break
            accepted += 1
        running.drafted.append(len(chances))
        running.accepted.append(accepted)
        self.totals += Counters(1, len(chances), accepted, 0)
        return accepted

    def _left(self, running: _Running) -> int:
        return running.length - len(running.emitted)

    def _token(self, running: _Running) -> int:
        """The next token: a fixed function of the text, apart from ties, faults and draws."""
        request, emitted = running.request, running.emitted
        half = running.length // 2
        if len(emitted) > half >= _LOOP and self._happens("loops", running.prompt):
            emitted.append(emitted[-_LOOP])
            return emitted[-1]
        context = text.context(request.prompt_ids, running.emitted)
        if self.config.speculation.active and running.position == self.defect_at:
            offset = _WRONG
        elif request.sampling.greedy:
            offset = self._greedy_offset(running)
        else:
            offset = self._drawn_offset(running, context)
        token = text.neighbour(text.choice(context), offset)
        running.emitted.append(token)
        return token

    def _greedy_offset(self, running: _Running) -> int:
        position, speculating = running.position, self.config.speculation.active
        possible = {"tie": speculating, "batch": len(self.running) > 1, "cache": running.warm}
        for salt, chance in self.ties.items():
            if possible[salt] and text.share(running.prompt, salt, self.build, position) < chance:
                return _TIED
        return 0

    def _drawn_offset(self, running: _Running, context: Sequence[int]) -> int:
        sampling, position = running.request.sampling, len(running.emitted)
        bias = self._number("bias", 0.0) if self.config.speculation.active and position else 0.0
        if bias and text.share(context, "bias", sampling.seed, position) < bias:
            return 0
        draws = random.Random(text.digest(context, "draw", sampling.seed, position))
        return draws.choices(range(len(running.weights)), running.weights)[0]

    def abort(self, request_id: str) -> None:
        self.running.pop(request_id, None)

    def counters(self) -> Counters | None:
        if not self.config.speculation.active or self.reports == "nothing":
            return None
        foreign = int(self._number("foreign", 0))
        self.totals += Counters(0, 0, 0, foreign)
        self.miscounted += self.miscount  # a constant would cancel in every difference
        return self.totals + Counters(0, 0, self.miscounted, 0)

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        """The log-probabilities of ``TARGET``; a divergence is a tie there, a defect is not."""
        best = text.choice(text.context(token_ids[:position], ()))
        known = {text.neighbour(best, i): math.log(p) for i, p in enumerate(TARGET)}
        logprobs = {token: known.get(token, _UNLIKELY) for token in candidates}
        return TokenScore(logprobs, best, known[best], _LOGIT_MAGNITUDE)

    def close(self) -> None:
        self.running.clear()


def _schedule(config: EngineConfig) -> list[tuple[int, int]]:
    """(requests in flight from which on it holds, draft length), by the former."""
    pairs = filter(None, str(config.option("schedule", "")).split(","))
    return sorted(
        (int(requests), int(drafts)) for requests, drafts in (p.split(":") for p in pairs)
    )


ENGINE = EngineType(
    name="simulated",
    methods=METHODS,
    open=open_child("pytest_speedbench.engines.simulated:SimulatedBackend"),
    prefix_caching=True,
    schedules=("schedule",),
    filters=FILTERS,
    tokenizer="words",
    local=False,
    scores=True,
    elsewhere=True,
    arguments=lambda config: ARGUMENTS,
    refuse_values=refuse_values,
)
