"""Which saved commit is nearest: git is asked, and a shallow clone says so."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from pathlib import Path

from pytest_speedbench.errors import GitError


def resolve(reference: str, folder: Path) -> str | None:
    """The full commit id that ``reference`` (commit, tag, branch) names, or None."""
    done = _git(folder, "rev-parse", "--verify", "--quiet", f"{reference}^{{commit}}")
    return done.strip() if done else None


def is_clean(folder: Path) -> bool:
    """Whether ``folder`` is in a repository without uncommitted changes to tracked files."""
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return changes is not None and not changes.strip()


def nearest_ancestor(commit: str, candidates: Collection[str], folder: Path) -> str | None:
    """The first of ``candidates`` met when walking back from ``commit``, itself included.

    Raises:
        GitError: as :func:`ancestors`.
    """
    return next(iter(ancestors(commit, candidates, folder)), None)


def ancestors(commit: str, candidates: Collection[str], folder: Path) -> dict[str, int]:
    """Those of ``candidates`` that are ``commit`` or before it, nearest first, with their distance.

    Raises:
        GitError: there are candidates, none is met, and the clone is shallow, so that older commits
            are unknown.
    """
    history = (_git(folder, "rev-list", "--topo-order", commit) or "").splitlines()
    wanted = set(candidates)
    found = {line: distance for distance, line in enumerate(history) if line in wanted}
    if found or not wanted:
        return found
    if (_git(folder, "rev-parse", "--is-shallow-repository") or "").strip() == "true":
        raise GitError(
            "this clone is shallow, so the ancestors of "
            f"{commit[:12]} are unknown: git fetch --unshallow (in CI: fetch-depth: 0)"
        )
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):  # ValueError: a null byte
        return None
    return done.stdout if done.returncode == 0 else None
