"""The key of a case: what identifies it from session to session."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pytest_speedbench.baselines.case_key import CaseKey
from pytest_speedbench.measure.model_identity import model_name
from pytest_speedbench.plan.cases import Case


def key_of(case: Case) -> CaseKey:
    """What identifies ``case`` in every record, whatever its test is called."""
    run, sampling = case.run, case.run.sampling
    drafter = run.speculation.drafter
    return CaseKey(
        engine=run.engine,
        model=model_name(run.model),
        method=run.speculation.method,
        dl=run.speculation.draft_length,
        bs=run.bs,
        split=run.split_key or run.split,
        slice=case.slice,
        prefix_caching=run.prefix_caching,
        prompt_form=run.prompt_form,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        seed=sampling.seed,
        template=template_text(run.template),
        drafter=model_name(drafter) if run.several_drafters and drafter else "",
        environment=", ".join(
            filter(None, (run.environment.label, *(f"{n}={v}" for n, v in run.fixtures)))
        ),
    )


def template_text(arguments: Iterable[tuple[str, object]]) -> str:
    """The arguments of a chat template in one line, in one order."""
    return ", ".join(f"{name}={json.dumps(v, sort_keys=True)}" for name, v in sorted(arguments))
