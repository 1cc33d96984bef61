"""How fast are reviews classified, against the transformers pipeline on the same weights, and are the labels the same?

    python benchmarks/predict.py REVIEWS.csv [--rows 7276] [--threads 2] [--run RUN] [--out TABLE.md]

Speed: an XLM-R of base size (12 layers of 768) with random weights and a vocabulary learned from the reviews, which
needs no trained weights. Classified by ``pipeline("text-classification")`` with its defaults, and by the exported model
in 32-bit floats and in 8-bit integers, cleaning and all. Labels: the same three on the fine-tuned encoder of RUN, whose
labels mean something; all reviews are compared.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

CATEGORIES = 9
MAX_LENGTH = 256

Engine = Callable[[Sequence[str]], list[str]]


def by_pipeline(folder: Path) -> Engine:
    """The labels of a transformers folder by its own pipeline, with the defaults."""
    from transformers import pipeline

    classify = pipeline("text-classification", model=str(folder), device="cpu")
    return lambda texts: [answer["label"] for answer in classify(list(texts), truncation=True, max_length=MAX_LENGTH)]


def by_classifier(folder: Path) -> Engine:
    """The labels of a folder that was exported."""
    from tsirius import Classifier

    return Classifier.load(folder).predict


def base_size(texts: Sequence[str], folder: Path) -> dict[str, Engine]:
    """Engines over a random model of base size, written into ``folder``."""
    import nli
    import torch
    from transformers import AutoTokenizer, XLMRobertaForSequenceClassification

    from tsirius.models import onnx
    from tsirius.models.classifier import Description

    nli.build(folder / "nli", texts, std=0.02)
    names = [f"category {index}" for index in range(CATEGORIES)]
    torch.manual_seed(0)
    model = XLMRobertaForSequenceClassification.from_pretrained(
        folder / "nli", num_labels=CATEGORIES, ignore_mismatched_sizes=True, id2label=dict(enumerate(names))
    ).eval()
    words = AutoTokenizer.from_pretrained(folder / "nli")
    model.save_pretrained(folder / "plain")
    words.save_pretrained(folder / "plain")
    for kind, int8 in (("fp32", False), ("int8", True)):
        (folder / kind).mkdir()
        onnx.write(model, words, folder / kind, int8=int8)
        Description(
            kind="onnx", names=names, none=names[0], prior=None, prior_shift=[0.0] * CATEGORIES, base_model=None,
            base_fingerprint=None, max_length=MAX_LENGTH, parts=[],
        ).save(folder / kind)  # fmt: skip
    return {
        "pipeline, defaults": by_pipeline(folder / "plain"),
        "ours, ONNX fp32": by_classifier(folder / "fp32"),
        "ours, ONNX int8": by_classifier(folder / "int8"),
    }


def exported(run: Path, folder: Path) -> dict[str, Engine]:
    """The same engines over the model of a run."""
    from tsirius.commands import export

    for form in ("merged", "onnx", "onnx-int8"):
        export.export(run, to=form, out=folder / form)
    return {
        "pipeline, defaults": by_pipeline(folder / "merged"),
        "ours, ONNX fp32": by_classifier(folder / "onnx"),
        "ours, ONNX int8": by_classifier(folder / "onnx-int8"),
    }


def measure(engines: Mapping[str, Engine], texts: Sequence[str], *, rounds: int, threads: int) -> list[str]:
    """The engines in turn as lines of a table; the best time of each.

    With one thread the processor's time counts, which grows little while others have the processor.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    best: dict[str, float] = {}
    labels: dict[str, list[str]] = {}
    for work in engines.values():
        work(texts[:8])
    for _ in range(rounds):
        for name, work in engines.items():
            start = clock()
            labels[name] = work(texts)
            seconds = clock() - start
            print(f"{name}: {seconds:.1f} s", file=sys.stderr, flush=True)
            best[name] = min(seconds, best.get(name, seconds))
    first = next(iter(engines))
    lines = ["| engine | reviews/s | ratio | same label as the pipeline |", "|---|---|---|---|"]
    for name, seconds in best.items():
        same = np.mean([one == other for one, other in zip(labels[name], labels[first], strict=True)])
        lines.append(f"| {name} | {len(texts) / seconds:,.1f} | {best[first] / seconds:.2f} | {same:.2%} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("reviews", type=Path)
    parser.add_argument("--rows", type=int, default=0, help="that many for the speed; 0: all")
    parser.add_argument("--rounds", type=int, default=1, help="the best time of so many")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--run", type=Path, help="a run with a fine-tuned encoder, for the labels")
    parser.add_argument("--without-speed", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(given.threads)

    import torch

    torch.set_num_threads(given.threads)
    with given.reviews.open(encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file) if row["text"].strip()]
    indices = np.linspace(0, len(texts) - 1, min(given.rows or len(texts), len(texts))).astype(int)
    settings: dict[str, Any] = {"rounds": given.rounds, "threads": given.threads}
    parts = [f"{given.threads} threads, torch {torch.__version__}"]
    with tempfile.TemporaryDirectory() as temporary:
        if not given.without_speed:
            chosen = [texts[index] for index in indices]
            lines = measure(base_size(texts, Path(temporary)), chosen, **settings)
            parts += [f"\nRandom XLM-R of base size, {len(chosen):,} reviews:\n", *lines]
        if given.run:
            lines = measure(exported(given.run, Path(temporary)), texts, **settings)
            parts += [f"\nThe encoder of {given.run.name}, {len(texts):,} reviews:\n", *lines]
    text = "\n".join(parts) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
