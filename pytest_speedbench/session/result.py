"""What the ``speed`` fixture gives: the measured case, as estimates and asserts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_speedbench.compare.asserts import Judgement, Measured
from pytest_speedbench.errors import did_you_mean, warn
from pytest_speedbench.measure.run import Run
from pytest_speedbench.session.slice_result import SliceResult
from pytest_speedbench.splits import RANDOM_LENGTHS

if TYPE_CHECKING:
    from pytest_speedbench.compare.verdict import Verdict
    from pytest_speedbench.measure.results import DriftPoint
    from pytest_speedbench.session.checks import CaseChecks
    from pytest_speedbench.stats import Estimate
    from pytest_speedbench.stats.context import DepthBucket
    from pytest_speedbench.stats.draft_length import BestDraftLength

Compare = Callable[[str, float], "Verdict"]


class _Categories(dict[str, SliceResult]):
    """Results by category; the error for a missing one lists those that there are."""

    def __missing__(self, name: str) -> SliceResult:
        __tracebackhide__ = True
        known = f"{did_you_mean(name, self)}; measured: {', '.join(self)}"
        raise KeyError(f"no category {name!r}{known}")


class SpeedResult(SliceResult):
    """A measured case: what the fixture ``speed`` gives.

    Acceptance belongs to its slice; throughput and speedup to its run, and are the same in each of
    its cases. Intervals of timing are over rounds, and need at least three.
    """

    def __init__(
        self,
        run: Run,
        slice_name: str,
        judgement: Judgement,
        compare: Compare,
        margins: Mapping[str, float],
        checks: CaseChecks,
    ) -> None:
        super().__init__(run.view(slice_name), judgement)
        self.run = run
        self._compare = compare
        self._margins = margins
        self._checks = checks

    def _estimates(self) -> Mapping[str, Callable[[], Estimate]]:
        run = self.run
        return {
            **super()._estimates(),
            "speedup": lambda: run.speedup,
            "output_tps": lambda: run.output_tps,
            "user_tps": lambda: run.user_tps,
            "ttft": lambda: run.ttft,
            "step_time": lambda: run.step_time,
        }

    @property
    def speedup(self) -> Measured:
        """Output tokens/s with SD over without, on the same samples and BS, as a ratio.

        The geometric mean over rounds that alternate with and without SD.

        Raises:
            NoData: the arm without SD was not measured (``--speed-rounds=0``).
        """
        self._warn_of_random_input()
        return self._measured("speedup", self.run.speedup_at)

    @property
    def best_draft_length(self) -> BestDraftLength:
        """The fastest of the grid's draft lengths at this BS, with those that tie with it.

        No SD takes part as DL 0. ``assert 3 in speed.best_draft_length`` fails where another draft
        length is shown to be faster than 3. Draft lengths that are not measured yet are measured.

        Raises:
            NoData: no round was timed.
        """
        return self._checks.best_draft_length()

    @property
    def output_tps(self) -> Measured:
        """Output tokens per second of the run.

        Raises:
            NoData: no round was timed.
        """
        self._warn_of_random_input()
        return self._measured("output_tps", self.run.output_tps_at)

    @property
    def user_tps(self) -> Measured:
        """Tokens per second after the first event: Σ tokens / Σ time, over requests.

        Raises:
            NoData: no request had a second event.
        """
        self._warn_of_random_input()
        return self._measured("user_tps", self.run.user_tps_at)

    @property
    def ttft(self) -> Measured:
        """Seconds from sending a request to its first output event: mean over requests.

        Raises:
            NoData: no request had an output.
        """
        return self._measured("ttft", self.run.ttft_at)

    @property
    def step_time(self) -> Measured:
        """Seconds per decoding step: Σ(last − first event) / ΣD.

        The first event's own step is left out.

        Raises:
            NoData: no decoding step was timed.
        """
        return self._measured("step_time", self.run.step_time_at)

    def _warn_of_random_input(self) -> None:
        """SPEED-Bench's warning: no drafter, expert or cache meets random tokens in service."""
        if self.run.setting.split["name"] in RANDOM_LENGTHS:
            warn(
                "speed on random token ids overstates the throughput of real text; use a "
                "throughput_* split (--speed-split=throughput_1k,random shows both)"
            )

    @property
    def by_category(self) -> Mapping[str, SliceResult]:
        """Acceptance of every category that this case's run has measured, by name.

        Raises:
            KeyError: it was not measured; the message names those that were.
        """
        run = self.run
        return _Categories(
            (name, SliceResult(run.view(name), self._judgement)) for name in run.slices
        )

    def assert_no_regression(self, **margins: str | float) -> None:
        """Fails where a metric fell by more than its margin against the baseline.

        Margins by metric, such as ``acceptance_length="1%"`` or ``speedup=0.05``; without any, the
        session's (``--speed-compare-fail``, or 2% of AL). A case without a baseline passes,
        unless ``--speed-require-baseline``.

        Raises:
            GateFailure: an ``AssertionError`` with the verdict and the numbers behind it.
            UsageError: an unknown metric, or a margin that is not a share.
        """
        __tracebackhide__ = True
        from pytest_speedbench.compare.api import read_margins

        for name, margin in (read_margins(margins) or self._margins).items():
            self._compare(name, margin)

    def assert_pruning_loss(
        self, margin: str | float, *, per_category: str | float | None = None
    ) -> None:
        """Fails where AL is lower than that of the session's first drafter by more than ``margin``.

        For ``@pytest.mark.speed(drafter=[FULL, PRUNED])``: the case of the first drafter passes,
        every other one is compared with it, sample by sample, as with a baseline. A category's case
        is held to ``per_category`` where that is given, and so are, in the case ``all``, the
        categories without a case of their own: *fail* where one fails. Margins are shares of AL,
        ``"3%"`` or 0.03.

        Raises:
            GateFailure: an ``AssertionError`` with the change and interval of each category.
            NoData: the session has a single drafter here.
            UsageError: a margin that is not a share.
        """
        __tracebackhide__ = True
        self._checks.pruning.check(margin, per_category)

    def assert_lossless(self, tolerance: float | None = None, *, copies: int = 256) -> None:
        """Fails where speculation changed the output, and not just a numerical tie.

        Greedy: each output is compared with that of the run's arm without SD, token for token; a
        later turn counts only if the conversation before it is equal. Where two outputs diverge,
        the target without SD scores both tokens after the text that both share. If both are within
        ``tolerance`` nats of its best token, that is a tie; anything else fails, and so does an
        output that ends where the other goes on. Without a ``tolerance``: some ulps of
        the engine's dtype at the logits' magnitude (4 in half precision, 64 in single), more where
        two runs without SD at different BS diverge by more (at most 4 times as much). Ties far more
        frequent than between those two runs are *undecided*.

        Temperature above 0: ``copies`` seeded copies of each of the first four prompts. What they
        draw at the first two verified positions, after the most common beginning, is compared with
        the target's probabilities (G test) at the case's share of α. This covers accepting and
        replacing a draft token at the first, and the next draft, the bonus token or a new step at
        the second; not the prefill's token, later positions, or dependence between requests. At
        temperatures other than 1, only the tokens drawn by a first quarter of the copies are
        compared, with one another, since only at 1 are the target's full probabilities known. If
        the engine without SD is rejected too, the case is *undecided*.

        Raises:
            GateFailure: an AssertionError with sample, turn, position, both tokens, gap and
                tolerance; or with the tokens drawn too often or too rarely.
            NoData: the arm without SD was not measured; the message names the fix.
            UsageError: a tolerance, or a number of copies, that cannot be used.
        """
        __tracebackhide__ = True
        self._checks.lossless(tolerance, copies)

    @property
    def draftless_share(self) -> Measured:
        """Decoding steps without a draft, a share of all.

        If the engine adapts the draft length, DL is a maximum, and steps may have no draft.

        Raises:
            NoData: the run has no SD, or the engine does not report the drafts of each step.
        """
        return self._measured("draftless_share", self._view.draftless_share)

    @property
    def proposed_length(self) -> Measured:
        """Draft tokens proposed per decoding step, including steps without a draft.

        Raises:
            NoData: the run has no SD, or the engine does not report its drafts.
        """
        return self._measured("proposed_length", self._view.proposed_length)

    @property
    def cache_hit_rate(self) -> Measured:
        """Share of the prompt tokens that came from the engine's prefix cache.

        Raises:
            NoData: the engine does not report it.
        """
        return self._measured("cache_hit_rate", self._view.cache_hit_rate)

    @property
    def acceptance_by_depth(self) -> list[DepthBucket]:
        """AL by position in the context, shape (buckets,): below 1,024 tokens, below 2,048, …

        Each bucket has the decoding steps that start in it; those without a step are left out.

        Raises:
            NoData: the engine does not report decoding steps.
        """
        return self._view.acceptance_by_depth()

    def assert_never_worse(
        self, than: str | int | Sequence[str | int] | None = None, *, margin: str | float = "5%"
    ) -> None:
        """Fails where the case is slower than no SD, or than a fixed draft length, at its BS.

        ``than`` names the alternatives: ``"none"`` for no SD, a draft length, or several of these,
        without the engine's own schedule of draft lengths. The default is no SD and, if there is a
        schedule, the case's own DL. The case takes turns with each alternative over the same
        samples, ``--speed-rounds`` times, at least 3. Output tokens/s may be lower by ``margin``;
        it fails if it is slower than any one of them. α is divided over them.

        Raises:
            GateFailure: an ``AssertionError`` with the ratio to each.
            NoData: the engines do not fit beside each other, or nothing is timed.
            UsageError: a margin that is not a share, or an arm that cannot be.
        """
        __tracebackhide__ = True
        from pytest_speedbench.compare.api import read_share

        self._checks.never_worse(than, read_share("margin", margin))

    def assert_cache_neutral(self, *, acceptance_length: str | float = "2%") -> None:
        """Fails where AL is lower with a warm prefix cache than without, by more than the margin.

        With ``prefix_caching=True`` each sample is sent once without the cache before the rounds,
        which run on a warm one. Both are compared as a run is with its baseline, sample by sample,
        at the case's share of α. Further requests follow the cold pass's text on the warm cache,
        where replay is on and possible; else the common beginnings of both are compared. With
        ``prefix_caching=[False, True]`` the case with the cache decides, the other passes.

        Raises:
            GateFailure: an ``AssertionError`` with the verdict and the numbers behind it.
            NoData: there was no pass without the cache, or no SD.
            UsageError: the margin is not a share.
        """
        __tracebackhide__ = True
        from pytest_speedbench.compare.api import read_margins

        margin = read_margins({"acceptance_length": acceptance_length})["acceptance_length"]
        self._checks.cache_neutral(margin)

    @property
    def drift(self) -> list[DriftPoint]:
        """AL and step time (seconds) of every round of a soak, shape (rounds,), ready to plot."""
        return self._view.drift

    def assert_no_drift(self, alpha: str | float | None = None) -> None:
        """Fails where AL falls, or step time rises, over the rounds of a soak.

        Mann–Kendall test with Theil–Sen slope for both, one-sided, at ``alpha`` together (the
        case's share of the session's without it). A step time that rises by less than 1% over the
        soak passes. Too few rounds for ``alpha`` are *undecided*. A soak is always tested after its
        test body; this replaces that test and uses another α.

        Raises:
            GateFailure: an ``AssertionError`` with the slope and the test.
            NoData: the run is not a soak.
            UsageError: ``alpha`` is not a share.
        """
        __tracebackhide__ = True
        self._checks.no_drift(alpha)
