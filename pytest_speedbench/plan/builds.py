"""The other build of a side-by-side session, as options and marker name it.

Collection imports this module, so it imports nothing that takes time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_speedbench.engines.methods import traits
from pytest_speedbench.errors import CaseError

if TYPE_CHECKING:
    from pytest_speedbench.engines.protocol import Speculation
    from pytest_speedbench.plan.settings import Settings


@dataclass(frozen=True, slots=True)
class Build:
    """In what a build differs from the session's own; the default differs in nothing.

    Attributes:
        python: interpreter of its environment.
        args: engine arguments, over those of the session.
        drafter: its drafter.
        url: address of its server.
    """

    python: str = ""
    args: tuple[tuple[str, object], ...] = field(default=(), hash=False)  # may hold dicts
    drafter: str = ""
    url: str = ""

    def __str__(self) -> str:
        return ", ".join(self._parts())

    def _parts(self) -> Iterator[str]:
        """Without the values of arguments, which may be secret."""
        if self.python:
            yield f"python {self.python}"
        if self.args:
            yield f"other {', '.join(name for name, _ in self.args)}"
        if self.drafter:
            yield f"drafter {self.drafter}"
        if self.url:
            yield self.url


OWN_BUILD = Build()


def reference_build(asked: Settings) -> Build | None:
    """The build that every case is compared with side by side; None where none is named.

    Raises:
        CaseError: options that contradict each other.
    """
    build = Build(asked.against_python, asked.against_arg, asked.against_drafter, asked.against_url)
    if build == OWN_BUILD:
        return None
    if asked.early:
        raise CaseError(
            "early decides against a saved run, but against_… measures a second build: leave one "
            "of them out"
        )
    if asked.soak:
        raise CaseError("a soak measures one engine alone: leave soak or against_… out")
    if build.url and not asked.url:
        raise CaseError(
            f"against_url={build.url!r} is the server of the reference build: name that of the "
            "build under test with --speed-url"
        )
    if build.python and asked.url:
        raise CaseError(
            "against_python starts an engine, but --speed-url joins a running server: name the "
            "reference build's server with --speed-against-url"
        )
    if build.drafter and not any(traits(method).takes_drafter for method in asked.method):
        raise CaseError(
            f"against_drafter={build.drafter!r}: method {', '.join(asked.method)} uses no drafter"
        )
    return build


def with_drafter(speculation: Speculation, build: Build) -> Speculation:
    """``speculation`` with the drafter of ``build``, if it has one of its own and needs one."""
    if not (build.drafter and traits(speculation.method).takes_drafter and speculation.active):
        return speculation
    return replace(speculation, drafter=build.drafter)
