"""The best draft length at every batch size, predictions from the longest, and a schedule."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pytest_speedbench.analysis.runs import latest, metric, names_of, timing_notes, whole
from pytest_speedbench.analysis.table import Column, Table, Value
from pytest_speedbench.baselines.measured import MetricRecord
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.errors import GateFailure, NoData
from pytest_speedbench.stats.draft_length import (
    Arm,
    BestDraftLength,
    best_of_arms,
    predicted_speedup,
)

NAME = "tune"


@dataclass(frozen=True, slots=True)
class Tuning:
    """Speedup over the grid of batch sizes and draft lengths of one method.

    Attributes:
        best: by batch size.
        table: measured and predicted speedup of every point.
        error: mean absolute error of the predictions, relative; None where nothing is predicted.
    """

    best: Mapping[int, BestDraftLength]
    table: Table
    error: float | None

    def schedule(self) -> list[tuple[int, int, int]]:
        """(from BS, to BS, DL), as vLLM's ``num_speculative_tokens_per_batch_size`` takes it.

        Between two measured batch sizes the change lies at their geometric mean.
        """
        chosen = [(bs, best.value) for bs, best in sorted(self.best.items())]
        found: list[tuple[int, int, int]] = []
        start = 1
        for (bs, dl), following in zip(chosen, [*chosen[1:], None], strict=True):
            end = bs if following is None else max(bs, math.isqrt(bs * following[0]))
            if found and found[-1][2] == dl:
                found[-1] = (found[-1][0], end, dl)
            else:
                found.append((start, end, dl))
            start = end + 1
        return found

    def vllm_schedule(self) -> str:
        """JSON for ``num_speculative_tokens_per_batch_size`` of vLLM's speculative config."""
        return json.dumps([list(entry) for entry in self.schedule()])

    def sglang_schedule(self) -> str:
        """JSON of a file for SGLang's ``speculative_adaptive_config``: one step count a tier."""
        return json.dumps(
            {str(start): {"candidate_steps": [dl]} for start, _, dl in self.schedule()}, indent=2
        )

    def assert_best(self, draft_length: int, bs: int) -> None:
        """Fails where another draft length is shown to be faster at ``bs``.

        Raises:
            GateFailure: an ``AssertionError`` that names the best one.
            NoData: the batch size was not measured.
        """
        __tracebackhide__ = True
        if bs not in self.best:
            raise NoData(f"BS {bs} was not measured; measured: {', '.join(map(str, self.best))}")
        best = self.best[bs]
        if draft_length not in best:
            raise GateFailure(f"BS {bs}: the fastest is {best}; expected DL {draft_length}")


def tuning(records: Sequence[Record]) -> Tuning:
    """The grid of one engine, model and method.

    Raises:
        NoData: no batch size has two draft lengths (no SD counts as one), or several methods.
    """
    records, notes = latest(records)
    runs = [r for r in whole(records) if r.rounds and r.case.method != "none"]
    name = names_of(runs)
    methods = list(dict.fromkeys(name(r) for r in runs))
    if len(methods) > 1:
        raise NoData(f"one method at a time; the runs have {', '.join(methods)}")
    by_batch: dict[int, dict[int, Record]] = {}
    for record in runs:
        by_batch.setdefault(record.case.bs, {})[record.case.dl] = record
    best = {
        bs: best_of_arms({dl: _arm(record) for dl, record in lengths.items()})
        for bs, lengths in sorted(by_batch.items())
    }
    rows = [row for bs in best for row in _rows(by_batch[bs], best[bs])]
    if not rows:
        raise NoData("no timed run with speculative decoding (--speed-rounds 0 times nothing)")
    errors = [
        abs(float(row["error"]))
        for row in rows
        if isinstance(row["error"], float) and not math.isnan(row["error"])
    ]
    columns = (
        Column("bs", "BS"),
        Column("dl", "DL"),
        Column("acceptance_length", "AL"),
        Column("speedup", "speedup"),
        Column("predicted", "predicted"),
        Column("error", "error", "difference", 0),
        Column("best", "", "text"),
    )
    mean = sum(errors) / len(errors) if errors else None
    notes = [*notes, *timing_notes(runs), *(f"BS {bs}: {found}" for bs, found in best.items())]
    if mean is not None:
        notes.append(f"predictions from the longest DL are off by {mean:.0%} on average")
    title = f"Speedup of {methods[0]} over batch size and draft length"
    return Tuning(best, Table(NAME, title, columns, tuple(rows), tuple(notes)), mean)


def _arm(record: Record) -> Arm:
    return Arm(
        tuple(r.tokens / r.seconds for r in record.rounds),
        tuple(r.tokens / r.seconds for r in record.reference_rounds),
        record.arm is None or record.arm.alternated,
    )


def _rows(lengths: Mapping[int, Record], best: BestDraftLength) -> list[Mapping[str, Value]]:
    predictions = _predictions(lengths)
    rows: list[Mapping[str, Value]] = []
    for dl, record in sorted(lengths.items()):
        measured, predicted = metric(record, "speedup"), predictions.get(dl)
        off = predicted / measured.value - 1 if measured and predicted else None
        mark = "best" if dl == best.value else "tied" if dl in best else ""
        rows.append(
            {
                "bs": record.case.bs,
                "dl": dl,
                "acceptance_length": metric(record, "acceptance_length"),
                "speedup": measured,
                "predicted": predicted,
                "error": off,
                "best": mark,
            }
        )
    return rows


def _predictions(lengths: Mapping[int, Record]) -> dict[int, float]:
    """Speedup of the shorter draft lengths, from the run at the longest."""
    longest = max(lengths)
    record = lengths[longest]
    positions = record.metrics.get("acceptance_by_position")
    al, speedup = metric(record, "acceptance_length"), metric(record, "speedup")
    own = [r.step_time for r in record.rounds if r.step_time]
    plain = [r.step_time for r in record.reference_rounds if r.step_time]
    if not isinstance(positions, list) or not (al and speedup and own and plain):
        return {}
    acceptance = [_value(position) for position in positions]
    ratio = (sum(own) / len(own)) / (sum(plain) / len(plain))
    full = predicted_speedup(acceptance, longest, 1.0)
    drafting = min(1.0, (al.value - 1) / (full - 1)) if full > 1 else 1.0
    scheduling = speedup.value * ratio / al.value
    return {
        dl: predicted_speedup(acceptance, dl, ratio, drafting=drafting, scheduling=scheduling)
        for dl in lengths
        if dl != longest
    }


def _value(position: MetricRecord | None) -> float | None:
    return None if position is None else position.value
