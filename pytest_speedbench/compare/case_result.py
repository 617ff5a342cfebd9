"""What a session keeps of one test, and what a report is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.compare.attribution import Attributed
from pytest_speedbench.compare.verdict import Verdict


@dataclass
class CaseResult:
    """What is kept of one test: its record and its verdicts.

    ``key`` is the case; ``group`` tells apart runs whose cases have the same key.
    """

    nodeid: str
    name: str
    key: str
    group: str
    record: Record
    verdicts: list[Verdict] = field(default_factory=list)
    attribution: Attributed | None = None
    """What a change of the run's speedup against its baseline is due to."""

    def as_dict(self) -> dict[str, Any]:
        """Plain builtins, so that an xdist worker can send it to the controller."""
        return {
            "nodeid": self.nodeid,
            "name": self.name,
            "key": self.key,
            "group": self.group,
            "record": self.record.model_dump(mode="json", by_alias=True),
            "verdicts": [verdict.as_dict() for verdict in self.verdicts],
            "attribution": self.attribution.as_dict() if self.attribution else None,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> CaseResult:
        return cls(
            data["nodeid"],
            data["name"],
            data["key"],
            data["group"],
            Record.model_validate(data["record"]),
            [Verdict.from_dict(verdict) for verdict in data["verdicts"]],
            Attributed.from_dict(data["attribution"]) if data["attribution"] else None,
        )
