"""Unique names and labels for the cases of one run, in files that hold each case by its key."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_speedbench.baselines.case_key import KEY_FIELDS, CaseKey
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.errors import UsageError


def entry_names(records: Sequence[Record]) -> Iterator[tuple[str, Record]]:
    """Each record with its case as text; settings beside the key follow where only they differ.

    Raises:
        UsageError: as :func:`entry_labels`.
    """
    for record, beside in zip(records, _beside_key(records), strict=True):
        settings = (f" {name}={value}" for name, value in beside.items())
        yield f"{record.case}{''.join(settings)}", record


def entry_labels(records: Sequence[Record]) -> list[dict[str, str]]:
    """Shape (records,): the case of each as labels, none of which is empty.

    A part of the key that most cases leave alone has no label at its default, so that the labels
    of a case do not depend on the other cases of its run.

    Raises:
        UsageError: two records differ in nothing that could be a label.
    """
    return [
        _key_labels(record.case) | beside
        for record, beside in zip(records, _beside_key(records), strict=True)
    ]


def _key_labels(case: CaseKey) -> dict[str, str]:
    fields = CaseKey.model_fields
    values = {name: getattr(case, name) for name in KEY_FIELDS}
    return {
        name: _text(value)
        for name, value in values.items()
        if value != ("" if fields[name].is_required() else fields[name].default)
    }


def _beside_key(records: Sequence[Record]) -> list[dict[str, str]]:
    """What differs between records of the same key: tests of one session may differ in it."""
    values: dict[CaseKey, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for record in records:
        for name, value in _settings(record).items():
            values[record.case][name].add(value)
    found = [
        {n: v for n, v in _settings(r).items() if v and len(values[r.case][n]) > 1} for r in records
    ]
    entries = Counter(
        (record.case, *beside.items()) for record, beside in zip(records, found, strict=True)
    )
    for (case, *_), count in entries.items():
        if count > 1:
            raise UsageError(
                f"{case}: measured {count} times in this run, and this format holds a case once; "
                "--format csv, json, jsonl and parquet hold them all"
            )
    return found


def _settings(record: Record) -> dict[str, str]:
    drafter, sampling = record.spec.drafter, record.sampling
    settings = {
        "drafter": drafter.name if drafter else "",
        "samples": record.split.samples,
        "max_tokens": sampling.max_tokens,
        "min_tokens": sampling.min_tokens,
        "ignore_eos": sampling.ignore_eos,
    }
    return {name: _text(value) for name, value in settings.items()}


def yaml_key(name: str) -> str:
    """``name`` in quotes. YAML has the escapes of JSON, and another one beyond ``U+FFFF``."""
    return '"' + "".join(map(_escape, name)) + '"'


def _escape(character: str) -> str:
    code = ord(character)
    return json.dumps(character)[1:-1] if code < 0x10000 else f"\\U{code:08x}"


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
