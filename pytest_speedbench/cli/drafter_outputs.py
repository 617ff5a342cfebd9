"""The target's own outputs, for the commands on vocabularies: a split, a saved run, or a text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import typer

from pytest_speedbench.cli.arguments import find_run, read, refuse_unused, store_at
from pytest_speedbench.cli.output import echo
from pytest_speedbench.cli.splits_load import Progress, load
from pytest_speedbench.errors import CliError, EngineError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pytest_speedbench.analysis.coverage import Output
    from pytest_speedbench.measure.tokenizer import Tokenizer

SOURCE = (
    "Split, which the target answers; saved run with token ids (number, name or file); or a text "
    "file (.txt)."
)
Engine = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Engine that runs the target. [default: transformers, or that of a saved run]",
    ),
]
Model = Annotated[str, typer.Option(metavar="MODEL", help="Target: hub name, folder, or demo.")]
Samples = Annotated[str, typer.Option(metavar="N", help="Samples of each category, or all.")]
MaxTokens = Annotated[int, typer.Option(min=1, metavar="N", help="Longest output, in tokens.")]
BatchSize = Annotated[int, typer.Option("--bs", min=1, metavar="N", help="Requests in flight.")]
EngineArg = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Argument of the engine; may be repeated."),
]
Category = Annotated[
    str, typer.Option(metavar="NAME,…", help="Only these categories. [default: all]")
]
Language = Annotated[
    str, typer.Option(metavar="CODE,…", help="Only samples of these languages, such as en.")
]

_ENGINE = "transformers"


@dataclass(frozen=True, slots=True)
class Asked:
    """How the commands were asked to get outputs; the fields are their options."""

    engine: str | None
    model: str
    samples: str
    max_tokens: int
    bs: int
    engine_arg: Sequence[str]
    category: str
    language: str
    storage: str


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs of a target.

    Attributes:
        outputs: one a turn.
        about: where they come from, one line.
        engine: the engine that has made them, or would.
        model: the target.
        draft_length: that of the run, in tokens; 0 for one without a drafter.
    """

    outputs: list[Output]
    about: str
    engine: str
    model: str
    draft_length: int = 0

    @property
    def drafted(self) -> bool:
        """Whether they are those of a drafter whose decoding steps are known."""
        return bool(self.draft_length) and all(o.steps is not None for o in self.outputs)

    @property
    def largest_id(self) -> int:
        """The largest token id of all outputs."""
        return max((int(o.token_ids.max()) for o in self.outputs if len(o.token_ids)), default=0)


def check_options(context: typer.Context, *sources: str) -> None:
    """Refuses options that change nothing for any of the sources.

    Raises:
        CliError: the message names the options.
    """
    kinds = {_kind(source) for source in sources}
    if _of_split not in kinds:
        refuse_unused(
            context,
            "unless SOURCE is a split, which the target answers",
            *("samples", "max_tokens", "bs", "engine_arg"),
        )
    if _of_saved_run not in kinds:
        refuse_unused(context, "unless SOURCE is a saved run", "storage")


def get_outputs(source: str, asked: Asked) -> Outputs:
    """The outputs that ``source`` names: of a saved run, of a text, or of the target on a split.

    Raises:
        CliError: ``source`` is none of these, or holds no token.
    """
    kind = _kind(source)
    found = kind(source, asked)
    found = replace(found, outputs=_selected(found.outputs, asked))
    if not any(len(output.token_ids) for output in found.outputs):
        raise CliError(f"{source}: no output tokens, so there is nothing to count")
    return found


def _kind(source: str) -> Callable[[str, Asked], Outputs]:
    from pytest_speedbench.splits import NAMES, divide_name, given_name

    base = divide_name(source)[0]
    if base in NAMES or given_name(base)[0] or "/SPEED-Bench" in base:
        return _of_split
    suffix = Path(source).suffix
    if suffix == ".txt":
        return _of_text
    return _of_split if Path(source).exists() and suffix != ".json" else _of_saved_run


def _of_saved_run(source: str, asked: Asked) -> Outputs:
    from pytest_speedbench.analysis.target_outputs import outputs_of_records
    from pytest_speedbench.engines.demo import DEMO_MODEL, DEMO_NAME
    from pytest_speedbench.splits import NAMES

    run = find_run(store_at(asked.storage), source, NAMES)
    record, outputs = outputs_of_records(run.measured)
    if asked.engine not in (None, record.engine.name):
        raise CliError(
            f"run {run.number} was measured with {record.engine.name}, and --engine says "
            f"{asked.engine}"
        )
    about = f"outputs of run {run}: {record.case.model}, {record.spec.method}"
    own = DEMO_MODEL if record.model.name == DEMO_NAME else record.model.name
    model = asked.model or own
    return Outputs(outputs, about, record.engine.name, model, record.spec.draft_length)


def _of_text(source: str, asked: Asked) -> Outputs:
    import numpy as np

    from pytest_speedbench.analysis.coverage import Output

    model = asked.model or _default_model()
    engine = asked.engine or _ENGINE
    tokenizer = _load_tokenizer(engine, model)
    try:
        paragraphs = Path(source).read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(f"cannot read {source}: {error}") from error
    ids = [np.array(tokenizer.encode(text), dtype=np.int64) for text in paragraphs]
    outputs = [Output(str(n), "text", "", own, 0) for n, own in enumerate(ids) if len(own)]
    return Outputs(outputs, f"text of {source}", engine, model)


def _of_split(source: str, asked: Asked) -> Outputs:
    from pytest_speedbench.analysis.target_outputs import languages_of, outputs_of_turns
    from pytest_speedbench.engines.protocol import EngineConfig, Sampling
    from pytest_speedbench.measure.outputs import target_outputs
    from pytest_speedbench.plan import values
    from pytest_speedbench.plan.settings import Settings

    count = read("--samples", asked.samples, lambda text: values.samples(text, True)) or None
    arguments = tuple(
        read("--engine-arg", text, lambda text: values.argument(text, True))
        for text in asked.engine_arg
    )
    engine, model = asked.engine or _ENGINE, asked.model or _default_model()
    tokenizer, progress = _load_tokenizer(engine, model), Progress()
    split = load(source, model=model, per_tier=count)
    samples = _selected(split.interleaved(n=count), asked)
    turns = target_outputs(
        EngineConfig(engine, model, max_batch=asked.bs, args=arguments),
        tokenizer,
        samples,
        Sampling(asked.max_tokens),
        Settings().timeout,
        lambda done, of: progress("samples", done, of),
    )
    about = (
        f"outputs of {model} on {split.name}: {len(samples)} samples, at most "
        f"{asked.max_tokens} tokens each"
    )
    outputs = outputs_of_turns(turns, languages_of(samples))
    return Outputs(outputs, about, engine, model)


def _default_model() -> str:
    from pytest_speedbench.plan.settings import Settings

    return str(Settings().model[0])


def target_tokenizer(found: Outputs) -> Tokenizer:
    """The tokenizer of the target that has made the outputs.

    Raises:
        EngineError: it is not here.
        CliError: the package that reads it is not installed.
    """
    return _load_tokenizer(found.engine, found.model)


@cache
def _load_tokenizer(engine: str, model: str) -> Tokenizer:
    from pytest_speedbench.engines.registry import engine_type
    from pytest_speedbench.measure.tokenizer import load_tokenizer

    try:
        return load_tokenizer(engine_type(engine).tokenizer, model)
    except ImportError as error:
        raise CliError(
            f"the tokenizer of {model}: {error}; pip install 'pytest-speedbench[transformers]'"
        ) from error


def check_vocabulary(found: Outputs, whole: int, name: str) -> None:
    """Refuses a drafter for another target than the one that has made the outputs.

    ``whole`` is the size of the target's vocabulary that the drafter ``name`` is for; it is
    compared with the target's own where its tokenizer is here.

    Raises:
        CliError: the sizes differ, or a token id is too large.
    """
    if found.largest_id >= whole:
        raise CliError(
            f"{found.about}: token {found.largest_id} is outside of the vocabulary of {name}, "
            f"which has {whole} tokens: they belong to different targets"
        )
    try:
        own = target_tokenizer(found).vocab_size
    except (EngineError, CliError):
        return  # the ids fit, and no more can be known
    if own and own != whole:
        raise CliError(
            f"{name} is for a target of {whole} tokens, and {found.model} has {own}: they belong "
            "to different targets; name the right one with --model"
        )


def decoder(found: Outputs) -> Callable[[int], str]:
    """Token id → its text, as Python writes it; ids alone where the tokenizer is not here."""
    try:
        tokenizer = target_tokenizer(found)
    except (EngineError, CliError) as error:
        reason = str(error).splitlines()[0]
        echo(f"note: tokens are shown by their ids: {reason} (--model)", err=True)
        return lambda token: ""

    def text_of(token: int) -> str:
        text = tokenizer.decode([token])
        return "part of a character" if "\ufffd" in text else repr(text)

    return text_of


class _Labelled(Protocol):
    @property
    def category(self) -> str: ...
    @property
    def language(self) -> str: ...


T = TypeVar("T", bound=_Labelled)


def _selected(items: Sequence[T], asked: Asked) -> list[T]:
    """Those of the categories and languages that were asked for.

    Raises:
        CliError: there is none; the message names those that there are.
    """
    found = _narrowed(list(items), "--category", asked.category, lambda item: item.category)
    return _narrowed(found, "--language", asked.language, lambda item: item.language)


def _narrowed(items: list[T], option: str, text: str, name_of: Callable[[T], str]) -> list[T]:
    wanted = {name.strip() for name in text.split(",") if name.strip()}
    known = sorted({name_of(item) for item in items} - {""})
    if missing := sorted(wanted - set(known)):
        names = ", ".join(known) or "none that is declared"
        raise CliError(
            f"{option} {missing[0]}: no sample has it{did_you_mean(missing[0], known)}; the "
            f"samples have: {names}"
        )
    return [item for item in items if not wanted or name_of(item) in wanted]
