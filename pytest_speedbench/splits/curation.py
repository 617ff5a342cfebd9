"""Curation: the most diverse K of a pool, by SPEED-Bench's selection.

The objective is the summed pairwise cosine similarity of the chosen. Greedy: add the candidate
whose summed similarity to the chosen is least. Then swap one chosen for one unchosen while the
total falls. Both keep one running sum per candidate, ``sums[i] = Σ_chosen sim(i, c)``, so a greedy
step costs one matrix-vector product, and the best of all K by N swaps is found in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from pytest_speedbench.errors import SplitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Bools: TypeAlias = NDArray[np.bool_]
    Ints: TypeAlias = NDArray[np.int64]

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the stage ("greedy", "swap"), steps done, and steps expected (0: not known)."""

_TOLERANCE: Final = 1e-9
"""A swap must lower the total by more than this: rounding never makes it run in circles."""


@dataclass(frozen=True, slots=True)
class Quota:
    """At least ``at_least`` of the chosen are rows where ``members`` (N booleans) is true.

    Quotas may overlap: a row counts in each that has it.
    """

    members: tuple[bool, ...]
    at_least: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Chosen row numbers in the order chosen, and mean pairwise similarity before and after swaps.

    The means are over the K·(K-1)/2 pairs, in [-1, 1]; 0 for a single row.
    """

    indices: tuple[int, ...]
    mean_similarity: float
    greedy_similarity: float
    swaps: int


def select(
    embeddings: ArrayLike,
    k: int,
    *,
    seed: int = 0,
    starts: int = 1,
    quotas: Sequence[Quota] = (),
    progress: Progress | None = None,
) -> Selection:
    """Select ``k`` of the N rows of ``embeddings`` (N by D, any scale: rows are normalised).

    The first row is drawn under ``seed``, the rest is deterministic (ties go to the lower row).
    ``starts`` repeats from that many different first rows and keeps the best. Raises SplitError
    for a shape other than N by D, zero or non-finite rows, k outside 1 … N, starts below 1, a quota
    that cannot be met, and quotas that require more than k in all.
    """
    import numpy as np

    rows = unit_rows(embeddings)
    _check(len(rows), k, starts, quotas)
    members = np.array([q.members for q in quotas], dtype=np.bool_).reshape(-1, len(rows))
    needed = np.array([q.at_least for q in quotas], dtype=np.int64)
    wanted = members[needed > 0].any(axis=0)
    pool = np.flatnonzero(wanted) if wanted.any() else np.arange(len(rows))
    firsts = np.random.default_rng(seed).permutation(pool)[:starts]
    runs = [_Run(rows, members, needed, progress).solve(int(first), k) for first in firsts]
    return min(runs, key=lambda run: run.mean_similarity)


def unit_rows(embeddings: ArrayLike) -> Floats:
    """Return the rows scaled to length 1, as float64; SplitError for what cannot be scaled."""
    import numpy as np

    rows = np.asarray(embeddings, dtype=np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise SplitError(f"embeddings must be N by D, both at least 1, got shape {rows.shape}")
    lengths = np.linalg.norm(rows, axis=1)
    bad = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if bad.size:
        raise SplitError(
            f"embeddings: row {bad[0]} is zero or not finite ({bad.size} such rows); embed again, "
            "or leave these rows out"
        )
    return np.ascontiguousarray(rows / lengths[:, None])


def mean_similarity(embeddings: ArrayLike) -> float:
    """Return the mean cosine similarity over all pairs of rows, in [-1, 1]; 0 for a single row."""
    rows = unit_rows(embeddings)
    return _mean(float((rows.sum(axis=0) ** 2).sum() - len(rows)) / 2, len(rows))


def _mean(total: float, k: int) -> float:
    return total / (k * (k - 1) / 2) if k > 1 else 0.0


def _check(n: int, k: int, starts: int, quotas: Sequence[Quota]) -> None:
    if not 1 <= k <= n:
        raise SplitError(f"cannot select {k} of {n} candidates; choose between 1 and {n}")
    if starts < 1:
        raise SplitError(f"starts must be at least 1, got {starts}")
    for quota in quotas:
        _check_quota(n, k, quota)
    required = sum(quota.at_least for quota in quotas)
    if required > k:
        raise SplitError(f"quotas require {required} rows in all, but {k} are selected; lower them")


def _check_quota(n: int, k: int, quota: Quota) -> None:
    if len(quota.members) != n:
        raise SplitError(f"quota: {len(quota.members)} flags for {n} candidates")
    if not 0 <= quota.at_least <= min(k, sum(quota.members)):
        raise SplitError(
            f"quota requires at least {quota.at_least} of {k} rows, but {sum(quota.members)} of "
            f"the {n} candidates qualify; add such candidates or lower the quota"
        )


class _Run:
    """One greedy selection and its swaps, over the state that makes each step cheap."""

    def __init__(
        self, rows: Floats, members: Bools, needed: Ints, progress: Progress | None
    ) -> None:
        self.rows: Final = rows
        self.members: Final = members  # one row a quota
        self.needed: Final = needed
        self.progress: Final = progress or (lambda stage, done, total: None)

    def solve(self, first: int, k: int) -> Selection:
        import numpy as np

        self.sums = np.zeros(len(self.rows))
        self.free = np.ones(len(self.rows), dtype=np.bool_)
        self.chosen: list[int] = []
        self._add(first)
        while len(self.chosen) < k:
            self._add(self._best_candidate())
            self.progress("greedy", len(self.chosen), k)
        greedy = self._total()
        swaps = self._swap_all() if k < len(self.rows) else 0
        return Selection(tuple(self.chosen), _mean(self._total(), k), _mean(greedy, k), swaps)

    def _add(self, row: int) -> None:
        self.chosen.append(row)
        self.free[row] = False
        self.sums += self.rows @ self.rows[row]

    def _best_candidate(self) -> int:
        import numpy as np

        allowed = self.free
        unmet = self.members[:, self.chosen].sum(axis=1) < self.needed
        if unmet.any():
            allowed = allowed & self.members[unmet].any(axis=0)
        return int(np.where(allowed, self.sums, np.inf).argmin())

    def _total(self) -> float:
        return float(self.sums[self.chosen].sum() - len(self.chosen)) / 2

    def _swap_all(self) -> int:
        """Make the best swap until none lowers the total; return how many were made.

        Out goes c, in comes u: the total changes by (sums[u] - sim(u, c)) - (sums[c] - 1).
        """
        import numpy as np

        similar = self.rows[self.chosen] @ self.rows.T  # K by N, one row renewed per swap
        swaps = 0
        while True:
            gains = self.sums - similar
            gains -= (self.sums[self.chosen] - 1)[:, None]
            gains[:, ~self.free] = np.inf
            self._respect_quotas(gains)
            out, row = divmod(int(gains.argmin()), len(self.rows))
            if gains[out, row] >= -_TOLERANCE:
                return swaps
            self._swap(out, row)
            similar[out] = self.rows @ self.rows[row]
            swaps += 1
            self.progress("swap", swaps, 0)

    def _respect_quotas(self, gains: Floats) -> None:
        import numpy as np

        for members, needed in zip(self.members, self.needed, strict=True):
            inside = members[self.chosen]
            if inside.sum() <= needed:
                gains[np.ix_(inside, ~members)] = np.inf

    def _swap(self, out: int, row: int) -> None:
        self.sums += self.rows @ (self.rows[row] - self.rows[self.chosen[out]])
        self.free[self.chosen[out]] = True
        self.free[row] = False
        self.chosen[out] = row
