"""What a person's answers are worth: a simulated person answers, and the model's score on other reviews is taken.

    python benchmarks/answers.py --set RUN GOLD.csv [--set ...] [--seeds 10] [--runs FOLDER] [--out TABLE.md]

RUN is a finished run whose reviews to learn from include those of GOLD (id, category), unlabelled. For each seed a part
of GOLD is held back to score, the same for every arm; the person answers from the rest, in the order of the queue
``unsure`` (each batch drawn after the one before has taught), or at random. Label and its models are not run again:
only the stages from answers to train are. Cells are weighted F1, kept in FOLDER/cells.json and not made again; the
table gives the mean over the seeds, and the 95 % interval of the mean of the gain over no answers.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tsirius import metrics, pipeline, tables
from tsirius.answers.log import FILE, Answer, Log, text_hash
from tsirius.categories import Categories
from tsirius.commands.answers import queues
from tsirius.config import Config
from tsirius.io.ids import read_unique
from tsirius.io.source import open_source
from tsirius.models import embeddings, encode
from tsirius.models.classifier import Classifier
from tsirius.store import write_text

COUNTS = (0, 50, 150, 300)
BATCH = 25
HELD = 0.5
"""Of the gold rows, at most this share is answered for where that leaves enough; at least what 300 answers leave."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", nargs=2, action="append", required=True, metavar=("RUN", "GOLD"), type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--runs", type=Path, default=Path("runs/answers"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    remember_embeddings()
    kept = options.runs / "cells.json"
    cells: dict[str, float] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    for seed in range(options.seeds):
        for run, gold in options.set:
            for arm in ("queue", "random"):
                wanted = [name(run, arm, count, seed) for count in COUNTS]
                if all(one in cells for one in wanted):
                    continue
                for count, score in simulate(run, gold, arm, seed=seed, root=options.runs / "work"):
                    cells[name(run, arm, count, seed)] = score
                    print(name(run, arm, count, seed), f"{score:.4f}", file=sys.stderr, flush=True)
                options.runs.mkdir(parents=True, exist_ok=True)
                write_text(kept, json.dumps(cells, ensure_ascii=False, indent=1))
    table = "\n".join(lines([run for run, _ in options.set], cells, options.seeds))
    print(table)
    if options.out:
        options.out.write_text(table + "\n", encoding="utf-8")


def name(run: Path, arm: str, count: int, seed: int) -> str:
    return f"{run.name} {arm} {count} {seed}"


def remember_embeddings() -> None:
    """Have every encoder asked once for a text: the cells embed the same texts again and again."""
    make = encode.embedder

    def embedder(model: str, *, max_length: int) -> Callable[[Sequence[str]], Any]:
        known = KNOWN.setdefault(f"{model} {max_length}", {})
        inner = make(model, max_length=max_length)

        def embed(texts: Sequence[str]) -> Any:
            new = [text for text in dict.fromkeys(texts) if text not in known]
            if new:
                known.update(zip(new, inner(new), strict=True))
            return np.stack([known[text] for text in texts])

        return embed

    encode.embedder = embedder


KNOWN: dict[str, dict[str, Any]] = {}


def simulate(run: Path, gold: Path, arm: str, *, seed: int, root: Path) -> list[tuple[int, float]]:
    """The score after each of ``COUNTS`` answers."""
    reviews = tables.read(run / "ingest" / "reviews.parquet", tables.REVIEWS)
    names = list(Categories.from_json((run / "ingest" / "categories.json").read_text(encoding="utf-8")).names)
    truth = dict(pl.concat(read_unique(open_gold(gold), rows=20_000)).select("id", "category").iter_rows())
    rows = [row for row, one in enumerate(reviews["id"]) if one in truth]
    random = np.random.default_rng(seed)
    order = random.permutation(np.array(rows))
    pool, held = order[: max(max(COUNTS), int(len(rows) * HELD))], order[max(max(COUNTS), int(len(rows) * HELD)) :]
    groups = reviews["group"].to_numpy()
    held = held[~np.isin(groups[held], groups[pool])]  # a copy of an answered review would be scored by heart
    config = Config.model_validate_json((run / "config.json").read_text(encoding="utf-8"))
    config = config.model_copy(update={"runs": root, "name": run.name})
    folder = root / run.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    vectors = embeddings.published(run / "label")
    assert vectors is not None
    embedded = vectors(reviews["clean"].to_list())
    free = np.zeros(reviews.height, dtype=bool)
    free[pool] = True
    given, result = 0, list[tuple[int, float]]()
    for count in COUNTS:
        while given < count:
            some = min(BATCH, count - given)
            if arm == "queue":
                pipeline.branch(config, folder, of=run, first="answers", last="answers")
                margin = pl.read_parquet(folder / "answers" / "labels.parquet")["margin"].fill_null(0).to_numpy()
                chosen = queues.unsure(margin, embedded, free, count=some)
            else:
                chosen = pool[given : given + some]
            free[chosen] = False
            given += some
            Log(folder).add(
                [Answer(reviews["id"][int(row)], text_hash(reviews["text"][int(row)]), truth[reviews["id"][int(row)]])
                 for row in chosen]
            )  # fmt: skip
        result.append((count, score(config, folder, run, reviews, held, truth, names)))
    assert (folder / FILE).is_file()
    return result


def score(
    config: Config, folder: Path, run: Path, reviews: pl.DataFrame, held: Any, truth: dict[str, str], names: list[str]
) -> float:
    store = pipeline.branch(config, folder, of=run, first="answers", last="train")
    classifier = Classifier.load(store.folder("train") / "model", embedded=run / "label")
    predicted = classifier.predict(reviews["text"].gather(held).to_list())
    wanted = [truth[one] for one in reviews["id"].gather(held)]
    return float(metrics.score(wanted, predicted, names=names, rounds=1, seed=0).weighted_f1)


def open_gold(path: Path) -> Any:
    return open_source(path, text_column="auto", id_column="auto", encoding="auto", text_required=False)


def lines(runs: Sequence[Path], cells: dict[str, float], seeds: int) -> list[str]:
    found = ["| | no answers | " + " | ".join(f"{arm}, {n}" for n in COUNTS[1:] for arm in ("queue", "random")) + " |"]
    found.append("|---" * (2 + 2 * len(COUNTS[1:])) + "|")
    for run in runs:
        none = [cells[name(run, "queue", 0, seed)] for seed in range(seeds)]
        row = [run.name, f"{np.mean(none):.3f}"]
        for count in COUNTS[1:]:
            for arm in ("queue", "random"):
                scores = [cells[name(run, arm, count, seed)] for seed in range(seeds)]
                gains = np.array(scores) - np.array(none)
                half = 1.96 * gains.std(ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
                row.append(f"{np.mean(scores):.3f} ({gains.mean():+.3f} ± {half:.3f}, worst {gains.min():+.3f})")
        found.append(f"| {' | '.join(row)} |")
    return found


if __name__ == "__main__":
    main()
