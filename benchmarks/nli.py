"""How fast does the zero-shot teacher score pairs, against the transformers pipeline on the same weights?

    python benchmarks/nli.py REVIEWS.csv CATEGORIES.toml [--rows 80] [--model NAME] [--hypotheses joined]
        [--out TABLE.md]

Builds an XLM-R of base size (12 layers of 768) with random weights and a vocabulary learned from the reviews, scores
ROWS reviews, drawn evenly over the file, against all categories, and prints a table: the pipeline, our engine in 32-bit
floats and by its default (16-bit floats where the processor multiplies them), and the same pairs by onnxruntime with
8-bit integers. Speed needs no trained weights. The share of changed labels does: a random model's scores hardly depend
on what it reads, and many best labels win by a hair. Its head is scaled so that the scores spread as a trained model's
do, which also multiplies whatever error the layers beneath have made: a harder test than a trained model. The table
gives the changed labels of all reviews, and of those where the best label leads by MARGIN. With ``--model`` a trained
model is measured in its place: tsirius-mini, or a folder.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
from numpy.typing import NDArray

TEMPLATE = "В этом отзыве говорится о товаре из категории «{}»."
MAX_LENGTH = 512
BATCH_TOKENS = 1024
SPREAD = 3.0
"""Standard deviation of the logits, as of models trained on XNLI."""
MARGIN = 0.02


def build(path: Path, texts: Sequence[str], *, std: float) -> None:
    """Write a random XLM-R with an NLI head, in the hub's layout."""
    import sentencepiece
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaForSequenceClassification, XLMRobertaTokenizer
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=8000, hard_vocab_limit=False, minloglevel=2
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    known = [(pieces.id_to_piece(index), pieces.get_score(index)) for index in range(3, pieces.get_piece_size())]
    special = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    words = XLMRobertaTokenizer(vocab=[*special, *known, ("<mask>", 0.0)], model_max_length=MAX_LENGTH)
    words.save_pretrained(path)
    labels = ["contradiction", "neutral", "entailment"]
    config = XLMRobertaConfig(
        vocab_size=len(special) + len(known) + 1,
        max_position_embeddings=MAX_LENGTH + 2,
        type_vocab_size=1,
        initializer_range=std,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    network = XLMRobertaForSequenceClassification(config).eval()
    with torch.inference_mode():
        sample = [(text, TEMPLATE.format(name)) for text in texts[:8] for name in ("обувь", "посуда", "чай", "щётка")]
        given = words(sample, padding=True, truncation=True, max_length=128, return_tensors="pt")
        logits = network(**given).logits
        head = network.classifier.out_proj
        scale = SPREAD / logits.std(dim=0)
        head.weight.mul_(scale[:, None])
        head.bias.copy_(-scale * logits.mean(dim=0))
    network.save_pretrained(path)


@dataclass(frozen=True)
class Measured:
    scores: NDArray[np.float64]
    seconds: float


def measure(engines: Mapping[str, Callable[[], Any]], *, rounds: int, threads: int) -> dict[str, Measured]:
    """The engines in turn, several times over: the best time of each, on a machine that others may use too.

    With one thread the processor's time counts, which does not grow while others have the processor.
    """
    clock = time.process_time if threads == 1 else time.perf_counter
    measured: dict[str, Measured] = {}
    for _ in range(rounds):
        for name, work in engines.items():
            start = clock()
            scores = np.asarray(work(), dtype=np.float64)
            seconds = clock() - start
            print(f"{name}: {seconds:.1f} s", file=sys.stderr, flush=True)
            measured[name] = Measured(scores, min(seconds, measured[name].seconds if name in measured else seconds))
    return measured


def by_pipeline(folder: Path, texts: Sequence[str], names: Sequence[str], *, template: str) -> Callable[[], Any]:
    import torch
    from transformers import pipeline

    # Weights on disk may be 16-bit floats, and it would compute in them.
    classify = pipeline("zero-shot-classification", model=str(folder), device="cpu", dtype=torch.float32)

    def work() -> list[list[float]]:
        rows = []
        for answer in classify(list(texts), list(names), hypothesis_template=template, multi_label=True):
            score = dict(zip(answer["labels"], answer["scores"], strict=True))
            rows.append([score[name] for name in names])
        return rows

    classify(texts[0], list(names))
    return work


def by_engine(
    folder: Path, texts: Sequence[str], names: Sequence[str], *, template: str, precision: Any
) -> Callable[[], Any]:
    from tsirius.labellers import nli
    from tsirius.labellers.hypotheses import probabilities

    scorer = nli.scorer(str(folder), precision=precision, max_length=MAX_LENGTH, batch_tokens=BATCH_TOKENS)
    hypotheses = [template.format(name) for name in names]
    scorer.logits(texts[:1], hypotheses, advance=None)
    return lambda: probabilities(scorer.logits(texts, hypotheses, advance=None))


def by_onnx(
    folder: Path, texts: Sequence[str], names: Sequence[str], *, template: str, work: Path
) -> Callable[[], Any]:
    """The same pairs, scored by the classifier as ONNX with its linear layers in 8-bit integers."""
    import onnxruntime
    import torch

    from tsirius.labellers import nli
    from tsirius.labellers.hypotheses import probabilities
    from tsirius.labellers.pairs import Batch
    from tsirius.models import load, onnx
    from tsirius.models.batching import padded_with_mask, padding

    exact = load.read(load.CLASSIFIER, str(folder), dtype=torch.float32).eval()
    words = load.tokenizer(str(folder))
    onnx.write(exact, words, work, int8=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(work / onnx.MODEL), options, providers=["CPUExecutionProvider"])
    columns, pad = list(nli.answers(exact.config.id2label, where=str(folder))), padding(words, exact.config)

    def forward(batch: Batch) -> NDArray[np.float32]:
        ids, mask = padded_with_mask(batch.ids, pad, left=False, multiple=1)
        logits: NDArray[np.float32] = session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        return logits[:, columns]

    scorer = nli.scorer(str(folder), precision="fp32", max_length=MAX_LENGTH, batch_tokens=BATCH_TOKENS)
    scorer = replace(scorer, forward=forward)
    hypotheses = [template.format(name) for name in names]
    scorer.logits(texts[:1], hypotheses, advance=None)
    return lambda: probabilities(scorer.logits(texts, hypotheses, advance=None))


def table(measured: dict[str, Measured]) -> str:
    """The measurements as a Markdown table; the first is what the others are compared with."""
    first = next(iter(measured.values()))
    labels = first.scores.argmax(axis=1)
    top = np.sort(first.scores, axis=1)
    clear = top[:, -1] - top[:, -2] >= MARGIN
    lines = [
        f"| engine | pairs/s | reviews/s | ratio | largest score difference | labels changed | {clear.sum()} clear |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, one in measured.items():
        changed = one.scores.argmax(axis=1) != labels
        lines.append(
            f"| {name} | {one.scores.size / one.seconds:.1f} | {len(one.scores) / one.seconds:.1f} "
            f"| {first.seconds / one.seconds:.2f} | "
            f"{np.abs(one.scores - first.scores).max():.1e} | {changed.mean():.2%} ({changed.sum()} of {len(changed)}) "
            f"| {changed[clear].mean() if clear.any() else 0:.2%} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("reviews", type=Path)
    parser.add_argument("categories", type=Path)
    parser.add_argument("--rows", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=1, help="the best time of so many")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--std", type=float, default=0.02, help="of the random weights")
    parser.add_argument("--model", help="to measure in place of a random one")
    parser.add_argument("--template", default=TEMPLATE)
    parser.add_argument("--hypotheses", choices=("name", "description", "joined"), default="name")
    parser.add_argument("--without-pipeline", action="store_true", help="compare with our own 32-bit floats only")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()

    import torch

    from tsirius import categories
    from tsirius.labellers.hypotheses import descriptions
    from tsirius.models import hub

    torch.set_num_threads(given.threads)
    with given.reviews.open(encoding="utf-8", newline="") as file:
        texts = list(dict.fromkeys(row["text"].strip() for row in csv.DictReader(file) if row["text"].strip()))
    names = [descriptions(category, given.hypotheses)[0] for category in categories.load(given.categories)]
    chosen = [texts[index] for index in np.linspace(0, len(texts) - 1, min(given.rows, len(texts))).astype(int)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = hub.fetch(given.model) if given.model else Path(temporary)
        if not given.model:
            build(folder, texts, std=given.std)
        engines = dict[str, Callable[[], Any]]()
        if not given.without_pipeline:
            engines["pipeline, fp32"] = by_pipeline(folder, chosen, names, template=given.template)
        for precision in ("fp32", "auto"):
            engines[f"ours, {precision}"] = by_engine(
                folder, chosen, names, template=given.template, precision=precision
            )
        with tempfile.TemporaryDirectory() as work:
            engines["ONNX, int8"] = by_onnx(folder, chosen, names, template=given.template, work=Path(work))
        measured = measure(engines, rounds=given.rounds, threads=given.threads)
    shares = np.bincount(measured["ours, fp32"].scores.argmax(axis=1), minlength=len(names))
    text = (
        f"{len(chosen)} reviews, {len(names)} categories, {given.threads} threads, torch {torch.__version__}; "
        f"{given.model or 'random XLM-R of base size'}, labels {shares.tolist()}\n\n{table(measured)}\n"
    )
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
