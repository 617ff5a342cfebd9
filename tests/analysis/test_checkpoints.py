"""The curve of a training run, and the callback of a real trainer."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from pytest_speedbench import Checkpoint, SpeedWarning
from pytest_speedbench.analysis.checkpoints import checkpoints
from pytest_speedbench.baselines.records import metric_record
from pytest_speedbench.baselines.schema import Record
from pytest_speedbench.errors import NoData, ReportError
from pytest_speedbench.stats import Estimate
from tests.compare.saved_runs import record

SIMULATED = {
    "engine": "simulated",
    "model": "org/model",
    "method": "draft_model",
    "samples": 5,
    "max_tokens": 16,
    "category": ["math", "all"],
}


def measured(al: float, accept: float) -> Record:
    found = record("all", accept=accept)
    own = metric_record(Estimate(al, al - 0.1, al + 0.1, 40))
    return found.model_copy(update={"metrics": {"acceptance_length": own}})


def test_every_checkpoint_is_paired_with_the_first() -> None:
    points = [Checkpoint(20, (measured(2.6, 0.7),)), Checkpoint(10, (measured(2.2, 0.6),))]
    curve = checkpoints(points)
    assert [row["step"] for row in curve.table.rows] == [10, 20]
    first, second = curve.table.rows
    assert first["change"] is None
    assert isinstance(second["change"], Estimate)
    assert second["change"].value > 1.1
    assert curve.best.step == 20


def test_a_curve_prints_as_a_table() -> None:
    curve = checkpoints(
        [Checkpoint(5, (measured(2.2, 0.6),)), Checkpoint(10, (measured(2.6, 0.7),))]
    )
    title, first, second = str(curve).splitlines()
    assert title == "step  category  AL                 since step 5"
    assert first.split() == ["5", "all", "2.20", "[2.10,", "2.30]", "–"]
    assert second.startswith("10    all       2.60 [2.50, 2.70]  +")
    assert curve._repr_html_().count("<tr>") == 3


def test_no_checkpoint_is_no_data() -> None:
    with pytest.raises(NoData, match="no checkpoint has an acceptance length"):
        checkpoints([])


def saved(step: int) -> dict[str, Any]:
    state = types.SimpleNamespace(global_step=step, is_world_process_zero=True, log_history=[])
    return {"args": types.SimpleNamespace(output_dir="heads"), "state": state, "control": None}


def test_the_callback_logs_what_it_measures() -> None:
    pytest.importorskip("transformers")
    from pytest_speedbench import AcceptanceCallback

    callback = AcceptanceCallback(**SIMULATED)
    call = saved(10)
    callback.on_save(**call)
    (log,) = call["state"].log_history
    assert set(log) == {"step", "acceptance_length", "acceptance_length/math"}
    assert callback.points[0].records[0].spec.drafter is not None
    callback.on_save(**saved(20))
    assert [point.step for point in callback.curve.points] == [10, 20]


def test_any_loop_measures_its_checkpoints_and_draws_the_curve(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("matplotlib")
    from pytest_speedbench import AcceptanceCallback

    callback = AcceptanceCallback(**SIMULATED)
    for step in (10, 20):
        lengths = callback.measure_checkpoint(step, tmp_path / str(step))
        assert set(lengths) == {"acceptance_length", "acceptance_length/math"}
    callback.plot(tmp_path / "curve.svg")
    drawn = (tmp_path / "curve.svg").read_text("utf-8")
    for text in ("training step", "acceptance length (tokens/step)", "math", "all"):
        assert f"<!-- {text} -->" in drawn
    with pytest.raises(ReportError, match="expected a path that ends in"):
        callback.plot(tmp_path / "curve.txt")


def test_a_checkpoint_that_cannot_be_measured_does_not_end_the_training() -> None:
    pytest.importorskip("transformers")
    from pytest_speedbench import AcceptanceCallback

    callback = AcceptanceCallback(**{**SIMULATED, "engine_arg": {"fail_at": 1}})
    with pytest.warns(SpeedWarning, match="checkpoint at step 10 was not measured: "):
        callback.on_save(**saved(10))
    assert callback.points == []
    with pytest.warns(SpeedWarning, match="checkpoint at step 20 was not measured: "):
        assert callback.measure_checkpoint(20, "heads/20") == {}


@pytest.mark.engine
def test_a_trainer_measures_a_tiny_drafter(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from pytest_speedbench import AcceptanceCallback
    from pytest_speedbench.engines.demo import DEMO_INSTALL, demo_available, resolve_model

    if not demo_available():
        pytest.skip(f"needs {DEMO_INSTALL}")
    tokenizer = transformers.AutoTokenizer.from_pretrained(resolve_model("demo"))
    torch.manual_seed(0)
    drafter = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            tie_word_embeddings=True,
        )
    )
    ids = tokenizer("one two three four five six seven eight")["input_ids"]
    data = [{"input_ids": ids, "labels": ids} for _ in range(4)]
    callback = AcceptanceCallback(
        model="demo",
        engine="transformers",
        method="draft_model",
        samples=1,
        max_tokens=8,
        category="math",
        engine_arg={"dtype": "float32"},
    )
    arguments = transformers.TrainingArguments(
        str(tmp_path), max_steps=1, save_steps=1, use_cpu=True, report_to=[], disable_tqdm=True
    )
    trainer = transformers.Trainer(
        drafter, arguments, train_dataset=data, processing_class=tokenizer, callbacks=[callback]
    )
    trainer.train()
    assert [point.step for point in callback.curve.points] == [1]
    assert all(row["acceptance_length"] is not None for row in callback.curve.table.rows)
    logged = [log for log in trainer.state.log_history if "acceptance_length/math" in log]
    assert len(logged) == 1
