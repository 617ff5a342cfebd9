"""The points of the grid: a run, and the slice of it that a test looks at.

Nothing here loads a model, an engine or a prompt: it runs at collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_speedbench.engines.prompts import Form
from pytest_speedbench.engines.protocol import EngineConfig, Sampling, Speculation
from pytest_speedbench.engines.registry import engine_type
from pytest_speedbench.plan.builds import OWN_BUILD, Build, with_drafter
from pytest_speedbench.plan.environment import NO_ENVIRONMENT, Environment
from pytest_speedbench.plan.soak import NO_SOAK, Soak
from pytest_speedbench.splits import ALL

if TYPE_CHECKING:
    from pytest_speedbench.plan.settings import Settings


@dataclass(frozen=True, slots=True)
class RunKey:
    """One run: what its cases have in common; they differ only in their slice."""

    engine: str
    model: str
    speculation: Speculation
    bs: int
    split: str
    samples: int
    sampling: Sampling
    soak: Soak = NO_SOAK
    template: tuple[tuple[str, object], ...] = field(default=(), hash=False)
    """Arguments of the chat template; may hold dicts."""
    split_key: str = ""
    """What the split is called in the keys of cases; ``split`` says where it is."""
    several_drafters: bool = False
    """Whether the grid has others: then the drafter is a part of the keys of cases."""
    prefix_caching: bool = False
    prompt_form: Form = "chat"
    fixed_length: bool = False
    """Whether the engine's own schedule of draft lengths is left out."""
    environment: Environment = NO_ENVIRONMENT
    """Variables of the engine."""
    fixtures: tuple[tuple[str, str], ...] = ()
    """Parameters of fixtures, which may change what an engine is started under, by name."""
    replay: bool = False
    """Whether the baseline's outputs are replayed, where that can be."""
    build: Build = OWN_BUILD
    """In what the engine differs from the session's own."""
    against: Build | None = None
    """The build that is measured side by side, and compared with."""

    def base(self) -> RunKey:
        """The same run without speculation: the arm that a speedup compares with."""
        return replace(
            self,
            speculation=Speculation(),
            several_drafters=False,
            fixed_length=False,
            replay=False,
        )

    def counterpart(self) -> RunKey:
        """The same run on the build that it is compared with side by side."""
        assert self.against is not None
        speculation = with_drafter(self.speculation, self.against)
        return replace(self, speculation=speculation, build=self.against, against=None)

    def __str__(self) -> str:
        build = "" if self.build == OWN_BUILD else " (reference build)"
        return f"{self.engine} {self.speculation} bs{self.bs}{build}"


@dataclass(frozen=True, slots=True)
class Case:
    """One point of the grid: a run, and the slice of it that the test looks at.

    Attributes:
        run: what is measured together: engine, model, method, draft length, batch size, split,
            sampling.
        slice: a category, an entropy tier, or ``all``.
        beside_all: the slice was not named and runs beside the case ``all``.
    """

    run: RunKey
    slice: str
    beside_all: bool = field(default=False, compare=False)


def beside_all(cases: Sequence[Case]) -> frozenset[Case]:
    """Those of the selected ``cases`` that stand beside a selected case ``all`` of their run.

    A case that any test has asked for by name is not among them.
    """
    selected = set(cases)
    named = {case for case in cases if not case.beside_all}
    return frozenset(case for case in selected - named if replace(case, slice=ALL) in selected)


def engine_config(run: RunKey, largest_batch: int, settings: Settings) -> EngineConfig:
    """The engine that ``run`` needs. Engines that switch per request need only one."""
    switches = engine_type(run.engine).switches
    speculation = Speculation() if switches else run.speculation
    args = dict(settings.engine_arg) | dict(run.build.args)
    if run.fixed_length:
        args = {k: v for k, v in args.items() if k not in engine_type(run.engine).schedules}
    return EngineConfig(
        run.engine,
        run.model,
        speculation,
        largest_batch,
        run.build.url or settings.url,
        tuple(args.items()),
        run.prefix_caching,
        run.prompt_form == "raw" and engine_type(run.engine).prompt_form == "chat",
        run.environment.variables,
        run.fixtures,
        run.build.python,
    )


def sent_as(run: RunKey) -> str:
    """How prompts reach the engine: ``token_ids``, or as ``chat`` or ``text`` to be tokenized."""
    form = engine_type(run.engine).prompt_form
    return "text" if form == "chat" and run.prompt_form == "raw" else form


def engine_group(run: RunKey) -> tuple[object, ...]:
    """Equal for runs that one started engine serves."""
    switches = engine_type(run.engine).switches
    speculation = None if switches else run.speculation
    raw = run.prompt_form == "raw"
    started = run.prefix_caching, raw, run.environment, run.fixtures
    return run.engine, run.model, speculation, started


def order_by_engine(cases: Sequence[Case]) -> list[int]:
    """Positions of ``cases`` in an order that keeps engines, then runs, together.

    Engines and runs stay in the order of their first appearance.
    """
    engines: dict[tuple[object, ...], int] = {}
    runs: dict[RunKey, int] = {}
    keys = []
    for case in cases:
        run = case.run
        keys.append(
            (
                engines.setdefault(engine_group(run), len(engines)),
                runs.setdefault(run, len(runs)),
            )
        )
    return sorted(range(len(cases)), key=lambda position: keys[position])
