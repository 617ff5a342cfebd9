"""What a margin needs on the cases of a saved run, as the record knows them."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_speedbench.baselines.packing import digest_ids
from pytest_speedbench.baselines.records import decode_run, traces_of
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.engines.protocol import PromptForm
from pytest_speedbench.measure.replay import refusal
from pytest_speedbench.stats import Pairs, Plan, Rule
from pytest_speedbench.stats import plan as plan_samples
from pytest_speedbench.stats.power import DIVERGENCE


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a later run is expected to be.

    Attributes:
        replay: it is replayed along the baseline's text, where the case allows it.
        divergence: share of its outputs that diverge; None: as those of the baseline diverge from
            the arm without SD, or 46% where that is not known.
        power: wanted probability of the right verdict.
        loss: AL that a build has lost which is to fail; None: twice the margin.
    """

    replay: bool = True
    divergence: float | None = None
    power: float = 0.9
    loss: float | None = None


def plan_case(record: Record, rule: Rule, outlook: Outlook, second: Pairs | None = None) -> Plan:
    """Samples that a case needs, from its own lengths and steps.

    ``second`` are the case's samples in this and in a second run, of an unchanged build or of a
    retrained drafter: how they differ is then measured.

    Raises:
        NoData: no decoding steps.
        RecordError: a request is damaged.
    """
    return plan_samples(
        traces_of(record),
        rule,
        power=outlook.power,
        loss=outlook.loss,
        rebuild=second,
        divergence=expected_divergence(record, outlook),
        replay=outlook.replay and not why_no_replay(record),
        draft_length=record.spec.draft_length,
    )


def expected_divergence(record: Record, outlook: Outlook) -> float:
    """Share of the outputs of a later run that diverge from those of ``record``."""
    if record.sampling.temperature:
        return 1.0
    if outlook.divergence is not None:
        return outlook.divergence
    measured = divergence_from_plain(record)
    return DIVERGENCE if measured is None else measured


def divergence_from_plain(record: Record) -> float | None:
    """Share of outputs that differ from those of the arm without SD; None without such an arm.

    Half an output is added to those that differ, and one to all: few outputs that are all equal do
    not show that none ever diverges. A conversation counts while it is the same.
    """
    diverged: set[str] = set()
    compared = 0
    for request in sorted(record.requests, key=lambda request: request.turn):
        if not (request.plain and request.ids) or request.sample in diverged:
            continue
        compared += 1
        if digest_ids(request.token_ids.tolist()) != request.plain:
            diverged.add(request.sample)
    return (len(diverged) + 0.5) / (compared + 1) if compared else None


def why_no_replay(record: Record) -> str:
    """Why a later run is not replayed along ``record``; empty where it is."""
    setting = decode_run([record]).setting
    if not all(request.ids for request in record.requests if request.tokens):
        return "the baseline has no token ids"
    form: PromptForm = "token_ids" if setting.prompt_form == "token_ids" else "chat"
    return refusal(setting.speculation, setting.sampling, setting.engine, form)
