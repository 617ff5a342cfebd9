"""Train a small EAGLE-3 head with speculators, and measure its acceptance length as it learns.

    python examples/speculators/train_head.py --output heads

Of each category of the bundled split the first prompts are measured, and later ones are trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from speculators.losses import resolve_loss_config
from speculators.models.eagle3 import Eagle3DraftModel
from speculators.models.eagle3.data import shift_batch
from speculators.train.data import ArrowDataset, CollateFn
from speculators.train.distributed_batch_sampler import MultipackDistributedBatchSamplerV2
from speculators.train.trainer import Trainer, TrainerConfig
from speculators.train.vocab_mapping import build_vocab_mappings_from_distribution
from target_data import DEVICE, training_prompts, write_target_data
from torch.utils.data import DataLoader
from transformers import AutoConfig

from pytest_speedbench import AcceptanceCallback

BATCH_TOKENS = 512
DRAFT_LENGTH = 3
VOCABULARY = 4096


class MeasuringTrainer(Trainer):
    """Measures every checkpoint that speculators' trainer writes, as soon as it is written.

    Of an epoch only the last checkpoint is kept, so that afterwards is too late.
    """

    def __init__(self, *arguments: object, callback: AcceptanceCallback) -> None:
        self.callback = callback
        super().__init__(*arguments)

    def setup_trainer(self) -> None:
        super().setup_trainer()
        if DEVICE.type == "cpu":  # speculators expects an accelerator
            self.local_rank, self.device_type = DEVICE, DEVICE.type
            torch.accelerator.synchronize = lambda: None

    def maybe_save_checkpoint(self, epoch: int | str, local_step: int = 0) -> None:
        super().maybe_save_checkpoint(epoch, local_step)
        folder = self.checkpointer.model_path(epoch).parent
        if epoch != "interrupted" and folder.exists():
            lengths = self.callback.measure_checkpoint(self.global_step, folder)
            for name, length in lengths.items():
                print(f"step {self.global_step}: {name} {length:.2f}")


def batches(folder: Path, hidden_size: int) -> DataLoader:
    """The training data in batches of ``BATCH_TOKENS`` tokens, one answer behind another."""
    data = ArrowDataset(BATCH_TOKENS, folder, on_missing="raise", hidden_states_dtype=torch.float32)
    sampler = MultipackDistributedBatchSamplerV2(BATCH_TOKENS, data.approx_lengths, 1, 0)
    collate = CollateFn(BATCH_TOKENS, hidden_size, dtype=torch.float32, preprocess=shift_batch)
    return DataLoader(data, batch_sampler=sampler, collate_fn=collate)


def train(options: argparse.Namespace) -> AcceptanceCallback:
    """Trains a head of one layer; returns what was measured of its checkpoints."""
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(options.model)
    layers = [2, config.num_hidden_layers // 2, config.num_hidden_layers - 3]
    prompts = training_prompts(options.measured, options.trained)
    frequencies = write_target_data(
        options.output / "data", options.model, layers, prompts, options.answer_tokens
    )
    d2t, t2d = build_vocab_mappings_from_distribution(frequencies, VOCABULARY, config.vocab_size)
    config.num_hidden_layers = 1
    head = Eagle3DraftModel.from_training_args(
        config,
        t2d,
        d2t,
        verifier_name_or_path=options.model,
        target_layer_ids=layers,
        draft_vocab_size=VOCABULARY,
        norm_before_residual=False,
        ttt_steps=DRAFT_LENGTH,
        draft_attn_impl="eager",  # faster on a GPU: "simple_flex_attention"
    )
    losses = resolve_loss_config("kl_div", "eager")  # faster on a GPU: "fused"
    settings = TrainerConfig(
        lr=1e-3,
        num_epochs=options.epochs,
        save_path=str(options.output),
        train_call_kwargs={"ttt_steps": DRAFT_LENGTH, "loss_config": losses},
        checkpoint_freq=options.checkpoint_epochs,
        hidden_states_dtype=torch.float32,
    )
    callback = AcceptanceCallback(
        model=options.model,
        engine="vllm",
        method="eagle3",
        dl=DRAFT_LENGTH,
        samples=options.measured,
        max_tokens=options.answer_tokens,
        engine_arg={"dtype": "float32", "max_model_len": 4096},
    )
    data = batches(options.output / "data", config.hidden_size)
    MeasuringTrainer(head, settings, data, callback=callback).run_training()
    return callback


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    parser.add_argument("--measured", type=int, default=4, help="prompts of each category")
    parser.add_argument("--trained", type=int, default=76, help="prompts of each category")
    parser.add_argument("--answer-tokens", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--checkpoint-epochs", type=int, default=4)
    options = parser.parse_args()
    callback = train(options)
    print(callback.curve)
    callback.plot(options.output / "acceptance_length.svg")


if __name__ == "__main__":
    main()
