"""The acceptance of one slice of a run, as estimates that a test can assert on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from pytest_speedbench.compare.asserts import Judgement, Measured
from pytest_speedbench.errors import NoData
from pytest_speedbench.escapes import html_table
from pytest_speedbench.measure.run import SliceView

if TYPE_CHECKING:
    from pytest_speedbench.engines.protocol import Trace
    from pytest_speedbench.stats import Estimate

_WORST = 3


class SliceResult:
    """Acceptance of one category, tier, or of the whole split.

    Intervals are over samples: all turns of a sample are one unit. Below 5 samples there is none.
    """

    def __init__(self, view: SliceView, judgement: Judgement) -> None:
        self._view = view
        self._judgement = judgement

    @property
    def traces(self) -> list[Trace]:
        """The raw traces, shape (requests,)."""
        return [turn.trace for turn in self._view.turns]

    @property
    def acceptance_length(self) -> Measured:
        """Micro AL in tokens per decoding step: Σ(N − n₀) / ΣD, 1 to DL + 1.

        The bonus token counts.

        Raises:
            NoData: no decoding step is known.
        """
        return self._measured("acceptance_length", self._view.acceptance_length, self._worst)

    @property
    def acceptance_length_macro(self) -> Measured:
        """Mean over requests of their own AL, in tokens per decoding step.

        Raises:
            NoData: as ``acceptance_length``.
        """
        return self._measured("acceptance_length_macro", self._view.acceptance_length_macro)

    @property
    def acceptance_rate(self) -> Measured:
        """Accepted over proposed draft tokens, a share.

        Raises:
            NoData: nothing was drafted, or the engine does not report drafts.
        """
        return self._measured("acceptance_rate", self._view.acceptance_rate)

    @property
    def acceptance_by_position(self) -> tuple[float | None, ...]:
        """P(draft token k accepted | k − 1 accepted), shape (DL,); None where none was drafted.

        Raises:
            NoData: the run has no SD, or the engine does not report drafts by step.
        """
        positions = self._view.acceptance_by_position()
        return tuple(None if p is None else p.value for p in positions)

    def _measured(
        self,
        name: str,
        at_level: Callable[[float], Estimate],
        explain: Callable[[], str] = lambda: "",
    ) -> Measured:
        return Measured(name, at_level, self._judgement, explain)

    def _estimates(self) -> Mapping[str, Callable[[], Estimate]]:
        """What a notebook shows, by name."""
        view = self._view
        return {
            "acceptance_length": view.acceptance_length,
            "acceptance_length_macro": view.acceptance_length_macro,
            "acceptance_rate": view.acceptance_rate,
        }

    def __repr__(self) -> str:
        """One line, as pytest shows fixtures of a failed test."""
        return f"<{type(self).__name__} {self._view.name}>"

    def _repr_html_(self) -> str:
        """The metrics as a table, for notebooks; without those that have no value."""
        rows = []
        for name, compute in self._estimates().items():
            try:
                found = compute()
            except NoData:
                continue
            ends = "–" if found.low is None else f"{found.low:.4g} to {found.high:.4g}"
            rows.append((name, f"{found.value:.4g}", ends, str(found.n), found.unit))
        return html_table((self._view.name, "value", "95%", "n", "unit"), rows)

    def _worst(self) -> str:
        """The categories that pull AL down, worst first."""
        from pytest_speedbench.stats import by_stratum

        found = {k: e.value for k, e in by_stratum(self._view.traces).items() if e is not None}
        if len(found) < 2:
            return ""
        worst = sorted(found.items(), key=lambda item: item[1])[:_WORST]
        return "lowest: " + ", ".join(f"{name} {value:.2f}" for name, value in worst)
