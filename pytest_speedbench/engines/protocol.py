"""What every engine understands and gives back: requests in, traces out.

An engine knows nothing of pytest, splits or statistics. It is opened with an
``EngineConfig``, is handed ``Request`` objects, holds a fixed number of them in flight,
and returns one ``Trace`` for each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

FinishReason = Literal["stop", "length", "abort"]
PromptForm = Literal["token_ids", "chat"]


@dataclass(frozen=True, slots=True)
class Speculation:
    """One configuration of speculative decoding, in the engines' own terms.

    ``draft_length`` is the number of tokens proposed per step (vLLM: ``num_speculative_tokens``);
    it is 0 exactly when ``method`` is ``"none"``.
    """

    method: str = "none"
    draft_length: int = 0
    drafter: str | None = None

    @property
    def active(self) -> bool:
        return self.method != "none"

    def __str__(self) -> str:
        return f"{self.method} dl{self.draft_length}" if self.active else "no SD"


NO_SPECULATION = Speculation()


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """What one started engine is: everything that cannot change without a restart.

    ``args`` are the engine's own arguments, as ``--speed-engine-arg`` gave them.
    ``url`` is the address of a running server, for engines that talk to one.
    ``max_batch`` is the largest batch size (concurrent requests) it will be asked to hold.
    """

    engine: str
    model: str
    speculation: Speculation = NO_SPECULATION
    max_batch: int = 1
    url: str = ""
    args: tuple[tuple[str, object], ...] = field(default=(), hash=False)  # may hold dicts

    def option(self, name: str, default: object = None) -> object:
        """The engine argument ``name``, or ``default``."""
        return dict(self.args).get(name, default)

    def without_speculation(self) -> EngineConfig:
        return replace(self, speculation=NO_SPECULATION)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. ``temperature`` 0 is greedy; lengths are in tokens."""

    max_tokens: int = 128
    temperature: float = 0.0
    seed: int = 0
    ignore_eos: bool = False
    min_tokens: int = 0

    @property
    def greedy(self) -> bool:
        return self.temperature == 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to complete. ``prompt_ids`` are sent as they are; ``stop_ids`` end the output.

    ``speculation`` is read by engines that switch per request; others use their own
    configuration. ``label`` (a category) is carried for the simulated engine only. ``messages``,
    (role, content) each, are the conversation behind the prompt, for servers that take no token ids
    and apply their own template, with the arguments ``template``.
    """

    id: str
    prompt_ids: tuple[int, ...]
    sampling: Sampling = Sampling()
    stop_ids: tuple[int, ...] = ()
    speculation: Speculation = NO_SPECULATION
    label: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    template: tuple[tuple[str, object], ...] = field(default=(), hash=False)  # may hold dicts


@dataclass(frozen=True, slots=True)
class RequestTotals:
    """What an engine tells of a whole request where it does not tell its decoding steps.

    Converted to our definitions; None where it does not tell. ``steps`` are the decoding steps D,
    the prefill's pass left out (SGLang: ``spec_verify_ct``; TensorRT-LLM: ``decoding_iter`` - 1).
    """

    steps: int | None = None
    draft_tokens: int | None = None
    accepted_tokens: int | None = None


@dataclass(slots=True)
class Trace:
    """What one request did.

    ``chunks`` holds the number of tokens of each output event in order and ``times`` its arrival
    (seconds, the monotonic clock shared by all processes of a machine). ``prefill_tokens`` (n0) is
    1 when the first event is the prefill's own token, 0 when the first pass already verified a
    draft. ``drafted`` and ``accepted`` are the engine's own numbers for each step that had a draft,
    counted before the output was cut, or None when the engine does not tell.

    ``totals`` is given where the events are no decoding steps (a server's chunks may merge or split
    them): then ``steps`` says nothing, and D is ``totals.steps``, None where nobody knows.

    ``token_ids`` is complete or empty. It is empty where a server answers in text alone: then
    ``text`` is that answer, and ``chunks`` adds up to the number of tokens that the server counted
    (``usage``), dealt over the arrivals by ``spread_tokens`` where nobody knows how many came
    when.
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
    totals: RequestTotals | None = None
    text: str | None = None

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
        """Whether the output's token ids are told; an empty output has none to tell."""
        return bool(self.token_ids) or not self.tokens

    @property
    def decoded_tokens(self) -> int:
        """Tokens that decoding steps emitted, N - n0."""
        return sum(self.steps) if self.totals is None else max(0, self.tokens - self.prefill_tokens)

    @property
    def decoding_steps(self) -> int | None:
        """Decoding steps D; None where nobody knows."""
        return len(self.steps) if self.totals is None else self.totals.steps


def spread_tokens(tokens: int, arrivals: int) -> list[int]:
    """``tokens`` dealt over ``arrivals`` as evenly as they go, the first arrivals first.

    Raises:
        ValueError: tokens that arrived at no time at all.
    """
    if tokens and not arrivals:
        raise ValueError(f"{tokens} output tokens without a single arrival")
    share, rest = divmod(tokens, arrivals) if arrivals else (0, 0)
    return [share + (number < rest) for number in range(arrivals)]


@dataclass(frozen=True, slots=True)
class Counters:
    """The engine's own lifetime totals of speculative decoding, counted before outputs are cut.

    ``drafts`` counts request-steps that had a draft (vLLM: ``spec_decode_num_drafts``); 0 where the
    engine does not count them. ``output_tokens`` are all tokens it has emitted, for everybody
    (vLLM: ``generation_tokens``), None where it does not count them: by them foreign traffic is
    noticed. Every finished request must be in them.
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
    """What the started engine says of itself, for the record. ``details`` holds plain JSON.

    ``request_counts`` and ``scores`` overrule the engine type's, for servers of which only the
    started one can tell; None: as the type says.
    """

    engine: str
    version: str
    device: str
    dtype: str
    details: Mapping[str, object] = field(default_factory=dict)
    request_counts: bool | None = None
    scores: bool | None = None


@dataclass(frozen=True, slots=True)
class TokenScore:
    """Log-probabilities of some tokens at one position of a given text, by the target alone.

    ``magnitude`` is the largest absolute logit there, which says how coarsely it was rounded; None
    where the engine does not tell.
    """

    logprobs: Mapping[int, float]
    top_token: int
    top_logprob: float
    magnitude: float | None = None


class Engine(Protocol):
    """A started engine. One load runs at a time; every method may raise ``EngineDied``."""

    info: EngineInfo

    def submit(self, requests: Sequence[Request], *, first: bool = False) -> None:
        """Queues requests; ``first`` puts them before those that still wait."""

    def hold(self, batch_size: int) -> None:
        """Sets how many requests are kept in flight."""

    def collect(self, timeout: float) -> list[Trace]:
        """Waits up to ``timeout`` seconds for finished requests; an empty list if none finished."""

    def cancel(self, request_ids: Sequence[str]) -> None:
        """Ends requests early; their traces come back with the reason ``abort``."""

    def counters(self) -> Counters | None:
        """Lifetime totals, or None where the engine keeps none."""

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        """Teacher forcing: what the target thinks of ``candidates`` at ``position``, given the
        tokens before it."""

    def close(self) -> None:
        """Ends the engine and gives its memory back. Closing twice is allowed."""


@dataclass(frozen=True, slots=True)
class EngineType:
    """What an adapter can do, as data, and how to open it.

    ``methods`` are names of ``engines.methods``; ``own_methods`` returns all names that the
    installed engine lists itself, without importing it (empty where it is not installed). Without
    ``own_methods`` the list of methods is closed; with it, a name that is not in the table is
    passed to the engine as it is. ``switches`` tells that speculation is chosen per request, so
    that one started engine serves every configuration. ``max_speculative_batch`` bounds the batch
    size under speculation (None: no bound). ``requires`` is the importable package, ``extra`` the
    extra that installs it. ``step_traces`` tells that ``Trace.chunks`` are decoding steps;
    ``request_counts`` that acceptance is told for each request at least: where only lifetime
    counters grow, slices run one after another and the counters are read in between.
    ``prompt_form`` is ``chat`` where the server applies its own template.
    ``tokenizer`` is ``huggingface``, ``words`` for engines without a model, or ``server`` for chat
    servers, where the model's own is used if it is at hand; ``tokenizer_source`` names the model,
    or the folder, that it is loaded from. ``weights`` names the folder or file that a model's
    weights are in, where it is not the one that every engine loads.
    ``local`` tells that it computes on this machine, so that each xdist worker needs GPUs or cores
    for it. ``server`` tells that it talks to the server at ``--speed-url``. ``scores`` that it can
    score.
    ``arguments`` names the engine arguments that a configuration may have, ``NAME.*`` for all that
    begin with ``NAME.``; None where only the engine itself knows them.
    ``refuse`` raises ``EngineError`` for a configuration that could not work, before
    anything is loaded. ``status`` says what the adapter found on this machine besides its package,
    or raises ``EngineUnavailable``.
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
    tokenizer: str = "huggingface"
    tokenizer_source: Callable[[EngineConfig], str] = lambda config: config.model
    weights: Callable[[str], str] = lambda model: ""
    window: Callable[[EngineConfig], int | None] = lambda config: None
    scores: bool = False
    local: bool = True
    server: bool = False
    arguments: Callable[[EngineConfig], Collection[str] | None] = lambda config: None
    refuse: Callable[[EngineConfig], None] = lambda config: None
    status: Callable[[], str] = lambda: ""
