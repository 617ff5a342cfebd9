"""A server's Prometheus page → counters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_speedbench.engines.protocol import Counters
from pytest_speedbench.errors import EngineError

# Prometheus keeps numbers as floats, which count exactly up to here.
_MOST_EXACT = 1 << 53


@dataclass(frozen=True, slots=True)
class MetricNames:
    """Names of a server family's counters, without ``_total``; empty where it has none.

    ``generated`` counts output tokens; it is used to detect foreign traffic.
    """

    drafts: str = ""
    draft_tokens: str = ""
    accepted_tokens: str = ""
    generated: str = ""


VLLM = MetricNames(
    "vllm:spec_decode_num_drafts",
    "vllm:spec_decode_num_draft_tokens",
    "vllm:spec_decode_num_accepted_tokens",
    "vllm:generation_tokens",
)
SGLANG = MetricNames(drafts="sglang:spec_verify_calls", generated="sglang:generation_tokens")
TENSORRT_LLM = MetricNames(
    draft_tokens="trtllm_spec_decode_num_draft_tokens",
    accepted_tokens="trtllm_spec_decode_num_accepted_tokens",
)
LLAMA_CPP = MetricNames(
    "llamacpp:spec_decode_num_drafts",
    "llamacpp:spec_decode_num_draft_tokens",
    "llamacpp:spec_decode_num_accepted_tokens",
    "llamacpp:tokens_predicted",
)


@dataclass(frozen=True, slots=True)
class Reading:
    """The counters of one read of the page; None for those that it does not have."""

    drafts: int | None = None
    draft_tokens: int | None = None
    accepted_tokens: int | None = None
    generated: int | None = None

    @property
    def counters(self) -> Counters | None:
        """The totals of speculation; None if drafted or accepted tokens are not counted."""
        if self.draft_tokens is None or self.accepted_tokens is None:
            return None
        return Counters(self.drafts or 0, self.draft_tokens, self.accepted_tokens, self.generated)


@dataclass(frozen=True, slots=True)
class Page:
    """A parsed page: counters summed over all labels (models, data-parallel engines), and the
    labels of every ``…_info`` metric. ``where`` is its address."""

    where: str
    values: Mapping[str, float]
    infos: Mapping[str, Mapping[str, str]]

    def read(self, names: MetricNames) -> Reading:
        """The counters of one family of servers.

        Raises:
            EngineError: one is not a count.
        """

        def value(name: str) -> int | None:
            found = self.values.get(name) if name else None
            return None if found is None else self._count(name, found)

        return Reading(
            value(names.drafts),
            value(names.draft_tokens),
            value(names.accepted_tokens),
            value(names.generated),
        )

    def _count(self, name: str, found: float) -> int:
        if not (0 <= found <= _MOST_EXACT and found == int(found)):  # NaN is not, infinity neither
            raise EngineError(
                f"{self.where}: {name} is {found:g}, expected a count of at least 0; the page "
                "cannot be used: connect to the engine directly, or use another version"
            )
        return int(found)

    def has(self, prefix: str) -> bool:
        """Whether any metric begins with ``prefix``, which identifies the server."""
        return any(name.startswith(prefix) for name in self.values)


def parse_page(text: str, where: str) -> Page:
    """Parses Prometheus text. Names come without ``_total``.

    Raises:
        EngineError: ``text`` is not a metrics page; ``where`` names it.
    """
    from prometheus_client.parser import text_string_to_metric_families

    values: dict[str, float] = {}
    infos: dict[str, Mapping[str, str]] = {}
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                name = sample.name.removesuffix("_total")
                values[name] = values.get(name, 0.0) + sample.value
                if name.endswith("_info"):
                    infos[name] = dict(sample.labels)
    except ValueError as error:
        raise EngineError(f"{where} is not a metrics page: {error}; correct --speed-url") from error
    return Page(where, values, infos)


def check_growth(before: Reading, after: Reading, where: str) -> None:
    """Checks that lifetime totals only grow.

    Raises:
        EngineError: one fell, or is missing now.
    """
    for name in ("drafts", "draft_tokens", "accepted_tokens", "generated"):
        old, new = getattr(before, name), getattr(after, name)
        if old is not None and (new is None or new < old):
            raise EngineError(
                f"the counter of {name.replace('_', ' ')} at {where} went from {old} to {new}: the "
                "server was restarted, or its counters were reset, during the run: run again; or "
                "several servers share the address: connect to one of them"
            )
