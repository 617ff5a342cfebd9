"""AL at every checkpoint of a drafter that is trained with transformers' ``Trainer``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_speedbench.analysis.checkpoints import Checkpoint, Checkpoints, checkpoints
from pytest_speedbench.errors import EngineUnavailable, SpeedbenchError, warn
from pytest_speedbench.plan.values import ACCEPTANCE_LENGTH
from pytest_speedbench.session.standalone import measure
from pytest_speedbench.splits import ALL

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise EngineUnavailable(
        "AcceptanceCallback needs transformers: pip install 'pytest-speedbench[transformers]'"
    ) from error


class AcceptanceCallback(TrainerCallback):  # type: ignore[misc]  # transformers has no types
    """Measures every checkpoint that the trainer saves, and logs its acceptance length.

        callback = AcceptanceCallback(model="org/target", method="draft_model", samples=4)
        Trainer(model=drafter, …, callbacks=[callback]).train()
        print(callback.curve.best.step)

    The engine shares the trainer's device: limit its memory, or choose another device, by engine
    arguments. A failed measurement is a warning; training goes on.

    Attributes:
        points: shape (checkpoints,), what was measured so far.
    """

    def __init__(self, **options: Any) -> None:
        """Options are those of ``pytest_speedbench.measure``; the drafter is the checkpoint."""
        self.options = {"rounds": 0, **options}
        self.points: list[Checkpoint] = []

    @property
    def curve(self) -> Checkpoints:
        """AL of every category over the steps, each checkpoint paired with the first.

        Raises:
            NoData: no checkpoint was measured.
        """
        return checkpoints(self.points)

    def plot(self, path: str | Path) -> None:
        """Writes the curve as a figure: a path that ends in ``.png``, ``.svg`` or ``.pdf``.

        Raises:
            NoData: no checkpoint was measured.
            ReportError: another format, or matplotlib is not installed.
        """
        from pytest_speedbench.report.figures import draw

        Path(path).write_bytes(draw(self.curve, Path(path).suffix))

    def measure_checkpoint(self, step: int, folder: str | Path) -> dict[str, float]:
        """Measures one checkpoint; what ``on_save`` does, for any other training loop.

        Returns:
            The AL of all samples as ``acceptance_length`` and that of every category as
            ``acceptance_length/CATEGORY``, to be logged; empty where the measurement failed.
        """
        try:
            measured = measure(drafter=str(folder), **self.options)
        except SpeedbenchError as error:
            warn(f"checkpoint at step {step} was not measured: {error}")
            return {}
        self.points.append(Checkpoint(step, tuple(measured.records)))
        lengths = {}
        for record in measured.records:
            if (found := record.metric(ACCEPTANCE_LENGTH)) is not None:
                suffix = "" if record.case.slice == ALL else f"/{record.case.slice}"
                lengths[f"acceptance_length{suffix}"] = found.value
        return lengths

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the trainer, after it has written a checkpoint."""
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if lengths := self.measure_checkpoint(state.global_step, folder):
            state.log_history.append({"step": state.global_step, **lengths})
