"""What a run is called: its axes, all of them or those in which it differs from other runs."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.side_by_side import NAME

_BETWEEN = " · "


def title_of(record: Record) -> str:
    """The axes of a run, in one line."""
    spec = record.spec
    what = "no SD" if spec.method == "none" else f"{spec.method} · DL {spec.draft_length}"
    drafter = f" · {spec.drafter.name}" if spec.drafter else ""
    extras = "".join(f" · {text}" for text in record.case.extras() if text != record.case.drafter)
    build = f" · {NAME} ({record.side.build})" if record.of_reference_build and record.side else ""
    return (
        f"{record.engine.name} · {record.model.name} · {what}{drafter} · BS {record.case.bs}"
        f"{extras}{build}"
    )


def short_titles(titles: Sequence[str]) -> list[str]:
    """The title of each run without the axes that all of them share; of one that has no other axis,
    method, DL and BS."""
    parts = [title.split(_BETWEEN) for title in titles]
    shared = shared_axes(titles)
    short = [_BETWEEN.join(part for part in own if part not in shared) for own in parts]
    return [name or _BETWEEN.join(own[2:]) for name, own in zip(short, parts, strict=True)]


def shared_axes(titles: Sequence[str]) -> list[str]:
    """The axes that all titles have."""
    first, *others = (title.split(_BETWEEN) for title in titles)
    return [axis for axis in first if all(axis in other for other in others)]


def joined(axes: Sequence[str]) -> str:
    """Axes as a title has them."""
    return _BETWEEN.join(axes)
