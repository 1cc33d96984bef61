"""Does training take the memory that the plan says? On a GPU, under a cap, with random weights of the real shapes.

    python benchmarks/memory.py [--cap 15] [--rows 32] [--length 256] [--tflops 989] [--out TABLE.md]

For LoRA on XLM-R base and large, and QLoRA on large (left out where bitsandbytes is missing): a step with one pass
of rows of full length, as our training takes it; torch's peak beside the plan, tokens a second, and with ``--tflops``,
the card's best, MFU. The cap is torch's own: a program that needs more of the card fails, as on a smaller one. Nothing
is downloaded: the encoder is written from its shape, and the tokens are drawn.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tsirius.models import estimate, finetune, kernels, load

NAMES = [f"category {number}" for number in range(9)]
CASES = [
    ("lora", "xlm-roberta-base"),
    ("lora", "xlm-roberta-large"),
    ("qlora", "xlm-roberta-large"),
    ("full", "xlm-roberta-base"),
]

WARM = 6
"""Steps that warm up."""


class Words:
    """Stands for a tokenizer: a text is a number, and its tokens are drawn from it."""

    pad_token_id = 1

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, texts: list[str], **settings: Any) -> dict[str, Any]:
        return {
            "input_ids": [np.random.default_rng(int(text)).integers(5, 5000, self.length).tolist() for text in texts]
        }


def base(of: estimate.Shape) -> Any:
    """A classifier of this shape with random weights, and the parameters that are new: its head's."""
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification

    config = XLMRobertaConfig(
        vocab_size=250_002, hidden_size=of.hidden, num_hidden_layers=of.layers, num_attention_heads=of.heads,
        intermediate_size=of.inner, max_position_embeddings=of.positions, type_vocab_size=1, num_labels=len(NAMES),
        pad_token_id=1, bos_token_id=0, eos_token_id=2, classifier_dropout=0.1,
    )  # fmt: skip
    return XLMRobertaForSequenceClassification(config), []


def measure(method: Any, of: estimate.Shape, *, rows: int, length: int, steps: int) -> tuple[float, float]:
    """Peak bytes and tokens a second of ``steps`` steps after those that warm up, captures among them."""
    recipe = finetune.Recipe(
        method=method, r=16, alpha=32, dropout=0.05, classifier_dropout=0.1, epochs=1, learning_rate=1e-4,
        layer_decay=1.0, batch_size=rows, batch_tokens=rows * length, max_length=length, label_smoothing=0.05,
        imbalance="none", weight_decay=0.05, warmup=0.1, max_grad_norm=1.0, gradient_checkpointing=False,
        evaluations_per_epoch=1, evaluation_steps=0, early_stopping_metric="weighted_f1", early_stopping_patience=1,
    )  # fmt: skip
    count = rows * (steps + WARM)
    load.base_classifier = lambda model, **settings: base(of)
    network = finetune.build("random", names=NAMES, recipe=recipe)
    given = finetune.Rows([str(number) for number in range(count)], [number % 9 for number in range(count)])
    training = finetune.Training(
        network, Words(length), given, recipe=recipe, categories=len(NAMES), max_length=length, seed=0
    )
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with training.shortened():
        for step in range(steps + WARM):
            if step == WARM:
                torch.cuda.synchronize()
                start = time.perf_counter()
            training.step(step)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    if training.budget.tokens < rows * length:
        raise torch.cuda.OutOfMemoryError(f"only {training.budget.tokens} tokens fitted")
    return float(torch.cuda.max_memory_allocated()), steps * rows * length / seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cap", type=float, default=15.0, help="GB of the card that may be used")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tflops", type=float, help="the card's best, for MFU")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("benchmarks/memory.py needs a GPU; there is none that torch can use")
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, given.cap * 1e9 / whole))
    lines = [
        f"{torch.cuda.get_device_name()}, cap {given.cap:g} GB, {given.rows} rows of {given.length} tokens",
        "",
        f"| method | model | planned MiB | measured MiB | off | tokens/s |{' MFU |' if given.tflops else ''}",
        f"|---|---|---|---|---|---|{'---|' if given.tflops else ''}",
    ]
    for method, model in CASES:
        of = estimate.KNOWN[model]
        use = estimate.Use(method, 16, given.rows, given.length, False, len(NAMES), several=False)
        planned = sum(estimate.peak(of, use, newer=kernels.reason() is None).values())
        start = f"| {method} | {model} | {planned / estimate.MIB:,.0f} |"
        if method == "qlora" and importlib.util.find_spec("bitsandbytes") is None:
            lines.append(f"{start} bitsandbytes is not installed | | |")
            continue
        try:
            peak, speed = measure(method, of, rows=given.rows, length=given.length, steps=given.steps)
        except torch.cuda.OutOfMemoryError:
            lines.append(f"{start} more than the cap | | |")
            continue
        cost = estimate.flops(of, replace(use, checkpointing=False))  # MFU counts no operation twice
        if method == "qlora":
            cost = estimate.flops(of, replace(use, method="lora"))
        used = f" {speed * cost / (given.tflops * 1e12):.1%} |" if given.tflops else ""
        lines.append(f"{start} {peak / estimate.MIB:,.0f} | {planned / peak - 1:+.1%} | {speed:,.0f} |{used}")
        print(lines[-1], flush=True)
        gc.collect()
        torch.cuda.empty_cache()
    table = "\n".join(lines)
    print(table)
    if given.out is not None:
        with tempfile.NamedTemporaryFile("w", dir=given.out.parent, delete=False, encoding="utf-8") as file:
            file.write(table + "\n")
        Path(file.name).replace(given.out)


if __name__ == "__main__":
    main()
