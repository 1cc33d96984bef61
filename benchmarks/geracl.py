"""How much faster than the nli teacher is GeRaCl at equal size, side by side in one run?

    python benchmarks/geracl.py REVIEWS.csv CATEGORIES.toml [--rows 40] [--rounds 3] [--precision fp32] [--out TABLE.md]

Both are the same ModernBERT of base size (22 layers of 768) with random weights and a vocabulary learned from the
reviews and categories; speed does not hang on what the weights are. Once it has an inference head and reads each review
beside each category, once the layout of deepvk/GeRaCl-USER2-base and reads all names and the review at once. They take
turns; the best round of each counts. With one thread it is the processor's time, which does not grow while others have
the processor.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from nli import measure
from safetensors.torch import save_file

from tsirius import categories
from tsirius.labellers import Material, geracl, nli
from tsirius.labellers import hypotheses as ask

WIDE = 768
"""Of the two small networks of GeRaCl."""
SPECIAL = ("[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]")
TOKENS = 256


def words_of(texts: Sequence[str]) -> Any:
    """A byte-level tokenizer of ModernBERT's kind, learned from the texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=16_000, show_progress=False, special_tokens=[*SPECIAL], initial_alphabet=alphabet
    )
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:0 [SEP]:0",
        special_tokens=[(name, made.token_to_id(name)) for name in SPECIAL[:2]],
    )  # fmt: skip
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, cls_token="[CLS]", sep_token="[SEP]", bos_token="[CLS]", eos_token="[SEP]",
        pad_token="[PAD]", mask_token="[MASK]", unk_token="[UNK]", model_max_length=1024,
        model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def build(folder: Path, words: Any, *, layers: int, hidden: int) -> tuple[Path, Path]:
    """Write the teacher and the GeRaCl, on encoders of the same size."""
    about = {
        "vocab_size": len(words), "num_hidden_layers": layers, "hidden_size": hidden,
        "intermediate_size": hidden * 3 // 2, "num_attention_heads": hidden // 64, "max_position_embeddings": 1024,
        "pad_token_id": words.pad_token_id, "bos_token_id": words.bos_token_id, "eos_token_id": words.eos_token_id,
        "cls_token_id": words.cls_token_id, "sep_token_id": words.sep_token_id,
    }  # fmt: skip
    labels = ("contradiction", "neutral", "entailment")
    named = {"id2label": dict(enumerate(labels)), "label2id": {label: place for place, label in enumerate(labels)}}
    torch.manual_seed(0)
    teacher = transformers.ModernBertForSequenceClassification(transformers.ModernBertConfig(**about, **named))
    teacher.save_pretrained(folder / "nli")
    words.save_pretrained(folder / "nli")
    core = "_classification_core"
    weights = {f"{core}._token_embedder.{name}": value for name, value in teacher.model.state_dict().items()}
    for part in ("text", "classes"):
        for layer, (out, into) in ((0, (WIDE, hidden)), (3, (hidden, WIDE))):
            weights[f"{core}._mlp_{part}.{layer}.weight"] = torch.randn(out, into) / into**0.5
            weights[f"{core}._mlp_{part}.{layer}.bias"] = torch.zeros(out)
    (folder / "geracl").mkdir()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "geracl" / "model.safetensors")
    config = {"model_type": "GeRaCl", "embedder_config": about, "pooling_type": "mean", "tokenizer_len": len(words)}
    (folder / "geracl" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    words.save_pretrained(folder / "geracl")
    return folder / "nli", folder / "geracl"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reviews", type=Path)
    parser.add_argument("categories", type=Path)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--hidden", type=int, default=768)
    parser.add_argument("--precision", choices=("fp32", "auto"), default="fp32")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    transformers.utils.logging.disable_progress_bar()
    with given.reviews.open(encoding="utf-8", newline="") as file:
        texts = list(dict.fromkeys(row["text"].strip() for row in csv.DictReader(file) if row["text"].strip()))
    chosen = [texts[index] for index in np.linspace(0, len(texts) - 1, min(given.rows, len(texts))).astype(int)]
    asked = categories.load(given.categories)
    named = [text for category in asked for text in ask.descriptions(category, "both")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        teacher, one_pass = build(folder, words_of([*texts, *named]), layers=given.layers, hidden=given.hidden)

        def embed(given: Sequence[str]) -> Any:
            raise AssertionError("neither asks for embeddings")

        material = Material(asked, [], folder, embed, embed, max_length=TOKENS)
        labellers: dict[str, Any] = {}
        for parts in ("name", "joined"):
            config = nli.Config(model=str(teacher), precision=given.precision, hypotheses=parts)
            labellers[f"nli, {parts}"] = ask.teacher(
                "nli", config, asked, nli.scorer(str(teacher), precision=given.precision, max_length=TOKENS,
                                                 batch_tokens=config.batch_tokens),
            )  # fmt: skip
            labellers[f"geracl, {parts}"] = geracl.make(
                geracl.Config(model=str(one_pass), precision=given.precision, parts=parts), material
            )
        engines: dict[str, Callable[[], Any]] = {
            name: lambda labeller=labeller: labeller.label(chosen).probabilities for name, labeller in labellers.items()
        }
        for labeller in labellers.values():
            labeller.label(chosen[:1])
        measured = measure(engines, rounds=given.rounds, threads=given.threads)
    lines = ["| what is read of a category | nli | geracl | ratio |", "|---|---|---|---|"]
    for parts in ("name", "joined"):
        slow, fast = (len(chosen) / measured[f"{name}, {parts}"].seconds for name in ("nli", "geracl"))
        lines.append(f"| {parts} | {slow:.2f} reviews/s | {fast:.2f} reviews/s | {fast / slow:.1f} |")
    head = (
        f"{len(chosen)} reviews, {len(asked.names)} categories, ModernBERT of {given.layers} layers of {given.hidden},"
        f" {given.precision}, {given.threads} thread{'s' * (given.threads > 1)}, torch {torch.__version__}"
    )
    text = "\n".join([head, "", *lines]) + "\n"
    print(text)
    if given.out:
        given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
