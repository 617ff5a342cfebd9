"""Two builds in one session: which arms take turns, and when engines are restarted.

Throughput compares two arms, each build's own; a speedup four, each build with and without
speculation. All that take turns are up at once and idle in turn. Processes of one build differ by
an offset that they keep as long as they live and that no number of rounds averages out. So where a
timing is gated, every round restarts the engines of both builds, and the pair of starts is the
unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from secrets import token_hex

from pytest_speedbench.engines.protocol import EngineConfig, EngineInfo
from pytest_speedbench.measure.load import ClosedLoop
from pytest_speedbench.measure.pool import EnginePool, make_room
from pytest_speedbench.measure.results import Side
from pytest_speedbench.measure.rounds import Restart
from pytest_speedbench.plan.cases import RunKey
from pytest_speedbench.plan.settings import Settings
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH

NO_ROOM = "the engines of both builds do not fit beside each other: {fix}"


@dataclass(frozen=True, slots=True)
class Turns:
    """The runs that take turns, group after group, the build under test in the last.

    ``apart`` is why the builds are in two groups, ``no_plain`` why their arms without speculation
    are left out; empty where they are not.
    """

    groups: tuple[tuple[RunKey, ...], ...]
    apart: str = ""
    no_plain: str = ""


def choose_turns(
    arms: Sequence[RunKey],
    plain: Sequence[RunKey],
    config: Callable[[RunKey], EngineConfig],
    pool: EnginePool,
) -> Turns:
    """All arms that fit beside one another: four, else the two with speculation, else none.

    Args:
        arms: the run of each build, that of the build under test first.
        plain: the arm without speculation of each; empty where there is none.
        config: the engine of a run.
        pool: starts the first engine, to see how much room it takes.
    """
    no_plain = ""
    for chosen in ((*plain, *arms), tuple(arms)):
        configs = list(dict.fromkeys(map(config, chosen)))
        if pool.room_beside(configs[0], configs[1:]):
            return Turns((chosen,), no_plain=no_plain)
        no_room = NO_ROOM.format(fix=make_room(configs[0].engine, len(configs)))
        no_plain = no_room if plain else ""
    return Turns(tuple((arm,) for arm in reversed(arms)), no_room, no_plain)


@dataclass
class Pairs:
    """What the arms of a pair have in common: the id of the session, and the number of the pair."""

    session: str = field(default_factory=lambda: token_hex(8))
    count: int = 0

    def sides(self, run: RunKey, apart: str, no_plain: str) -> tuple[Side, Side]:
        """The side of the counterpart of ``run``, and that of ``run`` itself."""
        self.count += 1
        name = f"{self.session}-{self.count}"
        return (
            Side(name, True, str(run.against), apart, no_plain),
            Side(name, False, "", apart, no_plain),
        )


def restarts_every_round(settings: Settings, config: EngineConfig) -> bool:
    """Whether every round restarts the engines: a timing is gated, and they are ours."""
    metrics = {name.partition("/")[0] for name in settings.compare_fail or ()}
    return bool(metrics - {ACCEPTANCE_LENGTH}) and not config.url and settings.rounds > 0


def restarter(
    runs: Sequence[RunKey],
    config: Callable[[RunKey], EngineConfig],
    pool: EnginePool,
    loop: Callable[[RunKey], ClosedLoop],
) -> Restart:
    """A function that restarts the engines of ``runs`` for a round, the builds first in turn."""

    def restart(number: int) -> list[ClosedLoop]:
        configs = list(dict.fromkeys(map(config, runs)))
        for one in configs:
            pool.close(one)
        for one in configs if number % 2 == 0 else reversed(configs):
            pool.get(one)
        return [loop(run) for run in runs]

    return restart


def unequal_memory(own: EngineInfo, other: EngineInfo) -> str:
    """Why the KV caches of two builds are not alike, where both report their size; else empty."""
    sizes = [_kv_tokens(info) for info in (other, own)]
    if None in sizes or sizes[0] == sizes[1]:
        return ""
    return (
        f"KV cache of {sizes[0]} tokens there, {sizes[1]} here: give both builds the same with "
        "--speed-engine-arg kv_cache_memory_bytes=N"
    )


def _kv_tokens(info: EngineInfo) -> int | None:
    blocks, size = info.details.get("kv_blocks"), info.details.get("block_size")
    if not (isinstance(blocks, int) and isinstance(size, int)):
        return None
    return blocks * size
