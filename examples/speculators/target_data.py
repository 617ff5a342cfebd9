"""What a target writes, in the files that speculators trains on: token ids and hidden states.

For a target that fits in the memory of this process. For larger ones speculators has
``speculators prepare-data`` and ``speculators generate-offline-data``, which ask vLLM.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pytest_speedbench import load_split

DEVICE = torch.accelerator.current_accelerator() or torch.device("cpu")
_LONGEST_PROMPT = 800  # characters
_REQUESTS = 8


def training_prompts(measured: int, trained: int) -> list[str]:
    """``trained`` prompts of each category, none of them among the first ``measured``.

    Long ones are left out.
    """
    by_category = defaultdict(list)
    for sample in load_split("qualitative").samples:
        by_category[sample.category].append(sample.turns[0])
    return [
        text
        for prompts in by_category.values()
        for text in prompts[measured : measured + trained]
        if len(text) <= _LONGEST_PROMPT
    ]


@torch.no_grad()
def write_target_data(
    folder: Path, target: str, layers: Sequence[int], prompts: Sequence[str], answer_tokens: int
) -> Counter[int]:
    """Answers the prompts greedily and writes a training sample of each.

    Args:
        folder: a new folder.
        target: hub name or folder of the target.
        layers: layers whose input a head reads; it imitates the output of the last layer.
        prompts: user messages.
        answer_tokens: maximum tokens of an answer.

    Returns:
        How often the answers have each token id.
    """
    model = AutoModelForCausalLM.from_pretrained(target, dtype=torch.float32).to(DEVICE)
    tokenizer = AutoTokenizer.from_pretrained(target, padding_side="left")
    # transformers returns the last hidden states behind the final norm; speculators applies it.
    last = []
    model.model.norm.register_forward_pre_hook(lambda _, inputs: last.append(inputs[0]))
    rows, frequencies = [], Counter()
    (folder / "hidden_states").mkdir(parents=True)
    for number, (ids, prompt) in enumerate(_answers(model, tokenizer, prompts, answer_tokens)):
        last.clear()
        states = model.model(ids[None], output_hidden_states=True).hidden_states
        hidden = torch.stack([*(states[layer] for layer in layers), *last], dim=2)[0]
        tensors = {"token_ids": ids.cpu(), "hidden_states": hidden.cpu()}
        save_file(tensors, folder / "hidden_states" / f"hs_{number}.safetensors")
        answer = [place >= prompt for place in range(len(ids))]
        rows.append({"input_ids": ids.tolist(), "loss_mask": answer, "seq_len": len(ids)})
        frequencies.update(ids[prompt:].tolist())
    Dataset.from_list(rows).with_format("torch").save_to_disk(folder)
    return frequencies


def _answers(
    model: Any, tokenizer: Any, prompts: Sequence[str], answer_tokens: int
) -> Iterator[tuple[torch.Tensor, int]]:
    """Token ids of a prompt and its answer, shape (tokens,), and how many are the prompt's."""
    by_length = sorted(prompts, key=len)
    for start in range(0, len(by_length), _REQUESTS):
        texts = by_length[start : start + _REQUESTS]
        chats = [[{"role": "user", "content": text}] for text in texts]
        ids = tokenizer.apply_chat_template(
            chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        ).to(DEVICE)
        width = ids["input_ids"].shape[1]
        written = model.generate(**ids, max_new_tokens=answer_tokens, do_sample=False)
        for row, mask in zip(written, ids["attention_mask"], strict=True):
            stops = (row[width:] == tokenizer.eos_token_id).nonzero()
            end = width + int(stops[0]) + 1 if len(stops) else len(row)
            prompt = int(mask.sum())
            yield row[width - prompt : end], prompt
