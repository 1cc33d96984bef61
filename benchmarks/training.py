"""How fast is a training step, against transformers' Trainer as notebooks use it?

    python benchmarks/training.py REVIEWS.csv [--rows 256] [--model tsirius-mini] [--out TABLE.md]

The same encoder with a new head, all of its weights trained (``--method lora``: adapters), the same rows with made-up
labels, one epoch each: by the Trainer with its defaults on reviews padded to 256 tokens, by the Trainer with a collator
that pads to the longest of a batch, by the same with ``train_sampling_strategy="group_by_length"``, and by our steps.
Tokens are those of the reviews: padding is not counted. With one thread the processor's time counts, which does not
grow while others have the processor. On a GPU the time is the clock's, and the table has MFU: the floating-point
operations of the reviews' tokens over ``--tflops``, the card's best.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch

from tsirius.models import adapters, estimate, finetune, load

NAMES = [f"category {number}" for number in range(9)]
MAX_LENGTH = 256


def recipe(method: Any, *, rows: int, tokens: int) -> finetune.Recipe:
    return finetune.Recipe(
        method=method, r=16, alpha=32, dropout=0.05, classifier_dropout=0.1, epochs=1, learning_rate=1e-4,
        layer_decay=1.0, batch_size=rows, batch_tokens=tokens, max_length=MAX_LENGTH, label_smoothing=0.0,
        imbalance="none", weight_decay=0.0, warmup=0.0, max_grad_norm=1.0, gradient_checkpointing=False,
        evaluations_per_epoch=1, evaluation_steps=0, early_stopping_metric="weighted_f1", early_stopping_patience=1,
    )  # fmt: skip


def by_trainer(
    model: str, rows: finetune.Rows, of: finetune.Recipe, *, padding: str, sampling: str
) -> Callable[[], None]:
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    words = load.tokenizer(model)
    given = words(list(rows.texts), truncation=True, max_length=MAX_LENGTH,
                  padding="max_length" if padding == "max_length" else False)  # fmt: skip
    data = [
        {"input_ids": ids, "attention_mask": mask, "labels": label}
        for ids, mask, label in zip(given["input_ids"], given["attention_mask"], rows.labels, strict=True)
    ]
    network = finetune.build(model, names=NAMES, recipe=of)
    network.accepts_loss_kwargs = False
    half = adapters.half()
    with tempfile.TemporaryDirectory() as temporary:
        arguments = TrainingArguments(
            output_dir=temporary, num_train_epochs=1, per_device_train_batch_size=of.batch_size, save_strategy="no",
            report_to="none", train_sampling_strategy=sampling, disable_tqdm=True, logging_strategy="no",
            use_cpu=half is None, fp16=half == torch.float16, bf16=half == torch.bfloat16,
        )  # fmt: skip
        collator = DataCollatorWithPadding(words) if padding == "longest" else None
        trainer = Trainer(model=network, args=arguments, train_dataset=data, data_collator=collator)

    def work() -> None:
        trainer.train()

    return work


def by_steps(model: str, rows: finetune.Rows, of: finetune.Recipe) -> tuple[Callable[[], None], int]:
    network = finetune.build(model, names=NAMES, recipe=of)
    training = finetune.Training(
        network, load.tokenizer(model), rows, recipe=of, categories=len(NAMES), max_length=MAX_LENGTH, seed=0
    )

    def work() -> None:
        for step in range(training.total):
            training.step(step)

    return work, sum(training.lengths)


def measure(work: Callable[[], None], *, threads: int) -> float:
    on_card = torch.cuda.is_available()
    clock = time.process_time if threads == 1 and not on_card else time.perf_counter
    if on_card:
        torch.cuda.synchronize()
    start = clock()
    work()
    if on_card:
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("reviews", type=Path)
    parser.add_argument("--model", default="tsirius-mini")
    parser.add_argument("--method", choices=["full", "lora"], default="full")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=1, help="the best time of so many")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tflops", type=float, help="the card's best, for MFU")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with given.reviews.open(encoding="utf-8", newline="") as file:
        texts = list(dict.fromkeys(row["text"].strip() for row in csv.DictReader(file) if row["text"].strip()))
    chosen = [texts[index] for index in np.linspace(0, len(texts) - 1, min(given.rows, len(texts))).astype(int)]
    rows = finetune.Rows(chosen, [index % len(NAMES) for index in range(len(chosen))])
    of = recipe(given.method, rows=given.batch, tokens=given.tokens)
    ours, tokens = by_steps(given.model, rows, of)
    engines = {
        f"Trainer, padded to {MAX_LENGTH}": by_trainer(given.model, rows, of, padding="max_length", sampling="random"),
        "Trainer, padded to the longest of a batch": by_trainer(
            given.model, rows, of, padding="longest", sampling="random"
        ),
        "Trainer, the same grouped by length": by_trainer(
            given.model, rows, of, padding="longest", sampling="group_by_length"
        ),
        "our steps": ours,
    }
    seconds_of: dict[str, float] = {}
    for _ in range(given.rounds + torch.cuda.is_available()):  # on a card the first round warms up
        for name, work in engines.items():
            seconds = measure(work, threads=given.threads)
            print(f"{name}: {seconds:.2f} s", file=sys.stderr, flush=True)
            seconds_of[name] = min(seconds, seconds_of.get(name, float("inf")))
    first = next(iter(seconds_of.values()))
    use = estimate.Use(given.method, 16, given.batch, round(tokens / len(chosen)), False, len(NAMES), False)
    cost = estimate.flops(estimate.shape(given.model), use)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, threads: {given.threads}"
    lines = [
        f"{given.model}, {given.method}, {len(chosen)} reviews of {tokens / len(chosen):.1f} tokens, batches of"
        f" {given.batch}, {device}",
        "",
        f"| engine | seconds | tokens/s | ratio |{' MFU |' if given.tflops else ''}",
        f"|---|---|---|---|{'---|' if given.tflops else ''}",
    ]
    for name, seconds in seconds_of.items():
        used = f" {tokens / seconds * cost / (given.tflops * 1e12):.1%} |" if given.tflops else ""
        lines.append(f"| {name} | {seconds:.2f} | {tokens / seconds:,.0f} | {first / seconds:.2f} |{used}")
    table = "\n".join(lines)
    print(table)
    if given.out is not None:
        given.out.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
