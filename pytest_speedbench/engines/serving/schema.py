"""What servers send, as validated types: a wrong type, or a number that cannot be, is an error with
its place.

Only the fields that are read are listed; others are ignored. What another kind of server may use
for something else is navigated to by :mod:`~.readers`, and validated there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from typing_extensions import TypedDict  # Python 3.11: pydantic refuses that of typing

from pytest_speedbench.validation import place, problem

_MOST_TOKENS = 1 << 31

Count = Annotated[int, Field(strict=True, ge=0)]
"""A number of output tokens; :class:`~.answer.Answer` compares it with what was asked for."""
Tokens = Annotated[int, Field(strict=True, ge=0, le=_MOST_TOKENS)]
Length = Annotated[int, Field(strict=True, gt=0, le=_MOST_TOKENS)]
TokenId = Annotated[int, Field(strict=True, ge=0, lt=1 << 31)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


class Form(BaseModel):
    """Base of all forms."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


# -- streams ----------------------------------------------------------------------------------


class CompletionDetails(Form):
    reasoning_tokens: Tokens | None = None


class PromptDetails(Form):
    cached_tokens: Tokens | None = None


class Usage(Form):
    completion_tokens: Count | None = None
    prompt_tokens: Tokens | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class Choice(TypedDict, total=False):
    """``delta`` (chat) or ``text`` (completions) is the new output; engines add fields. Requests
    ask for one choice, so that its ``index`` is 0."""

    index: Annotated[int, Field(ge=0, le=0)] | None
    text: str | None
    delta: dict[str, Any] | None
    message: dict[str, Any] | None
    token_ids: list[TokenId] | None
    logprobs: Any
    finish_reason: Any
    meta_info: Any
    speculative_decoding: Any
    avg_decoded_tokens_per_iter: Any


class Event(TypedDict, total=False):
    """One event of a stream of OpenAI's API. It and its choice are dictionaries, of the fields that
    were sent: they are read for every token, and an object takes twice as long to make."""

    choices: Annotated[list[Choice], Field(max_length=1)] | None
    usage: Usage | None
    metrics: Any
    sglext: Any
    timings: Any
    meta_info: Any


def first_choice(event: Event) -> Choice | None:
    choices = event.get("choices")
    return choices[0] if choices else None


# Once for every event of every stream: `TypeAdapter.validate_json` takes a fifth longer, for its
# arguments.
read_event: Callable[[bytes], Event] = TypeAdapter(Event).validator.validate_json


class SglangMeta(Form):
    """``meta_info`` of SGLang; before 0.5.23 two fields had other names."""

    id: str = ""
    completion_tokens: Count | None = None
    prompt_tokens: Tokens | None = None
    finish_reason: Any = None
    cached_tokens: Tokens | None = None
    num_retractions: Tokens = 0
    spec_verify_ct: Tokens | None = None
    spec_num_proposed_drafts: Tokens | None = None
    spec_draft_token_num: Tokens | None = None
    spec_num_correct_drafts: Tokens | None = None
    spec_accept_token_num: Tokens | None = None

    @property
    def proposed(self) -> int | None:
        """Draft tokens proposed; nominal, and nodes of a tree where it drafts one."""
        new = self.spec_num_proposed_drafts
        return self.spec_draft_token_num if new is None else new

    @property
    def accepted(self) -> int | None:
        """Draft tokens accepted."""
        new = self.spec_num_correct_drafts
        return self.spec_accept_token_num if new is None else new


class GenerateEvent(Form):
    """One event of SGLang's ``/generate``."""

    output_ids: list[TokenId]
    meta_info: SglangMeta


class VllmSpeculation(Form):
    """``metrics.speculative_decoding``; lists at vLLM's level *detailed* only."""

    num_spec_steps: Tokens | None = None
    num_draft_tokens: Tokens | None = None
    num_accepted_draft_tokens: Tokens | None = None
    num_spec_tokens: Tokens | None = None
    per_step_drafted: list[Tokens] | None = None
    per_step_accepted: list[Tokens] | None = None

    @model_validator(mode="after")
    def _fits(self) -> VllmSpeculation:
        drafted, accepted = self.per_step_drafted, self.per_step_accepted
        if drafted is None or accepted is None:
            return self
        if len(drafted) != len(accepted):
            raise ValueError(f"{len(drafted)} steps drafted and {len(accepted)} accepted")
        for number, (proposed, taken) in enumerate(zip(drafted, accepted, strict=True)):
            if taken > proposed:
                raise ValueError(f"step {number} accepted {taken} of {proposed} draft tokens")
        for name, found in (
            ("num_spec_steps", len(drafted)),
            ("num_draft_tokens", sum(drafted)),
            ("num_accepted_draft_tokens", sum(accepted)),
        ):
            if getattr(self, name) not in (None, found):
                raise ValueError(f"{name} is {getattr(self, name)}, its steps add up to {found}")
        return self


class TensorrtLlmSpeculation(Form):
    """``choices[0].speculative_decoding`` of ``trtllm-serve``."""

    total_draft_tokens: Tokens | None = None
    total_accepted_draft_tokens: Tokens | None = None
    num_spec_steps: Tokens | None = None
    num_spec_tokens: Tokens | None = None


class TensorrtLlmAverage(Form):
    avg_decoded_tokens_per_iter: Share | None = None


class Timings(Form):
    """``timings`` of llama.cpp; the draft counts are absent if nothing was drafted."""

    cache_n: Tokens | None = None
    predicted_n: Count | None = None
    predicted_ms: Finite = 0.0
    draft_n: Tokens = 0
    draft_n_accepted: Tokens = 0


class CompletionEvent(Form):
    """One event of llama.cpp's ``/completion``."""

    content: str
    tokens: list[TokenId]
    timings: Timings
    stop: bool
    stop_type: str | None = None
    tokens_evaluated: Tokens | None = None


# -- pages and other replies ------------------------------------------------------------------


class Version(Form):
    version: str = "unknown"


class ServerInfo(Form):
    """``/server_info`` of vLLM, in development mode only."""

    vllm_config: Any = None


class CardMeta(Form):
    """llama.cpp's own part of a model card."""

    n_vocab: Length | None = None
    ftype: str | None = None


class ModelCard(Form):
    """An entry of ``/v1/models``; ``root`` and ``max_model_len`` are vLLM's and SGLang's own."""

    id: str
    root: str | None = None
    max_model_len: Length | None = None
    meta: CardMeta | None = None


class ModelList(Form):
    data: list[ModelCard] | None = None


class Logprob(Form):
    """An entry of vLLM's ``prompt_logprobs``."""

    logprob: Finite
    rank: Length


class ScoredChoice(Form):
    prompt_logprobs: list[dict[str, Logprob] | None] = Field(min_length=1)


class ScoredCompletion(Form):
    choices: list[ScoredChoice] = Field(min_length=1)


class Candidate(Form):
    """A token that llama.cpp might emit next."""

    id: TokenId
    bytes: list[Annotated[int, Field(ge=0, lt=256)]] = Field(default_factory=list)
    logprob: Finite


class NextToken(Form):
    top_logprobs: list[Candidate] = Field(min_length=1)


class NextTokens(Form):
    completion_probabilities: list[NextToken] = Field(min_length=1)


class Tokenized(Form):
    tokens: list[TokenId]


class Detokenized(Form):
    content: str


class Slot(Form):
    speculative: bool = False


class GenerationSettings(Form):
    n_ctx: Length | None = None
    params: dict[str, Any] | None = None


class Properties(Form):
    """``/props`` of llama.cpp."""

    total_slots: Length | None = None
    build_info: str | None = None
    model_path: str | None = None
    model_ftype: str | None = None
    default_generation_settings: GenerationSettings | None = None


def describe(error: ValidationError) -> str:
    """The first thing that is wrong, with its place: ``usage.completion_tokens: …, got -5``."""
    found = error.errors(include_url=False)[0]
    where = place(found["loc"])
    return f"{where}: {problem(found)}" if where else problem(found)
