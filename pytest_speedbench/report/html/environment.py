"""What runs were measured with, and the command that measures one again."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.changes import flat
from pytest_speedbench.engines.protocol import FILTERS
from pytest_speedbench.quantities import exact
from pytest_speedbench.report.titles import title_of
from pytest_speedbench.report.view import engine_text
from pytest_speedbench.splits import ALL

# The arguments of a chat template are one line in the key of a case: ``a=1, b="x"``.
_NEXT_ARGUMENT = re.compile(r", (?=\w+=)")


@dataclass(frozen=True, slots=True)
class Environment:
    """What some of the runs were measured with."""

    runs: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def environments(records: Sequence[Record]) -> list[Environment]:
    """One for all runs that share it; ``records`` has one a run."""
    runs: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for record in records:
        runs.setdefault(tuple(_facts(record)), []).append(title_of(record))
    return [Environment(tuple(titles), facts) for facts, titles in runs.items()]


def _facts(record: Record) -> Iterator[tuple[str, str]]:
    engine, machine, split = record.engine, record.machine, record.split
    yield "engine", engine_text(engine)
    if engine.args:
        yield "engine arguments", _pairs(engine.args)
    if engine.details:
        yield "engine settings", _pairs(flat(engine.details))
    if engine.packages:
        yield "packages", _pairs(engine.packages)
    yield "model", _model(record.model.name, record.model.weights, record.model.revision)
    if drafter := record.spec.drafter:
        yield "drafter", _model(drafter.name, drafter.weights, drafter.revision)
    count = str(split.samples) if split.samples else "all"
    named = f"{split.name} {split.version}".rstrip()
    yield "split", f"{named}, digest {split.digest}, {count} samples a category"
    yield (
        "sampling",
        ", ".join(f"{name} {exact(value)}" for name, value in _sampling(record).items()),
    )
    yield "prompts", f"{record.prompt_form.replace('_', ' ')}, chat template {record.template}"
    parts = [machine.cpu, f"{machine.cores} cores", f"{machine.memory_gib} GiB", *machine.gpus]
    if machine.driver:
        parts.append(f"driver {machine.driver}")
    yield "machine", ", ".join([*parts, machine.system])
    yield "machine fingerprint", machine.fingerprint


def _sampling(record: Record) -> dict[str, float]:
    """Of every run length, temperature and seed; what else is not the default."""
    sampling = record.sampling
    default = type(sampling).model_fields
    rarer = {name: getattr(sampling, name) for name in ("min_tokens", *FILTERS)}
    return {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "seed": sampling.seed,
        **{name: value for name, value in rarer.items() if value != default[name].default},
    }


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)


def _model(name: str, weights: str, revision: str) -> str:
    parts = [name]
    if weights:
        parts.append(f"weights {weights}")
    if revision:
        parts.append(f"revision {revision}")
    return ", ".join(parts)


def reproduction(records: Sequence[Record]) -> str:
    """The ready-made suite with this run's options; secrets were hidden when it was recorded."""
    record = records[0]
    spec = record.spec
    slices = [r.case.slice for r in records]
    alone = spec.method != "none" and not record.reference_rounds
    options = {
        "engine": record.engine.name,
        "model": record.model.name,
        "method": spec.method,
        "drafter": spec.drafter.name if spec.drafter else None,
        "dl": spec.draft_length or None,
        "bs": record.case.bs,
        "split": record.split.name,
        "category": ALL if ALL in slices else ",".join(slices),
        "samples": record.split.samples or "all",
        "prompt-form": record.case.prompt_form if record.case.prompt_form != "chat" else None,
        "prefix-caching": "on" if record.case.prefix_caching else None,
        **{name: exact(value) for name, value in _sampling(record).items()},
        "rounds": 0 if alone else len(record.rounds),
    }
    words = [
        f"--speed-{name.replace('_', '-')}={value}"
        for name, value in options.items()
        if value is not None
    ]
    if record.sampling.ignore_eos:
        words.append("--speed-ignore-eos")
    template = filter(None, _NEXT_ARGUMENT.split(record.case.template))
    words += [f"--speed-chat-template-kwargs={argument}" for argument in template]
    for name, value in record.engine.args.items():
        text = value if isinstance(value, str) else json.dumps(value)
        words.append(f"--speed-engine-arg={name}={text}")
    return shlex.join(["pytest", "--pyargs", "pytest_speedbench.suites", *words])
