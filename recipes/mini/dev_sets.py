"""``python -m recipes.mini.dev_sets MODEL OUT.json --set NAME CATEGORIES.toml REVIEWS.csv ANSWERS.csv [--set ...]``

The model as a zero-shot labeller alone, against answers that people gave: the figures of the card that the phases,
which see no answers, cannot give. OUT.json is ``dev_sets.json`` beside the records of the phases.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tsirius import categories, metrics
from tsirius.io.source import open_source, read_batches
from tsirius.labellers import nli, vote
from tsirius.language.clean import normalise

TEMPLATES = (
    "Этот отзыв о товаре: {name}.",
    "Этот отзыв о товаре: {name}: {description}.",
    "Речь идёт о товаре из раздела «{name}».",
)
TOKENS = 256


def main() -> None:
    """Read the arguments, print and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a checkpoint's folder, or tsirius-mini for the one in the package")
    parser.add_argument("out", type=Path)
    parser.add_argument("--set", nargs=4, action="append", required=True, dest="sets",
                        metavar=("NAME", "CATEGORIES", "REVIEWS", "ANSWERS"))  # fmt: skip
    arguments = parser.parse_args()
    found = {name: measure(arguments.model, *map(Path, paths)) for name, *paths in arguments.sets}
    arguments.out.write_text(json.dumps(found, ensure_ascii=False, indent=1), encoding="utf-8")
    print(json.dumps(found, ensure_ascii=False, indent=1))


def measure(model: str, named: Path, reviews: Path, answers: Path) -> dict[str, Any]:
    """Weighted F1 of the highest score, and of it with the mix that the answered reviews' scores let one expect."""
    kinds = categories.load(named)
    rows = table(answers).select("id", "category").join(table(reviews).select("id", "text"), on="id")
    scorer = nli.scorer(model, precision="fp32", max_length=TOKENS, batch_tokens=1024)
    asked = [one.format(name=kind.name, description=kind.description) for one in TEMPLATES for kind in kinds]
    logits = scorer.logits([normalise(text) for text in rows["text"]], asked, advance=None).astype(np.float64)
    scores = (logits[:, :, 1] - logits[:, :, 0]).reshape(len(rows), len(TEMPLATES), len(kinds)).mean(axis=1)
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    alone = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
    mixed = vote.reconcile({"nli": alone}, blind={"nli"}, taught=(), sure=1.0).probabilities
    result: dict[str, Any] = {"rows": rows.height}
    for title, probabilities in (("highest", alone), ("prior", mixed)):
        said = [kinds.names[place] for place in np.nan_to_num(probabilities).argmax(axis=1)]
        score = metrics.score(rows["category"].to_list(), said, names=kinds.names, rounds=1, seed=0)
        result[title] = round(score.weighted_f1, 4)
    return result


def table(path: Path) -> pl.DataFrame:
    """All rows of a file."""
    source = open_source(path, text_column="auto", id_column="auto", encoding="auto", text_required=False)
    return pl.concat(read_batches(source, rows=20_000))


if __name__ == "__main__":
    main()
