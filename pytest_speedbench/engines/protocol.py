"""The protocol of engines: requests in, traces out.

An engine knows nothing of pytest, splits or statistics. It is opened with an ``EngineConfig``,
gets ``Request`` objects, keeps a fixed number of them in flight, and returns one ``Trace`` for
each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol

from pytest_speedbench.secrets import remember

FinishReason = Literal["stop", "length", "abort"]
PromptForm = Literal["token_ids", "chat"]
UNKNOWN_METHOD = "unknown"
"""``speculative_method`` in the details of a server that does not report it: what the user says of
it is kept elsewhere."""


@dataclass(frozen=True, slots=True)
class Speculation:
    """One configuration of speculative decoding, in the engines' own terms.

    Attributes:
        method: the algorithm, by the engines' lower-case name; ``"none"`` for plain decoding.
        draft_length: tokens proposed per step (vLLM: ``num_speculative_tokens``); 0 exactly when
            ``method`` is ``"none"``.
        drafter: hub name or path of the drafter's weights; None for methods without any.
        draft_sampling: how the drafter chooses its tokens at a temperature: ``greedy`` or
            ``probabilistic`` (vLLM: ``draft_sample_method``); empty for the engine's default.
    """

    method: str = "none"
    draft_length: int = 0
    drafter: str | None = None
    draft_sampling: str = ""

    @property
    def active(self) -> bool:
        """Whether anything is drafted at all."""
        return self.method != "none"

    def __str__(self) -> str:
        return f"{self.method} dl{self.draft_length}" if self.active else "no SD"


NO_SPECULATION = Speculation()


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """The configuration of one started engine: everything that takes a restart to change.

    Attributes:
        engine: name of the engine.
        model: hub name or path of the target.
        speculation: what to speculate with.
        max_batch: the largest batch size (concurrent requests) that it will be asked to hold.
        url: address of a running server, for engines that talk to one.
        args: the engine's own arguments, as ``--speed-engine-arg`` gave them.
        prefix_caching: whether the engine keeps the KV cache of earlier prompts.
        raw: for servers that take text: prompts are completed as they are, without a chat template.
        environment: variables that are set for the engine alone, over those of this process.
        surroundings: what else it is started under: variables of this process that engines read,
            and parametrised fixtures. Never read, it only distinguishes engines.
        python: interpreter of another environment, whose engine runs; empty for this one's.
    """

    engine: str
    model: str
    speculation: Speculation = NO_SPECULATION
    max_batch: int = 1
    url: str = ""
    args: tuple[tuple[str, object], ...] = field(default=(), hash=False)  # may hold dicts
    prefix_caching: bool = False
    raw: bool = False
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    surroundings: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    python: str = ""

    def __post_init__(self) -> None:
        remember(self.args, self.url)

    def option(self, name: str, default: object = None) -> object:
        """The engine argument ``name``, or ``default``."""
        return dict(self.args).get(name, default)

    def without_speculation(self) -> EngineConfig:
        """The same engine for the arm without speculation."""
        return replace(self, speculation=NO_SPECULATION)


FILTERS = ("top_k", "top_p", "min_p")
"""The fields of :class:`Sampling` that leave out unlikely tokens."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Attributes:
        max_tokens: longest output, in tokens.
        temperature: 0 is greedy.
        seed: seed of the engine's random numbers.
        ignore_eos: go on to ``max_tokens`` past the end of the answer.
        min_tokens: shortest output, in tokens.
        top_p: the smallest set of most likely tokens with this probability is kept; 1 keeps all.
        top_k: so many of the most likely tokens are kept; 0 keeps all.
        min_p: tokens with at least this share of the most likely one's probability are kept; 0
            keeps all.

    The filters apply after the temperature, in the order of ``FILTERS``; some engines combine them
    in another order.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0
    ignore_eos: bool = False
    min_tokens: int = 0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0

    @property
    def greedy(self) -> bool:
        """Whether the most likely token is always taken."""
        return self.temperature == 0.0

    @property
    def filters(self) -> dict[str, Any]:
        """Those of ``FILTERS`` that leave out tokens, by name."""
        off = {field.name: field.default for field in fields(self)}
        return {n: value for n in FILTERS if (value := getattr(self, n)) != off[n]}


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to complete.

    Attributes:
        id: unique among the requests of an engine.
        prompt_ids: shape (prompt tokens,); sent as they are.
        sampling: how tokens are chosen.
        stop_ids: token ids that end the output.
        speculation: read by engines that switch per request; others use their configuration.
        label: a category; carried for the simulated engine only.
        messages: (role, content) each, the conversation behind the prompt: for servers that take no
            token ids and apply their own template.
        template: arguments of that template.
        resumed: tokens at the end of ``prompt_ids`` that belong to an output to be continued; read
            only by the simulated engine.
        cache_salt: only requests of the same salt may share the prefix cache; empty for the cache
            of all others. Given where prefix caching is on.
    """

    id: str
    prompt_ids: tuple[int, ...]
    sampling: Sampling = Sampling()
    stop_ids: tuple[int, ...] = ()
    speculation: Speculation = NO_SPECULATION
    label: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    template: tuple[tuple[str, object], ...] = field(default=(), hash=False)  # may hold dicts
    resumed: int = 0
    cache_salt: str = ""


@dataclass(frozen=True, slots=True)
class RequestTotals:
    """What is known of a whole request where an engine does not report its decoding steps.

    Each is in our definitions, and None where the engine does not report it.

    Attributes:
        steps: decoding steps D, without the prefill's pass (SGLang: ``spec_verify_ct``;
            TensorRT-LLM: ``decoding_iter`` - 1).
        draft_tokens: draft tokens proposed.
        accepted_tokens: draft tokens accepted, before the output was cut off.
    """

    steps: int | None = None
    draft_tokens: int | None = None
    accepted_tokens: int | None = None


@dataclass(slots=True)
class Trace:
    """The record of one request: its tokens, when they arrived, and its drafts.

    Attributes:
        request_id: id of the request.
        prompt_tokens: length of the prompt, in tokens.
        submitted: when it was sent; seconds on the monotonic clock that all processes of a machine
            share, as all times here.
        token_ids: shape (N,), or empty where the server answers in text alone.
        chunks: shape (output events,), tokens of each event in order. For an answer in text they
            add up to the number that the server counted (``usage``), spread evenly over the
            arrivals where their times are all that is known.
        times: shape of ``chunks``, arrival of each event.
        prefill_tokens: n₀; 1 when the first event is the prefill's own token, 0 when the first pass
            already verified a draft.
        drafted: the engine's own number of draft tokens of each step that had a draft; None where
            it does not report them.
        accepted: shape of ``drafted``, how many of these were accepted, before the output was cut.
        finish_reason: ``stop`` (complete), ``length`` (cut), or ``abort``: the client cancelled it,
            or the engine broke it off.
        failure: the engine's reason for breaking the answer off; empty for others.
        hidden_tokens: output tokens that the engine counts but did not send, as a reasoning parser
            may do; the time of the first token is then unknown.
        totals: given where the events are not decoding steps (the chunks of a server may merge or
            split them). Then ``steps`` means nothing, and D is ``totals.steps``.
        steps_proven: the engine's own number of steps is that of the events.
        text: the answer, where there are no token ids; without the reasoning before it.
        cached_tokens: prompt tokens that came from the prefix cache; None where the engine does not
            report it.
        reasoning: the text before ``text``, which is no part of the conversation.
    """

    request_id: str
    prompt_tokens: int
    submitted: float
    token_ids: list[int] = field(default_factory=list)
    chunks: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    prefill_tokens: int = 1
    drafted: list[int] | None = None
    accepted: list[int] | None = None
    finish_reason: FinishReason = "stop"
    failure: str = ""
    hidden_tokens: int = 0
    totals: RequestTotals | None = None
    steps_proven: bool = False
    text: str | None = None
    cached_tokens: int | None = None
    reasoning: str = ""

    @property
    def steps(self) -> list[int]:
        """Tokens emitted by each decoding step; the prefill's event is not one."""
        return self.chunks[1:] if self.prefill_tokens else self.chunks

    @property
    def tokens(self) -> int:
        """Output tokens N."""
        return sum(self.chunks)

    @property
    def ids_known(self) -> bool:
        """Whether the token ids of the output are known; an empty output has none."""
        return bool(self.token_ids) or not self.tokens

    @property
    def decoded_tokens(self) -> int:
        """Tokens that decoding steps emitted, N - n0."""
        return sum(self.steps) if self.totals is None else max(0, self.tokens - self.prefill_tokens)

    @property
    def decoding_steps(self) -> int | None:
        """Decoding steps D; None if unknown."""
        return len(self.steps) if self.totals is None else self.totals.steps


def spread_tokens(tokens: int, arrivals: int) -> list[int]:
    """``tokens`` spread evenly over ``arrivals``; the remainder goes to the first ones.

    Raises:
        ValueError: there are tokens but no arrivals.
    """
    if tokens and not arrivals:
        raise ValueError(f"{tokens} output tokens, but no arrival")
    share, rest = divmod(tokens, arrivals) if arrivals else (0, 0)
    return [share + (number < rest) for number in range(arrivals)]


@dataclass(frozen=True, slots=True)
class Counters:
    """The engine's own lifetime totals of speculative decoding, counted before outputs are cut.

    Every finished request must be in them.

    Attributes:
        drafts: request-steps that had a draft (vLLM: ``spec_decode_num_drafts``); 0 where the
            engine does not count them.
        draft_tokens: draft tokens proposed.
        accepted_tokens: draft tokens accepted.
        output_tokens: all tokens emitted, for every client (vLLM: ``generation_tokens``); used
            to detect foreign traffic. None where the engine does not count them.
    """

    drafts: int = 0
    draft_tokens: int = 0
    accepted_tokens: int = 0
    output_tokens: int | None = None

    def __add__(self, other: Counters) -> Counters:
        mine, theirs = self.output_tokens, other.output_tokens
        return Counters(
            self.drafts + other.drafts,
            self.draft_tokens + other.draft_tokens,
            self.accepted_tokens + other.accepted_tokens,
            None if mine is None or theirs is None else mine + theirs,
        )

    def __sub__(self, before: Counters) -> Counters:
        mine, theirs = self.output_tokens, before.output_tokens
        return Counters(
            self.drafts - before.drafts,
            self.draft_tokens - before.draft_tokens,
            self.accepted_tokens - before.accepted_tokens,
            None if mine is None or theirs is None else mine - theirs,
        )


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the started engine reports of itself, for the record.

    Attributes:
        engine: name of the engine.
        version: its version.
        device: what it runs on, such as ``NVIDIA H100 80GB HBM3``.
        dtype: type of weights and logits, such as ``bfloat16``.
        details: anything else, as plain JSON: the configuration as it was resolved at the start,
            each setting under the name of the engine argument for it.
        request_counts: overrules ``EngineType.request_counts`` where only the started engine knows.
        scores: overrules ``EngineType.scores`` likewise.
        packages: name → version of the packages that it computes with. Filled in where the process
            of the engine is started here.
        commit: that the engine was built from, as far as its installation says; likewise.
    """

    engine: str
    version: str
    device: str
    dtype: str
    details: Mapping[str, object] = field(default_factory=dict)
    request_counts: bool | None = None
    scores: bool | None = None
    packages: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""


@dataclass(frozen=True, slots=True)
class TokenScore:
    """Natural log-probabilities of some tokens at one position of a text, by the target alone.

    Attributes:
        logprobs: token id → natural logarithm of its probability.
        top_token: the most likely token.
        top_logprob: its log-probability.
        magnitude: the largest absolute logit there, which says how coarsely it was rounded; None
            where the engine does not report it.
    """

    logprobs: Mapping[int, float]
    top_token: int
    top_logprob: float
    magnitude: float | None = None


class Engine(Protocol):
    """A started engine. One load runs at a time; every method may raise ``EngineDied``."""

    info: EngineInfo

    def submit(self, requests: Sequence[Request], *, first: bool = False) -> None:
        """Queues requests; ``first`` puts them before those that are waiting."""

    def hold(self, batch_size: int) -> None:
        """Sets the number of requests that are kept in flight."""

    def collect(self, timeout: float) -> list[Trace]:
        """Waits up to ``timeout`` seconds for finished requests; an empty list if none finished."""

    def cancel(self, request_ids: Sequence[str]) -> None:
        """Ends requests early; their traces have the finish reason ``abort``."""

    def counters(self) -> Counters | None:
        """Lifetime totals, or None if the engine keeps none."""

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        """Teacher forcing: the target's log-probabilities of ``candidates`` at ``position``, given
        the tokens before it."""

    def close(self) -> None:
        """Ends the engine and frees its memory. Closing twice is allowed."""


@dataclass(frozen=True, slots=True)
class EngineType:
    """The capabilities of an adapter, as data, and how to open it.

    Attributes:
        name: what users ask for.
        methods: the methods that it offers.
        open: starts an engine, within a limit in seconds.
        own_methods: returns all names that the installed engine lists itself, without importing it
            (empty where it is not installed). Without it the list of methods is closed; with it, a
            name that is not in our table is passed to the engine as it is.
        requires: the package that must be importable.
        extra: the extra that installs it.
        switches: speculation is chosen per request, so that one started engine serves every
            configuration.
        max_batch: largest batch size; None: no bound.
        max_speculative_batch: largest batch size under speculation; None: no bound.
        step_traces: ``Trace.chunks`` are decoding steps.
        request_counts: acceptance is reported for each request at least. Where only lifetime
            counters grow, slices run one after another and the counters are read in between.
        prompt_form: ``chat`` where the server applies its own template.
        tokenizer: ``huggingface``; ``words`` for an engine without a model; ``server`` for a chat
            server, where the model's own is used if it is at hand.
        prefix_caching: it has a prefix cache that can be switched on, respects
            ``Request.cache_salt`` and reports ``Trace.cached_tokens``.
        filters: those of ``FILTERS`` that it applies as they are defined there; others are refused.
        schedules: engine arguments by which it changes the draft length while it runs.
        draft_samplings: the values of ``Speculation.draft_sampling`` that it has.
        tokenizer_source: the model, or the folder, that the tokenizer is loaded from.
        weights: the folder or file that a model's weights are in, where it is not the one that
            every engine loads.
        window: longest context in tokens, where it is not the model's own.
        scores: ``Engine.score`` works.
        elsewhere: its process can run with the interpreter of another environment
            (``EngineConfig.python``).
        memory_share: the argument that gives the share of a GPU that it takes; without it another
            engine beside it on the GPU cannot be planned.
        memory_size: the argument that gives its KV cache a fixed size instead.
        local: it computes on this machine, so that each xdist worker needs GPUs or cores for it.
        server: it talks to the server at ``--speed-url``.
        arguments: the engine arguments that a configuration may have, ``NAME.*`` for all that begin
            with ``NAME.``; None where only the engine itself knows them.
        refuse_values: raises ``EngineError`` for an engine argument that cannot have its value, or
            has an option of its own, whatever the case.
        refuse: raises ``EngineError`` for a configuration that could not work, before anything is
            loaded.
        refuse_sampling: likewise for how tokens are to be chosen.
        status: what the adapter found on this machine besides its package; raises
            ``EngineUnavailable``.
    """

    name: str
    methods: tuple[str, ...]
    open: Callable[[EngineConfig, float], Engine]
    own_methods: Callable[[], Collection[str]] | None = None
    requires: str = ""
    extra: str = ""
    switches: bool = False
    max_batch: int | None = None
    max_speculative_batch: int | None = None
    step_traces: bool = True
    request_counts: bool = True
    prompt_form: PromptForm = "token_ids"
    prefix_caching: bool = False
    filters: tuple[str, ...] = ()
    schedules: tuple[str, ...] = ()
    draft_samplings: tuple[str, ...] = ()
    tokenizer: str = "huggingface"
    tokenizer_source: Callable[[EngineConfig], str] = lambda config: config.model
    weights: Callable[[str], str] = lambda model: ""
    window: Callable[[EngineConfig], int | None] = lambda config: None
    scores: bool = False
    elsewhere: bool = False
    memory_share: str = ""
    memory_size: str = ""
    local: bool = True
    server: bool = False
    arguments: Callable[[EngineConfig], Collection[str] | None] = lambda config: None
    refuse_values: Callable[[EngineConfig], None] = lambda config: None
    refuse: Callable[[EngineConfig], None] = lambda config: None
    refuse_sampling: Callable[[EngineConfig, Sampling], None] = lambda config, sampling: None
    status: Callable[[], str] = lambda: ""
