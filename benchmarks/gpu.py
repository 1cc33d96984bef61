"""How busy is a GPU? Training steps and labelling on random weights of the real shapes.

    python benchmarks/gpu.py OUT.jsonl [--reviews REVIEWS.csv] [--cells steps,curves,label] [--name after]

Each cell is measured once and written as a line of JSON; cells that OUT.jsonl has under the same name are not measured
again. ``--table`` prints what is there: every name beside the first. Steps are whole ones, from the rows' tokens to the
optimiser, of random tokens; under torchrun each process takes its share of the rows. The figure is the median of 30
after 12 that warm up, which captures count among. MFU is floating-point operations (see :mod:`tsirius.models.estimate`)
over the card's best, ``--tflops``.
"""

from __future__ import annotations

import argparse
import csv
import gc
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import torch

from tsirius.models import adapters, batching, distributed, encode, estimate, finetune, load

SHAPES = {"mini": (2, 64, 128, 2), "base": (12, 768, 3072, 12), "large": (24, 1024, 4096, 16)}
STEPS = [
    ("base", "lora", 32, 256), ("base", "lora", 16, 24), ("base", "lora", 64, 24), ("base", "lora", 64, 256),
    ("base", "full", 32, 256), ("large", "lora", 32, 256), ("large", "lora", 64, 256),
]  # fmt: skip
EPOCHS = 100
"""Steps are those of a training that is long enough for what a shape costs once."""
NAMES = [f"category {number}" for number in range(9)]
ASKED = [f"Отзыв о товаре: категория {number}." for number in range(9)]


class Words:
    """In place of a tokenizer: the "text" 24:7 has 24 tokens that the number 7 decides."""

    pad_token_id, eos_token_id, all_special_ids, model_max_length = 1, 2, [0, 1, 2], 512

    def __call__(self, texts: list[str], **_: Any) -> dict[str, list[list[int]]]:
        pairs = [tuple(map(int, text.split(":"))) for text in texts]
        rows = [np.random.default_rng(seed).integers(5, 1000, length).tolist() for length, seed in pairs]
        return {"input_ids": rows}


def folder(size: str, tokenizer: Path, *, labels: int = 3) -> Path:
    """A random XLM-R in the hub's layout."""
    from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaForSequenceClassification

    result = Path(tempfile.gettempdir()) / f"xlm-r-{size}"
    if not distributed.process() and not (result / "config.json").exists():
        layers, hidden, inner, heads = SHAPES[size]
        torch.manual_seed(0)
        words = AutoTokenizer.from_pretrained(tokenizer)
        config = XLMRobertaConfig(
            vocab_size=250_002, num_hidden_layers=layers, hidden_size=hidden, intermediate_size=inner,
            num_attention_heads=heads, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5,
            pad_token_id=1, bos_token_id=0, eos_token_id=2, num_labels=labels,
            id2label={0: "contradiction", 1: "neutral", 2: "entailment"},
            label2id={"contradiction": 0, "neutral": 1, "entailment": 2},
        )  # fmt: skip
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            model = XLMRobertaForSequenceClassification(config)
        model.save_pretrained(result)
        words.save_pretrained(result)
    distributed.meet()
    return result


def recipe(method: Any, *, rows: int, tokens: int, epochs: int = 1) -> finetune.Recipe:
    return finetune.Recipe(
        method=method, r=16, alpha=32, dropout=0.05, classifier_dropout=0.1, epochs=epochs, learning_rate=1e-4,
        layer_decay=1.0, batch_size=rows, batch_tokens=tokens, max_length=256, label_smoothing=0.0,
        imbalance="none", weight_decay=0.01, warmup=0.1, max_grad_norm=1.0, gradient_checkpointing=False,
        evaluations_per_epoch=1, evaluation_steps=0, early_stopping_metric="weighted_f1", early_stopping_patience=1,
    )  # fmt: skip


def training(
    model: Path, method: str, texts: list[str], *, rows: int, words: Any, seed: int = 0, epochs: int = 1
) -> Any:
    of = recipe(method, rows=rows, tokens=rows * 256, epochs=epochs)
    torch.manual_seed(seed)
    network = finetune.build(str(model), names=NAMES, recipe=of)
    labels = [len(text) % len(NAMES) for text in texts]
    given = finetune.Rows(texts, labels)
    return finetune.Training(network, words, given, recipe=of, categories=len(NAMES), max_length=256, seed=seed)


def shortened(made: Any) -> Any:
    """The own layers, in trees that have them."""
    if hasattr(made, "shortened"):
        return made.shortened()
    try:
        from tsirius.models import lora
    except ImportError:
        import contextlib

        return contextlib.nullcontext()
    return lora.shortened(made.model, when=torch.cuda.is_available())


def discard(_: Any) -> None:
    """What is only timed."""


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def step_cell(model: Path, method: str, rows: int, length: int, *, tflops: float, steps: int) -> dict[str, Any]:
    """Milliseconds of a step of ``rows`` reviews of ``length`` tokens."""
    warm = 12
    texts = [f"{length}:{n}" for n in range(rows * (steps + warm))]
    made = training(model, method, texts, rows=rows, words=Words(), epochs=EPOCHS)
    seconds = []
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with shortened(made):
        for step in range(steps + warm):
            wait()
            start = time.perf_counter()
            made.step(step)
            wait()
            seconds.append(time.perf_counter() - start)
        apart = statistics.median(seconds[warm:])
        wait()
        start = time.perf_counter()
        for step in range(warm, steps + warm):
            made.step(step)
        wait()
        flow = (time.perf_counter() - start) / steps
    use = estimate.Use(method, 16, rows, length, False, len(NAMES), False)
    cost = estimate.flops(estimate.shape(str(model)), use) * rows * length
    graphs = getattr(made, "graphs", None)
    return {
        "ms": flow * 1e3, "ms_waited_for": apart * 1e3, "mfu": cost / flow / (distributed.processes() * tflops * 1e12),
        "peak_mib": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None,
        "reserved_mib": torch.cuda.max_memory_reserved() / 2**20 if torch.cuda.is_available() else None,
        "graphs": len(graphs) if graphs is not None else 0,
        "capture_s": graphs.seconds if graphs is not None else 0.0,
        "eager_because": graphs.reason if graphs is not None else None, "processes": distributed.processes(),
    }  # fmt: skip


def curve_cell(model: Path, texts: list[str], *, captured: bool, seed: int) -> dict[str, Any]:
    """The loss after each of 200 steps on reviews, on the same 64 rows."""
    made = training(model, "lora", (2 * texts)[:3200], rows=16, words=load.tokenizer(str(model)), seed=seed)
    if not captured:
        made.graphs.reason = "asked for"
    losses = []
    with shortened(made):
        for step in range(200):
            made.step(step)
            if step % 10 == 9:
                probe = encode.logits(made.model, load.tokenizer(str(model)), texts[:64], max_length=256,
                                      half=adapters.half())  # fmt: skip
                scores = probe - probe.max(axis=1, keepdims=True)
                logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
                labels = [len(text) % len(NAMES) for text in texts[:64]]
                losses.append(float(-logs[np.arange(64), labels].mean()))
    return {"losses": losses, "graphs": len(made.graphs), "eager_because": made.graphs.reason}


def epoch_cell(model: Path, texts: list[str], *, rows: int) -> dict[str, Any]:
    """Seconds of an epoch over reviews, captures included."""
    words = load.tokenizer(str(model))
    wait()
    start = time.perf_counter()
    made = training(model, "lora", texts, rows=rows, words=words)
    wait()
    built = time.perf_counter()
    with shortened(made):
        marks = [time.perf_counter()]
        for step in range(made.total):
            made.step(step)
            marks.append(time.perf_counter())
        wait()
    seconds = time.perf_counter() - built
    each = np.diff(marks)
    graphs = getattr(made, "graphs", None)
    return {
        "seconds": seconds, "reviews": len(texts), "steps": made.total, "building_s": built - start,
        "layers_s": marks[0] - built, "slowest_ms": [round(one * 1e3, 1) for one in sorted(each)[: -21 : -1]],
        "first_ms": [round(one * 1e3, 1) for one in each[:8]], "median_ms": float(np.median(each)) * 1e3,
        "shapes": sorted({str(made.padded[row]) for row in range(len(texts))}),
        "tokens_per_second": sum(made.lengths) / seconds,
        "graphs": len(graphs) if graphs is not None else 0,
        "capture_s": graphs.seconds if graphs is not None else 0.0,
        "eager_because": graphs.reason if graphs is not None else None,
    }  # fmt: skip


def trainer_cell(model: Path, texts: list[str], *, rows: int) -> dict[str, Any]:
    """The same by transformers' Trainer: padded to the longest of a batch, grouped by length, bf16."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    words = load.tokenizer(str(model))
    given = words(texts, truncation=True, max_length=256)
    data = [
        {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": len(text) % len(NAMES)}
        for ids, text in zip(given["input_ids"], texts, strict=True)
    ]
    network = finetune.build(str(model), names=NAMES, recipe=recipe("lora", rows=rows, tokens=rows * 256))
    network.accepts_loss_kwargs = False
    half = adapters.half()
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(), num_train_epochs=1, per_device_train_batch_size=rows, save_strategy="no",
        report_to="none", train_sampling_strategy="group_by_length", disable_tqdm=True, logging_strategy="no",
        use_cpu=half is None, fp16=half == torch.float16, bf16=half == torch.bfloat16,
    )  # fmt: skip
    trainer = Trainer(model=network, args=arguments, train_dataset=data, data_collator=DataCollatorWithPadding(words))
    wait()
    start = time.perf_counter()
    trainer.train()
    wait()
    return {"seconds": time.perf_counter() - start, "reviews": len(texts)}


def label_cell(model: Path, texts: list[str], *, tflops: float) -> dict[str, Any]:
    """Reviews a second by the NLI labeller, nine hypotheses each."""
    from tsirius.labellers import nli

    scorer = nli.scorer(str(model), precision="auto", max_length=256, batch_tokens=1024)
    scorer.logits(texts[:20], ASKED, advance=None)
    wait()
    start = time.perf_counter()
    scorer.logits(texts, ASKED, advance=None)
    seconds = time.perf_counter() - start
    begun = time.perf_counter()
    scorer.tokens(texts)
    tokenising = time.perf_counter() - begun
    around = [len(scorer.frame(one).before) + len(scorer.frame(one).after) for one in ASKED]
    tokens = sum(min(256, len(row) + more) for row in scorer.tokens(texts) for more in around)
    of = estimate.shape(str(model))
    cost = (2 * of.linear + of.layers * 4 * tokens / len(texts) / len(ASKED) * of.hidden) * tokens
    return {"reviews_per_second": len(texts) / seconds, "mfu": cost / seconds / (tflops * 1e12), "seconds": seconds,
            "tokenising_s": tokenising, "budget": scorer.budget.tokens, "cards": getattr(scorer.budget, "cards", 1),
            "peak_mib": torch.cuda.max_memory_allocated() / 2**20 if torch.cuda.is_available() else None}  # fmt: skip


def pipeline_cell(model: Path, texts: list[str], *, batch: int) -> dict[str, Any]:
    """The same by transformers' zero-shot pipeline, on fewer reviews."""
    from transformers import pipeline

    made = pipeline("zero-shot-classification", model=str(model), dtype=torch.float16, device=load.device())
    made(texts[:8], ASKED, hypothesis_template="{}", batch_size=batch)
    wait()
    start = time.perf_counter()
    made(texts, ASKED, hypothesis_template="{}", batch_size=batch)
    seconds = time.perf_counter() - start
    return {"reviews_per_second": len(texts) / seconds, "seconds": seconds, "reviews": len(texts)}


def predict_cell(model: Path, texts: list[str]) -> dict[str, Any]:
    """Reviews a second by a classifier."""
    network = load.judge(str(model), head=load.CLASSIFIER, precision="auto")
    words = load.tokenizer(str(model))
    encode.logits(network, words, texts[:20], max_length=256, half=None)
    rounds = []
    for _ in range(3):
        wait()
        start = time.perf_counter()
        encode.logits(network, words, texts, max_length=256, half=None)
        rounds.append(time.perf_counter() - start)
    start = time.perf_counter()
    encode.token_ids(words, texts, max_length=256)
    tokenising = time.perf_counter() - start
    return {"reviews_per_second": len(texts) / rounds[0], "seconds": rounds[0], "rounds_s": rounds,
            "tokenising_s": tokenising}  # fmt: skip


def classified_cell(model: Path, texts: list[str], *, batch: int) -> dict[str, Any]:
    """The same by transformers' pipeline."""
    from transformers import pipeline

    made = pipeline("text-classification", model=str(model), dtype=torch.float16, device=load.device())
    settings = {"batch_size": batch, "truncation": True, "max_length": 256}
    made(texts[:64], **settings)
    wait()
    start = time.perf_counter()
    made(texts, **settings)
    seconds = time.perf_counter() - start
    return {"reviews_per_second": len(texts) / seconds, "seconds": seconds}


def profile_cell(work: Callable[[], None], *, times: int) -> dict[str, Any]:
    """The kernels of some work, the longest of them with how often and how long; and how long the GPU had none."""
    from torch.profiler import ProfilerActivity, profile

    wait()
    start = time.perf_counter()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for _ in range(times):
            work()
        wait()
    seconds = time.perf_counter() - start
    kernels = sorted(
        ((one.key, one.count / times, one.self_device_time_total / times) for one in seen.key_averages()),
        key=lambda one: -one[2],
    )
    return {
        "wall_us": seconds / times * 1e6, "gpu_us": sum(one[2] for one in kernels),
        "kernels": sum(one[1] for one in kernels),
        "longest": [[name[:110], count, round(spent, 1)] for name, count, spent in kernels[:40]],
    }  # fmt: skip


def profiled_step(model: Path, method: str, rows: int, length: int) -> dict[str, Any]:
    texts = [f"{length}:{n}" for n in range(rows * 20)]
    made = training(model, method, texts, rows=rows, words=Words(), epochs=EPOCHS)
    with shortened(made):
        for step in range(12):
            made.step(step)
        return profile_cell(lambda: made.step(13), times=3)


def profiled_label(model: Path, texts: list[str]) -> dict[str, Any]:
    from tsirius.labellers import nli

    scorer = nli.scorer(str(model), precision="auto", max_length=256, batch_tokens=1024)
    scorer.logits(texts, ASKED, advance=None)
    return profile_cell(lambda: discard(scorer.logits(texts, ASKED, advance=None)), times=1)


def resume_cell(model: Path, texts: list[str]) -> dict[str, Any]:
    """The largest difference of a trained weight: 40 steps at once, and 20 that another training goes on from."""
    from tsirius.models import checkpoint

    words, kept, weights = load.tokenizer(str(model)), Path(tempfile.mkdtemp()), []
    for parts in ([range(40)], [range(20), range(20, 40)]):
        for steps in parts:
            made = training(model, "lora", texts[:1600], rows=16, words=words)
            if steps.start:
                checkpoint.resume(kept, made.model, optimiser=made.optimiser, scaler=made.scaler, device=made.device)
            with shortened(made):
                for step in steps:
                    made.step(step)
            state = checkpoint.State(step=steps.stop, scale=made.scaler.state_dict())
            checkpoint.save(kept / checkpoint.LAST, made.trained, optimiser=made.optimiser, state=state)
        weights.append({name: part.detach().clone() for name, part in made.trained.items()})
    first, second = weights
    return {"largest_difference": max(float((first[name] - second[name]).abs().max()) for name in first)}


def cells(given: argparse.Namespace) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """What is measured: names, and what measures."""
    texts: list[str] = []
    if given.reviews is not None:
        with given.reviews.open(encoding="utf-8", newline="") as file:
            texts = list(dict.fromkeys(row["text"].strip() for row in csv.DictReader(file) if row["text"].strip()))

    def at(size: str) -> Path:
        return folder(given.size or size, given.tokenizer)

    for size, method, rows, length in STEPS:
        yield (
            f"steps {method} {size} {rows} × {length}",
            lambda a=size, b=method, c=rows, d=length: step_cell(
                at(a), b, c, d, tflops=given.tflops, steps=given.steps
            ),
        )
    yield "epoch lora base", lambda: epoch_cell(at("base"), texts, rows=16)
    yield "trainer lora base", lambda: trainer_cell(at("base"), texts, rows=16)
    yield "label large", lambda: label_cell(at("large"), texts[:1692], tflops=given.tflops)
    yield "label 8 times as many large", lambda: label_cell(at("large"), 8 * texts[:1692], tflops=given.tflops)
    yield "predict base", lambda: predict_cell(at("base"), texts[:1692])
    yield "classified base 64", lambda: classified_cell(at("base"), texts[:1692], batch=64)
    for size, method, rows, length in (STEPS[1], STEPS[0], STEPS[4]):
        yield (
            f"profile {method} {size} {rows} × {length}",
            lambda a=size, b=method, c=rows, d=length: profiled_step(at(a), b, c, d),
        )
    yield "profile label large", lambda: profiled_label(at("large"), texts[:600])
    yield "resume", lambda: resume_cell(at("base"), texts)
    for batch in (64, 256):
        yield f"pipeline large {batch}", lambda b=batch: pipeline_cell(at("large"), texts[:200], batch=b)
    for seed in range(3):
        for captured in (True, False):
            yield (
                f"curve {'graphs' if captured else 'eager'} {seed}",
                lambda c=captured, s=seed: curve_cell(at("base"), texts, captured=c, seed=s),
            )


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def table(lines: list[dict[str, Any]]) -> str:
    """Every cell by its names, with the ratio to the first name's."""
    result = ["| cell | name | figure | ratio | MFU |", "|---|---|---|---|---|"]
    first: dict[str, float] = {}
    for line in lines:
        key = next((key for key in ("ms", "reviews_per_second", "seconds") if key in line), None)
        if key is None:
            continue
        value = line[key]
        base = first.setdefault(line["cell"], value)
        ratio = value / base if key == "reviews_per_second" else base / value
        mfu = f"{line['mfu']:.1%}" if "mfu" in line else ""
        result.append(f"| {line['cell']} | {line['name']} | {value:,.1f} {key} | {ratio:.2f} | {mfu} |")
    return "\n".join(result)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--reviews", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="a folder with XLM-R's tokenizer")
    parser.add_argument("--cells", default="", help="only cells whose name begins with one of these, by commas")
    parser.add_argument("--name", default="after", help="of the state of the code")
    parser.add_argument("--size", choices=list(SHAPES), help="in place of each cell's own, to try the script")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--tflops", type=float, default=989.0)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    distributed.join()
    if not given.table:
        done = {(line["cell"], line["name"]) for line in read(given.out)}
        wanted = tuple(given.cells.split(","))
        for cell, work in cells(given):
            if (cell, given.name) in done or not cell.startswith(wanted):
                continue
            try:
                figures = work()
            except Exception as error:
                figures = {"failed": f"{type(error).__name__}: {error}"[:1500]}
            line = {"cell": cell, "name": given.name, **figures}
            if distributed.process():
                continue
            print(json.dumps(line), flush=True)
            if "failed" not in figures:
                with given.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            gc.collect()
            if torch.cuda.is_available():
                batching.attempt(lambda: None)
                torch.cuda.empty_cache()
    if not distributed.process():
        print(table(read(given.out)))
    distributed.part()


if __name__ == "__main__":
    main()
