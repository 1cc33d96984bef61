"""What few labelled rows give: LoRA on an encoder, on the same encoder with random weights, and the linear models.

    python benchmarks/few_rows.py RUN GOLD.csv TEST.csv [KEY=VALUE ...] [--rows 100 500 2000] [--seeds 3] [--model NAME]

Rows are drawn from the training rows of a finished run (its own labels, nobody's answers); every model learns from the
same ones. The score is weighted F1 against GOLD (id, category) of the reviews in TEST (id, text): the mean over the
seeds, and its lowest and highest. Settings of the train stage can be given as KEY=VALUE.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from tsirius import config, metrics, tables
from tsirius.categories import Categories
from tsirius.io.source import open_source, read_batches
from tsirius.models import hub, load
from tsirius.models.classifier import Classifier
from tsirius.stages import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("gold", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="of the train stage")
    parser.add_argument("--rows", nargs="+", type=int, default=[100, 500, 2000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--model", default=hub.EMBEDDED)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        untrained = randomised(options.model, Path(folder) / "random")
        arms: dict[str, dict[str, str]] = {
            f"LoRA on {options.model}": {"use": "lora", "model": options.model},
            "LoRA on it with random weights": {"use": "lora", "model": str(untrained)},
            f"linear: TF-IDF and embeddings by {options.model}": {"use": "linear", "linear_encoder": options.model},
            "linear: TF-IDF alone": {"use": "linear", "linear_encoder": ""},
        }
        lines = [f"| | {' | '.join(f'{rows:,} rows' for rows in options.rows)} |", f"|---|{'---|' * len(options.rows)}"]
        for arm, settings in arms.items():
            cells = []
            for rows in options.rows:
                scores = [
                    score(options.run, options.gold, options.test, settings, options.settings, rows=rows, seed=seed)
                    for seed in range(options.seeds)
                ]
                cells.append(f"{np.mean(scores):.3f} ({min(scores):.3f}–{max(scores):.3f})")
                print(arm, rows, cells[-1], flush=True)
            lines.append(f"| {arm} | {' | '.join(cells)} |")
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def randomised(model: str, folder: Path) -> Path:
    """The same architecture and tokenizer with fresh weights, in hub layout."""
    import torch
    from transformers import AutoModel

    torch.manual_seed(0)
    AutoModel.from_config(load.read("AutoConfig", model)).save_pretrained(folder)
    load.tokenizer(model).save_pretrained(folder)
    return folder


def score(
    run: Path, gold: Path, test: Path, settings: Mapping[str, str], more: list[str], *, rows: int, seed: int
) -> float:
    """Weighted F1 of one model trained on ``rows`` rows of the run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = {stage: run / stage for stage in ("ingest", "label", "answers", "select", "split")} | {
            "augment": folder / "rows"
        }
        for part in ("rows", "out", "scratch"):
            (folder / part).mkdir()
        examples = tables.read(run / "split" / "train.parquet", tables.EXAMPLES)
        drawn = examples.sample(min(rows, examples.height), seed=seed, shuffle=True)
        tables.write(drawn, tables.EXAMPLES, folder / "rows" / "train.parquet")
        section = config.parse(
            {
                "name": "few",
                "ingest": {"train": "-", "categories": "-"},
                "train": {
                    **settings,
                    **{key: json.loads(value) for key, _, value in (one.partition("=") for one in more)},
                },
            },
            where="settings",
        ).train
        train.run(section, given, folder / "out", seed=seed, scratch=folder / "scratch")
        classifier = Classifier.load(folder / "out" / "model")
        answers = table(gold).select("id", "category").join(table(test).select("id", "text"), on="id", how="left")
        names = Categories.from_json((run / "ingest" / "categories.json").read_text(encoding="utf-8")).names
        predicted = classifier.predict(answers["text"].to_list())
        return metrics.score(answers["category"].to_list(), predicted, names=names, rounds=1, seed=0).weighted_f1


def table(path: Path) -> pl.DataFrame:
    source = open_source(path, text_column="auto", id_column="auto", encoding="auto", text_required=False)
    return pl.concat(read_batches(source, rows=20_000))


if __name__ == "__main__":
    main()
