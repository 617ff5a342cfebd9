"""Hugging Face transformers: assisted generation, one request at a time.

Methods: prompt lookup (``ngram``), ``draft_model``, ``early_exit``. Speculation is chosen per
request, so one loaded model serves all configurations. Steps come from a streamer (one ``put`` per
forward pass of the target) and from the candidate generator (tokens drafted and accepted).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_speedbench.engines.checkpoints import checkpoint
from pytest_speedbench.engines.demo import resolve_model
from pytest_speedbench.engines.methods import methods_of, traits
from pytest_speedbench.engines.process.backend import StepOutput
from pytest_speedbench.engines.process.parent import open_child
from pytest_speedbench.engines.protocol import (
    FILTERS,
    Counters,
    EngineConfig,
    EngineInfo,
    EngineType,
    Request,
    Sampling,
    Speculation,
    TokenScore,
)
from pytest_speedbench.errors import EngineError, did_you_mean

_PROMPT_LOOKUP_NGRAM = 2
# Those that users mostly give; a model's class may have others.
_ARGUMENTS = ("attn_implementation", "device", "dtype", "max_matching_ngram_size", "revision")

# A fixed draft length, without confidence stop and schedule.
_FIXED_DRAFTS = {"num_assistant_tokens_schedule": "constant", "assistant_confidence_threshold": 0.0}
_OWN_SETTINGS = (
    "assistant_lookbehind",
    "target_lookbehind",
    "cache_implementation",
    "use_cache",
    "repetition_penalty",
    "no_repeat_ngram_size",
)


class StepRecorder:
    """A streamer: one ``put`` per forward pass of the target, the prompt first."""

    def __init__(self) -> None:
        self.chunks: list[list[int]] = []
        self.times: list[float] = []
        self._prompt_seen = False

    def put(self, value: Any) -> None:
        if not self._prompt_seen:
            self._prompt_seen = True
            return
        self.chunks.append(value.reshape(-1).tolist())
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing to flush."""


class DraftRecorder:
    """Counts drafted and accepted tokens of each step that had a draft.

    Drafts are cut at ``draft_length``: one that was made with another tokenizer may be longer in
    the target's tokens.
    """

    def __init__(self, generator: Any, draft_length: int) -> None:
        self.generator = generator
        self.draft_length = draft_length
        self.drafted: list[int] = []
        self.accepted: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.generator, name)

    def get_candidates(self, input_ids: Any, *args: Any, **kwargs: Any) -> Any:
        candidates, logits = self.generator.get_candidates(input_ids, *args, **kwargs)
        candidates = candidates[:, : input_ids.shape[1] + self.draft_length]
        if logits is not None:
            logits = logits[:, : self.draft_length]
        self.pending = candidates.shape[1] - input_ids.shape[1]
        return candidates, logits

    def update_candidate_strategy(self, input_ids: Any, scores: Any, num_matches: Any) -> None:
        if self.pending:
            self.drafted.append(self.pending)
            self.accepted.append(int(num_matches))
        self.generator.update_candidate_strategy(input_ids, scores, num_matches)


class TransformersBackend:
    """One causal language model, generating for one request at a time."""

    def __init__(self, config: EngineConfig) -> None:
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        options = dict(config.args)
        self.device = str(options.pop("device", "cuda" if torch.cuda.is_available() else "cpu"))
        self.ngram_size = int(str(options.pop("max_matching_ngram_size", _PROMPT_LOOKUP_NGRAM)))
        options.setdefault("dtype", "auto")
        self.torch, self.options = torch, options
        self.path = resolve_model(config.model)
        self.model = self._load(self.path)
        self.context_window = getattr(self.model.config, "max_position_embeddings", None)
        self.drafters: dict[str, Any] = {}
        self.tokenizers: dict[str, Any] = {}
        self.request: Request | None = None
        self.totals = Counters()
        self.info = EngineInfo(
            "transformers",
            transformers.__version__,
            self._device_name(),
            str(self.model.dtype).removeprefix("torch."),
            {
                "threads": torch.get_num_threads(),
                "attention": self.model.config._attn_implementation,
                "prefix_caching": False,
                "context_window": self.context_window,
                "max_matching_ngram_size": self.ngram_size,
                **_FIXED_DRAFTS,
                **_own_settings(self.model),
            },
        )

    def _load(self, path: str) -> Any:
        from transformers import AutoModelForCausalLM

        try:
            model = AutoModelForCausalLM.from_pretrained(path, **self.options)
        except TypeError as error:  # an argument that neither it nor the model has
            unknown = next((name for name in self.options if f"'{name}'" in str(error)), "")
            hint = did_you_mean(unknown, _ARGUMENTS)
            raise EngineError(f"transformers: {error} (--speed-engine-arg){hint}") from error
        except (OSError, ValueError) as error:
            raise EngineError(
                f"transformers cannot load the model {path!r}: {str(error).strip()}\n"
                "  give --speed-model a hub name or a folder with config.json and weights"
            ) from error
        return model.to(self.device).eval()

    def _device_name(self) -> str:
        if self.device.startswith("cuda"):
            return str(self.torch.cuda.get_device_name(self.device))
        return self.device

    def now(self) -> float:
        return time.perf_counter()

    def prefill_tokens(self, request: Request) -> int:
        # The first forward pass already verifies a draft, so it is a decoding step.
        return 0 if request.speculation.active else 1

    def add(self, request: Request) -> None:
        window, length = self.context_window, len(request.prompt_ids)
        if not length or (window and length + request.sampling.max_tokens > window):
            raise EngineError(
                f"request {request.id}: {length} prompt tokens and max_tokens="
                f"{request.sampling.max_tokens}; expected a prompt, and at most {window} tokens in "
                "all"
            )
        if request.speculation.method == "draft_model":
            self._assistant(request)
        self.request = request

    def step(self) -> list[StepOutput]:
        """Generates the whole output of the request; steps have their own times."""
        request = self.request
        if request is None:
            return []
        self.request = None
        steps = StepRecorder()
        self.torch.manual_seed(request.sampling.seed)
        with self.torch.inference_mode(), self._watch_drafts(request) as drafts:
            self._generate(request, steps)
        return list(self._outputs(request, steps, drafts))

    def _generate(self, request: Request, steps: StepRecorder) -> None:
        prompt = self.torch.tensor([request.prompt_ids], device=self.device)
        sampling = request.sampling
        stop = [] if sampling.ignore_eos else list(request.stop_ids)
        arguments: dict[str, Any] = {
            "max_new_tokens": sampling.max_tokens,
            "min_new_tokens": sampling.min_tokens or None,
            "eos_token_id": stop or None,
            "pad_token_id": (request.stop_ids or (0,))[0],
            "do_sample": not sampling.greedy,
            **({} if sampling.greedy else _drawing(sampling)),
            **self._assistance(request),
        }
        with self._no_default_eos(bool(stop)):
            self.model.generate(
                prompt,
                attention_mask=self.torch.ones_like(prompt),
                streamer=steps,
                **arguments,
            )

    @contextmanager
    def _no_default_eos(self, stops: bool) -> Iterator[None]:
        """Without stop tokens, the models' own end tokens must not end the output or a draft."""
        settings = [m.generation_config for m in (self.model, *self.drafters.values())]
        kept = [setting.eos_token_id for setting in settings]
        if not stops:
            for setting in settings:
                setting.eos_token_id = None
        try:
            yield
        finally:
            for setting, token in zip(settings, kept, strict=True):
                setting.eos_token_id = token

    def _assistance(self, request: Request) -> dict[str, Any]:
        speculation = request.speculation
        length = speculation.draft_length
        match speculation.method:
            case "none":
                return {}
            case "ngram":
                return {
                    "prompt_lookup_num_tokens": length,
                    "max_matching_ngram_size": self.ngram_size,
                }
            case "draft_model":
                return self._assistant(request)
            case "early_exit":
                # The model is its own assistant, so the draft length comes from its own settings.
                self._fix_length(self.model, length)
                return {"assistant_early_exit": _exit_layer(speculation)}
        raise EngineError(f"transformers has no method {speculation.method!r}")

    def _fix_length(self, assistant: Any, length: int) -> Any:
        """Sets a fixed draft length, without confidence stop and schedule."""
        settings = assistant.generation_config
        settings.num_assistant_tokens = length
        for name, value in _FIXED_DRAFTS.items():
            setattr(settings, name, value)
        return assistant

    def _assistant(self, request: Request) -> dict[str, Any]:
        """The draft model; with both tokenizers if the vocabularies differ, since transformers then
        drafts in text."""
        path, length = request.speculation.drafter, request.speculation.draft_length
        assert path is not None
        drafter = self._drafter(path)
        if self._vocabulary(drafter) == self._vocabulary(self.model):
            return {"assistant_model": self._fix_length(drafter, length)}
        if not request.sampling.greedy:
            raise EngineError(
                f"the drafter {path!r} has a different vocabulary than the target, which works "
                "only at temperature 0: choose a drafter with the target's vocabulary"
            )
        return {
            "assistant_model": self._fix_length(drafter, length),
            "tokenizer": self._tokenizer(self.path),
            "assistant_tokenizer": self._tokenizer(resolve_model(path)),
        }

    def _vocabulary(self, model: Any) -> int:
        return int(model.config.get_text_config().vocab_size)

    def _drafter(self, path: str) -> Any:
        if path not in self.drafters:
            self.drafters[path] = self._load(resolve_model(path))
        return self.drafters[path]

    def _tokenizer(self, path: str) -> Any:
        from transformers import AutoTokenizer

        if path not in self.tokenizers:
            try:
                self.tokenizers[path] = AutoTokenizer.from_pretrained(path)
            except (OSError, ValueError) as error:
                raise EngineError(
                    f"target and drafter have different vocabularies, so both tokenizers are "
                    f"needed, but {path!r} has none: save it there, or choose a drafter with the "
                    f"target's vocabulary ({str(error).strip().splitlines()[0]})"
                ) from error
        return self.tokenizers[path]

    @contextmanager
    def _watch_drafts(self, request: Request) -> Iterator[list[DraftRecorder]]:
        recorders: list[DraftRecorder] = []
        build = self.model._get_candidate_generator

        def watched(*args: Any, **kwargs: Any) -> DraftRecorder:
            generator = build(*args, **kwargs)
            recorders.append(DraftRecorder(generator, request.speculation.draft_length))
            return recorders[-1]

        self.model._get_candidate_generator = watched
        try:
            yield recorders
        finally:
            del self.model._get_candidate_generator

    def _outputs(
        self, request: Request, steps: StepRecorder, drafts: list[DraftRecorder]
    ) -> Iterator[StepOutput]:
        drafted = [n for recorder in drafts for n in recorder.drafted]
        accepted = [n for recorder in drafts for n in recorder.accepted]
        before = self.totals
        self.totals = Counters(
            before.drafts + len(drafted),
            before.draft_tokens + sum(drafted),
            before.accepted_tokens + sum(accepted),
        )
        last_token = steps.chunks[-1][-1]
        stopped = not request.sampling.ignore_eos and last_token in request.stop_ids
        for chunk, moment in zip(steps.chunks[:-1], steps.times, strict=False):
            yield StepOutput(request.id, chunk, time=moment)
        yield StepOutput(
            request.id,
            steps.chunks[-1],
            "stop" if stopped else "length",
            steps.times[-1],
            drafted if request.speculation.active else None,
            accepted if request.speculation.active else None,
        )

    def abort(self, request_id: str) -> None:
        self.request = None

    def counters(self) -> Counters:
        return self.totals

    def score(
        self, token_ids: Sequence[int], position: int, candidates: Sequence[int]
    ) -> TokenScore:
        prefix = self.torch.tensor([list(token_ids[:position])], device=self.device)
        with self.torch.inference_mode():
            logits = self.model(prefix, logits_to_keep=1).logits[0, -1].float()
        logprobs = logits.log_softmax(-1)
        top = int(logprobs.argmax())
        return TokenScore(
            {token: float(logprobs[token]) for token in candidates},
            top,
            float(logprobs[top]),
            float(logits.abs().max()),
        )

    def close(self) -> None:
        del self.model
        self.drafters.clear()


def _own_settings(model: Any) -> dict[str, object]:
    """The checkpoint's own settings of generation that apply here; None where one is not set."""
    settings = model.generation_config
    return {f"generation.{name}": getattr(settings, name, None) for name in _OWN_SETTINGS}


def _drawing(sampling: Sampling) -> dict[str, Any]:
    """Temperature and filters as asked for, whatever the checkpoint's settings say."""
    return {
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p or None,
    }


def _exit_layer(speculation: Speculation) -> int:
    """The layer of ``early_exit``, given as the drafter: ``--speed-drafter 10``."""
    return int(speculation.drafter or 0)


def _is_layer(drafter: str | None) -> bool:
    return bool(drafter) and str(drafter).isdigit() and not Path(str(drafter)).exists()


def _refuse(config: EngineConfig) -> None:
    speculation = config.speculation
    method = traits(speculation.method)
    if method.needs_drafter and not speculation.drafter:
        raise EngineError(f"method {method.name} needs a drafter: --speed-drafter MODEL")
    if method.needs_drafter and _is_layer(speculation.drafter):
        raise EngineError(
            f"method draft_model needs a model as its drafter; {speculation.drafter} is the number "
            "of a layer, which belongs to method early_exit"
        )
    if method.needs_drafter and (drafter := checkpoint(speculation.drafter or "")):
        drafter.refuse_pickle()
    if method.drafter == "layer" and not (speculation.drafter or "").isdigit():
        raise EngineError(
            "method early_exit needs the layer to exit at as its drafter, such as "
            f"--speed-drafter 10 (got {speculation.drafter!r})"
        )


ENGINE = EngineType(
    name="transformers",
    methods=methods_of("transformers"),
    open=open_child("pytest_speedbench.engines.transformers:TransformersBackend"),
    requires="transformers",
    extra="transformers",
    switches=True,
    max_batch=1,
    max_speculative_batch=1,
    scores=True,
    filters=FILTERS,
    elsewhere=True,
    refuse=_refuse,
)
