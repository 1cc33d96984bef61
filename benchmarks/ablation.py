"""What each piece of the labelling is worth: the score of the whole road with the piece and without it.

    python benchmarks/ablation.py --set CONFIG.toml GOLD.csv [--set ...] [--runs FOLDER] [--out TABLE.md]

Each arm is a run with other settings of the same configuration; what the models say is kept between the arms of a set.
The score is weighted F1 of the predictions against GOLD (id, category), with a 95 % interval; in brackets the share of
the reviews that went into training and the share of the predictions for categories other than the commonest two. The
answers measure; no arm sees them. Finished cells are kept in FOLDER/cells.json and not made again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import polars as pl

from tsirius import config, metrics, pipeline
from tsirius.categories import Categories
from tsirius.io.ids import read_unique
from tsirius.io.source import open_source
from tsirius.publish import write_text

ARMS: dict[str, list[str]] = {
    "all (the default)": [],
    "lexicon alone": ['label.use=["lexicon"]'],
    "matcher alone": ['label.use=["matcher"]'],
    "nli alone": ['label.use=["nli"]'],
    "without lexicon": ['label.use=["matcher", "nli"]'],
    "without matcher": ['label.use=["lexicon", "nli"]'],
    "without nli": ['label.use=["lexicon", "matcher"]'],
    "lexicon alone, and a student that votes": ['label.use=["lexicon"]', "label.student.rounds=3"],
    "all, and a student that votes": ["label.student.rounds=3"],
    "all, and one that sees no words hidden": ["label.student.rounds=3", "label.student.hide=false"],
    "doubtful labels kept": ["select.doubtful=keep"],
    "no prior correction at prediction": ["train.prior_correction=false"],
    "linear model without embeddings": ["train.linear_encoder="],
    "none-category asked for in two steps": ["label.nli.none=statements"],
    "nli freed from its bias": ["label.nli.correct_bias=true"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs=2, action="append", required=True, metavar=("CONFIG", "GOLD"), type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()

    kept = options.runs / "cells.json"
    cells = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    table: dict[str, list[str]] = {arm: [] for arm in ARMS}
    for path, gold in options.set:
        for arm, overrides in ARMS.items():
            name = " ".join([path.stem, *overrides])
            if name not in cells:
                print(f"== {path.stem}: {arm}", file=sys.stderr)
                run = pipeline.run(config.load(path, [f"runs={options.runs}", *overrides]))
                cells[name] = score(run, gold)
                write_text(kept, json.dumps(cells, ensure_ascii=False, indent=1))
            table[arm].append(cells[name])
    lines = [f"| | {' | '.join(path.stem for path, _ in options.set)} |", f"|---|{'---|' * len(options.set)}"]
    lines += [f"| {arm} | {' | '.join(row)} |" for arm, row in table.items()]
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def score(run: Path, gold: Path) -> str:
    """One cell of the table."""
    source = open_source(gold, text_column="auto", id_column="auto", encoding="auto", text_required=False)
    answers = pl.concat(read_unique(source, rows=20_000)).select("id", truth="category")
    predicted = pl.read_parquet(run / "predict" / "predictions.parquet")
    names = Categories.from_json((run / "ingest" / "categories.json").read_text(encoding="utf-8")).names
    rows = answers.join(predicted, on="id", how="left", maintain_order="left")
    score = metrics.score(rows["truth"].to_list(), rows["category"].to_list(), names=names, rounds=2000, seed=0)
    kept = pl.read_parquet(run / "select" / "labelled.parquet", columns=["kept"])["kept"].mean()
    rare = predicted["category"].value_counts(sort=True)["count"][2:].sum() / predicted.height
    low, high = score.interval
    return f"{score.weighted_f1:.3f} ({low:.3f}–{high:.3f}) [{kept:.0%}, {rare:.1%}]"


if __name__ == "__main__":
    main()
